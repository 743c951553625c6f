"""Reading recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from iotlam.contracts import BadInput, SensorFrame

SAMPLES = 256


def read_csv(path: Path) -> Iterator[SensorFrame]:
    """Frames of 256 samples from a header and lines of seconds and value.

    Raises:
        BadInput: if a line is not two numbers, there are fewer than two, or times do not increase evenly.
    """
    try:
        time_s, values = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T
    except ValueError as error:
        raise _bad(path, str(error)) from error
    steps_s = np.diff(time_s)
    if not (steps_s.size and np.isfinite(steps_s).all() and 0 < steps_s.min() and steps_s.max() < 1.5 * steps_s.min()):
        raise _bad(path, f"{len(time_s)} times that do not increase evenly")
    meta = {"sensor": path.stem, "rate_hz": 1.0 / float(np.median(steps_s))}
    for start in range(0, len(values), SAMPLES):
        data = values[start : start + SAMPLES].astype(np.float32)[:, None]
        yield SensorFrame(round(time_s[start + len(data) - 1] * 1e9), data, meta=meta)


def _bad(path: Path, got: str) -> BadInput:
    return BadInput(str(path), expected="lines of two numbers, seconds and value", got=got, fix="export the file again")
