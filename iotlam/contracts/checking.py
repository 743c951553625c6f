"""Holding a window of frames against the manifest of its modality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts.errors import BadInput
from iotlam.contracts.frames import SensorFrame
from iotlam.contracts.manifest import ModalityManifest
from iotlam.contracts.units import UNITS, unit_factor

RATE_TOLERANCE = 1.05
"""Timestamps jitter: a rate may lie this far outside the declared range."""


def check_window(manifest: ModalityManifest, frames: Sequence[SensorFrame]) -> None:
    """Refuse a window that a plugin could only misread.

    Raises:
        BadInput: naming modality, field, what was expected, what came and the mend. Looked at are the number of
            frames, dtype, shape, metadata, units, missing and out-of-range values, timestamps and sample rate.
    """
    if not isinstance(frames, list | tuple):
        raise _bad(manifest, "window", "a list of frames", type(frames).__name__, "put the frames in a list")
    if not frames:
        raise _bad(manifest, "window", "at least one frame", "none", "leave the modality out of this window")
    for frame in frames:
        _check_frame(manifest, frame)
    for sensor in {frame.sensor for frame in frames}:
        _check_times(manifest, sensor, [frame.t_ns for frame in frames if frame.sensor == sensor])


def _check_frame(manifest: ModalityManifest, frame: SensorFrame) -> None:
    if not isinstance(frame, SensorFrame):
        raise _bad(manifest, "window", "frames of type SensorFrame", type(frame).__name__, "wrap the reading")
    if str(frame.data.dtype) != manifest.dtype:
        raise _bad(manifest, "data", f"dtype {manifest.dtype}", str(frame.data.dtype), "convert the data")
    fits = frame.data.ndim == len(manifest.dims) and all(
        want in (0, have) for want, have in zip(manifest.shape, frame.data.shape, strict=True)
    )
    if not fits:
        sizes = zip(manifest.dims, manifest.shape, strict=True)
        named = ", ".join(f"{dim}={size or 'any'}" for dim, size in sizes)
        raise _bad(manifest, "data", f"shape ({named})", str(frame.data.shape), "reshape the data")
    _check_meta(manifest, frame)
    _check_values(manifest, frame)


def _check_meta(manifest: ModalityManifest, frame: SensorFrame) -> None:
    for key, meaning in manifest.meta.items():
        if key not in frame.meta:
            raise _bad(manifest, f"meta '{key}'", meaning, "nothing", "add it to SensorFrame.meta")
    if manifest.rate_in_meta:
        _check_rate(manifest, frame.meta["rate_hz"])
    if "units" in frame.meta:
        _check_units(manifest, frame.meta["units"])


def _check_rate(manifest: ModalityManifest, rate_hz: object) -> None:
    low, high = manifest.rate_hz
    given = rate_hz if isinstance(rate_hz, int | float | np.number) else float("nan")
    if not low / RATE_TOLERANCE <= given <= high * RATE_TOLERANCE:
        fix = "give the true rate, or resample the data"
        raise _bad(manifest, "rate", f"{low:g} to {high:g} Hz", f"{rate_hz} Hz", fix)


def _check_units(manifest: ModalityManifest, given: object) -> None:
    units = (given,) if isinstance(given, str) else given
    whole = isinstance(units, tuple | list) and all(isinstance(unit, str) for unit in units)
    if whole and tuple(units) == manifest.units:  # type: ignore[arg-type]
        return
    wanted = manifest.units[0]
    fix = f"give data in {' '.join(manifest.units)}"
    if isinstance(given, str) and given in UNITS and UNITS[given].quantity == UNITS[wanted].quantity:
        fix = f"multiply the data by {unit_factor(given, wanted):g}"
    raise _bad(manifest, "units", " ".join(manifest.units), f"{given}", fix)


def _check_values(manifest: ModalityManifest, frame: SensorFrame) -> None:
    if frame.mask is not None and manifest.missing == "none":
        raise _bad(manifest, "mask", "no mask: its data cannot be missing", "a mask", "leave out the reading")
    if frame.data.dtype.kind in "iu":
        bounds = np.iinfo(frame.data.dtype)
        if manifest.value_range[0] <= bounds.min and bounds.max <= manifest.value_range[1]:
            return
    values = frame.data
    if values.dtype.kind == "c":
        values = np.ascontiguousarray(values).view(values.real.dtype).reshape(*values.shape, 2)
    least, most = _extremes(values)
    low, high = manifest.value_range
    if low <= least and most <= high:
        return
    if frame.mask is not None:
        values = values[frame.mask]
    _refuse_values(manifest, values)


def _extremes(values: NDArray[np.generic]) -> tuple[float, float]:
    """Least and greatest value; NaN where one is among them, an empty range where there are none."""
    if values.size == 0:
        return np.inf, -np.inf
    return float(values.min()), float(values.max())


def _refuse_values(manifest: ModalityManifest, valid: NDArray[np.generic]) -> None:
    """Refuse what is not finite, unless that marks missing data, and what is out of range."""
    finite = np.isfinite(valid)
    if not finite.all():
        if manifest.missing != "nan":
            count = int(finite.size - finite.sum())
            raise _bad(manifest, "data", "finite values", f"{count} that are not", _mend(manifest))
        valid = valid[finite]
    low, high = manifest.value_range
    least, most = _extremes(valid)
    if valid.size and not (low <= least and most <= high):
        unit = " ".join(manifest.units)
        got = f"{least:g} to {most:g}"
        raise _bad(manifest, "data", f"values from {low:g} to {high:g} {unit}", got, f"check units; {_mend(manifest)}")


def _mend(manifest: ModalityManifest) -> str:
    return "leave the reading out" if manifest.missing == "none" else "mark missing values with mask False"


def _check_times(manifest: ModalityManifest, sensor: str, times_ns: Iterable[int]) -> None:
    steps_ns = np.diff(np.fromiter(times_ns, dtype=np.int64))  # frames keep |t_ns| below 2^62: no overflow
    if steps_ns.size == 0:
        return
    name = f"t_ns of sensor '{sensor}'"
    if (shortest := int(steps_ns.min())) <= 0:
        got = "a duplicate" if shortest == 0 else f"a step back of {-shortest} ns"
        raise _bad(manifest, name, "times that increase from frame to frame", got, "sort the frames, each once")
    if manifest.rate_in_meta:
        return
    low, high = manifest.rate_hz
    # A lost frame only lengthens a step: the shortest tells how slow the sensor is, the median how fast.
    slowest_hz, usual_hz = 1e9 / shortest, 1e9 / float(np.median(steps_ns))
    if slowest_hz < low / RATE_TOLERANCE or usual_hz > high * RATE_TOLERANCE:
        got = f"{usual_hz:g} Hz"
        raise _bad(manifest, f"rate of sensor '{sensor}'", f"{low:g} to {high:g} Hz", got, "check t_ns (nanoseconds)")


def _bad(manifest: ModalityManifest, field: str, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"Modality '{manifest.name}', {field}", expected=expected, got=got, fix=fix)
