"""Samples of one tuning within a file: what SigMF and raw recordings both come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iotlam.contracts import BadInput

LONGEST_NS = 2**62


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where samples lie and what they are.

    Attributes:
        path: file that holds them.
        offset: byte where they begin.
        samples: number of complex samples.
        dtype: type of each part of a sample.
        rate_hz: samples per second.
        centre_hz: tuned frequency, 0 where unknown.
        start_ns: time of the first sample.
        sensor: name of the receiver.

    Raises:
        BadInput: if frequency or times cannot be those of a receiver.
    """

    path: Path
    offset: int
    samples: int
    dtype: np.dtype[np.number]
    rate_hz: float
    centre_hz: float
    start_ns: int
    sensor: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre_hz) and self.centre_hz >= 0.0):
            raise _bad(self.path, "a frequency from 0 Hz up", f"{self.centre_hz} Hz", "give the tuned frequency, or 0")
        seconds = self.samples / self.rate_hz
        if not 0 <= self.start_ns + seconds * 1e9 < LONGEST_NS:
            raise _bad(self.path, "times from 1970 to 2116", f"{seconds:g} s of samples", "give the true rate and time")


def plausible_rate(path: Path, rate_hz: float) -> float:
    """The rate, if one can count time by it.

    Raises:
        BadInput: if it is not 1 Hz to 1 THz.
    """
    if not 1.0 <= rate_hz <= 1e12:
        raise _bad(path, "a rate from 1 Hz to 1 THz", f"{rate_hz} Hz", "give the true rate")
    return rate_hz


def whole_samples(path: Path, size: int, dtype: np.dtype[np.number]) -> int:
    """How many complex samples so many bytes are.

    Raises:
        BadInput: if there are none, or a part of one is left over.
    """
    each = 2 * dtype.itemsize
    if size == 0 or size % each:
        expected = f"one or more whole samples of {each} bytes"
        raise _bad(path, expected, f"{size} bytes", "record again, cut off the torn sample, or correct the type")
    return size // each


def _bad(path: Path, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"Recording '{path}'", expected=expected, got=got, fix=fix)
