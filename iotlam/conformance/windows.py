"""Ways to change a window of frames, and to compare what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import ModalityManifest, SensorFrame, TokenBatch

Frames = Sequence[SensorFrame]
FIELDS = ("tokens_BTD", "mask_BT", "time_BT", "position_BTX")


def with_data(frame: SensorFrame, data: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> SensorFrame:
    """A frame with other data and the mask given, none by default."""
    return replace(frame, data=data, mask=mask)


def with_meta(frame: SensorFrame, **changes: Any) -> SensorFrame:
    """A frame with some metadata replaced."""
    return replace(frame, meta={**frame.meta, **changes})


def each(frames: Frames, change: Callable[[NDArray[Any]], NDArray[Any]]) -> list[SensorFrame]:
    """The window with a function applied to the data of every frame."""
    return [with_data(frame, change(frame.data)) for frame in frames]


def moved(frames: Frames, by_ns: int) -> list[SensorFrame]:
    """The window at another time."""
    return [replace(frame, t_ns=frame.t_ns + by_ns) for frame in frames]


def from_sensor(frames: Frames, sensor: str, by_ns: int = 0) -> list[SensorFrame]:
    """The newest sensor's part of the window as if another sensor had measured it, at another time."""
    own = max(frames, key=lambda frame: frame.t_ns).sensor
    return [with_meta(frame, sensor=sensor) for frame in moved(frames, by_ns) if frame.sensor == own]


def series(frame: SensorFrame, count: int, step_ns: int) -> list[SensorFrame]:
    """The same reading again and again, the last at the frame's own time."""
    return [replace(frame, t_ns=frame.t_ns - (count - 1 - index) * step_ns) for index in range(count)]


def resized(frame: SensorFrame, axis: int, length: int) -> SensorFrame:
    """The frame with one dimension cut short, or lengthened by repetition."""
    size = frame.data.shape[axis]
    index = np.arange(length) % size if size else np.zeros(0, dtype=np.intp)
    return with_data(frame, np.take(frame.data, index, axis=axis))


def variable_axes(manifest: ModalityManifest) -> list[int]:
    """The dimensions whose length varies."""
    return [axis for axis, length in enumerate(manifest.shape) if length == 0]


def usual_step_ns(manifest: ModalityManifest, frame: SensorFrame) -> int:
    """A time between two readings that the manifest allows."""
    if manifest.rate_in_meta:
        return max(int(1e9 * max(frame.data.shape) / float(frame.meta["rate_hz"])), 1)
    low_hz, high_hz = manifest.rate_hz
    return int(1e9 / math.sqrt(low_hz * high_hz))


def difference(one: TokenBatch, other: TokenBatch) -> str | None:
    """In which field two batches differ and by how much; None where they are the same, bit for bit."""
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None):
            return f"{name} once and not again"
        if a is None or (a.shape == b.shape and bool((a == b).all())):
            continue
        if a.shape != b.shape:
            return f"{name} of shapes {tuple(a.shape)} and {tuple(b.shape)}"
        return f"{name} that differ by up to {float((a.float() - b.float()).abs().max()):.3g}"
    return None


def in_any_order(batch: TokenBatch) -> TokenBatch:
    """The batch with its tokens in an order that depends on nothing but themselves."""
    import torch

    parts = [batch.tokens_BTD[0], batch.mask_BT[0, :, None].float(), batch.time_BT[0, :, None]]
    if batch.position_BTX is not None:
        parts.append(batch.position_BTX[0])
    rows_TC = torch.cat(parts, dim=1).detach().numpy()
    order = torch.from_numpy(np.lexsort(rows_TC.T[::-1]).copy())
    return TokenBatch(
        tokens_BTD=batch.tokens_BTD[:, order],
        mask_BT=batch.mask_BT[:, order],
        time_BT=batch.time_BT[:, order],
        modality=batch.modality,
        position_BTX=None if batch.position_BTX is None else batch.position_BTX[:, order],
    )


def largest(frame: SensorFrame) -> float:
    """The largest magnitude among a frame's finite values; of complex data, of its parts."""
    values = frame.data
    if values.dtype.kind == "c":
        values = np.ascontiguousarray(values).view(values.real.dtype)
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.abs(finite).max(initial=0.0))


def span_s(manifest: ModalityManifest, frames: Frames) -> float:
    """How far the instants that a window measures can lie from its newest `t_ns`, seconds."""
    times_ns = [frame.t_ns for frame in frames]
    within_s = (
        max(max(frame.data.shape) / float(frame.meta["rate_hz"]) for frame in frames)
        if manifest.rate_in_meta
        else 1.0 / manifest.rate_hz[0]
    )
    return (max(times_ns) - min(times_ns)) / 1e9 + within_s
