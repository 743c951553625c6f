"""From a window of frames to the readings that count, and from arrays to a TokenBatch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec


def latest_by_sensor(frames: Sequence[SensorFrame], count: int, modality: str) -> list[list[SensorFrame]]:
    """The latest `count` frames of every sensor, newest first; sensors in order of their names.

    Raises:
        BadInput: if there are no frames.
    """
    if not frames:
        raise BadInput(
            f"Window of modality '{modality}'",
            expected="at least one frame",
            got="none",
            fix="wait for a reading or leave the modality out",
        )
    by_sensor: dict[str, list[SensorFrame]] = {}
    for frame in sorted(frames, key=lambda frame: -frame.t_ns):
        by_sensor.setdefault(frame.sensor, []).append(frame)
    return [by_sensor[sensor][:count] for sensor in sorted(by_sensor)]


def age_s(frame: SensorFrame, frames: Sequence[SensorFrame]) -> float:
    """Time of a frame relative to the newest of its window, seconds (0 or negative)."""
    return (frame.t_ns - max(other.t_ns for other in frames)) / 1e9


def one_batch(
    spec: TokenSpec,
    tokens_TD: NDArray[np.floating[Any]],
    mask_T: NDArray[np.bool_],
    time_T: NDArray[np.floating[Any]],
    position_TX: NDArray[np.floating[Any]] | None = None,
) -> TokenBatch:
    """A TokenBatch of B = 1 from arrays of T tokens; time in seconds, positions (T, 2) in site metres, if it has any.

    Raises:
        BadInput: if there are more tokens than `spec.max_tokens`.
    """
    if len(tokens_TD) > spec.max_tokens:
        raise BadInput(
            f"Window of modality '{spec.modality}'",
            expected=f"at most {spec.max_tokens} tokens",
            got=str(len(tokens_TD)),
            fix="give fewer sensors or smaller readings",
        )
    return TokenBatch(
        tokens_BTD=torch.from_numpy(tokens_TD.astype(np.float32))[None],
        mask_BT=torch.from_numpy(mask_T.astype(np.bool_))[None],
        time_BT=torch.from_numpy(time_T.astype(np.float32))[None],
        modality=spec.modality,
        position_BTX=None if position_TX is None else torch.from_numpy(position_TX.astype(np.float32))[None],
    )
