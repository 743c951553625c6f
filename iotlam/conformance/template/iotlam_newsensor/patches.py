"""Cutting a reading into patches; missing samples are 0 and not valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iotlam.contracts import SensorFrame

PATCH = 16
MIDDLE, SPREAD = 20.0, 10.0  # a usual value and how far readings usually are from it


class Patches(NamedTuple):
    """T patches of P samples.

    Attributes:
        values_TP: float32, scaled; 0 where missing.
        valid_TP: bool.
        time_T: float32, seconds of each patch's last sample after the newest frame of the window.
    """

    values_TP: Tensor
    valid_TP: Tensor
    time_T: NDArray[np.float32]


def newest_frames(frames: Sequence[SensorFrame]) -> list[SensorFrame]:
    """The newest frame of every sensor, sensors in order of their names."""
    newest = {frame.sensor: frame for frame in sorted(frames, key=lambda frame: frame.t_ns)}
    return [newest[sensor] for sensor in sorted(newest)]


def cut_patches(frame: SensorFrame, frames: Sequence[SensorFrame]) -> Patches:
    """Cut a frame so that its last sample ends a patch; `frames` is the whole window."""
    values_N = (frame.data[:, 0].astype(np.float32) - np.float32(MIDDLE)) / np.float32(SPREAD)
    valid_N = np.isfinite(values_N)
    if frame.mask is not None:
        valid_N &= frame.mask.reshape(len(values_N), -1).all(axis=1)
    count = len(values_N) // PATCH
    keep = slice(len(values_N) - count * PATCH, None)
    values_TP = np.where(valid_N, values_N, np.float32(0.0))[keep].reshape(count, PATCH)
    age_s = (frame.t_ns - max(other.t_ns for other in frames)) / 1e9
    time_T = age_s - np.arange(count - 1, -1, -1) * PATCH / float(frame.meta["rate_hz"])
    valid_TP = torch.from_numpy(valid_N[keep].reshape(count, PATCH))
    return Patches(torch.from_numpy(values_TP), valid_TP, time_T.astype(np.float32))
