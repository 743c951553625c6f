"""Where the impacts ring: the kurtogram.

The band whose envelope is most impulsive, among bands of widths that halve and third (Antoni, "Fast computation of the
kurtogram for the detection of transient faults", MSSP 21, 2007), here from one Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam_waveform.envelope import USABLE

LEVELS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Into how many bands the spectrum is cut, level by level."""

FEWEST_SAMPLES = 256
"""Of an envelope, for its kurtosis to mean something."""


@dataclass(frozen=True, slots=True)
class Kurtogram:
    """Spectral kurtosis by band: 0 for noise, -1 for a steady tone, high where it rings.

    Attributes:
        kurtosis: for each level its bands' values, from 0 Hz to `top_hz`.
        top_hz: what lies higher is the anti-aliasing filter's.
        best_hz: the most impulsive band, from and to.
        best: its kurtosis.
    """

    kurtosis: tuple[Tensor, ...]
    top_hz: float
    best_hz: tuple[float, float]
    best: float


def kurtogram(values_N: Tensor, rate_hz: float) -> Kurtogram:
    """The kurtogram of one signal."""
    spectrum_F = torch.fft.rfft(values_N - values_N.mean())[: int(USABLE * len(values_N))]
    lines, top_hz = len(spectrum_F), USABLE * rate_hz
    levels = [count for count in LEVELS if lines // count >= FEWEST_SAMPLES] or [1]
    found = tuple(_kurtosis(spectrum_F[: lines // count * count].reshape(count, -1)) for count in levels)
    level = max(range(len(levels)), key=lambda index: float(found[index].max()))
    band, width_hz = int(found[level].argmax()), top_hz / levels[level]
    return Kurtogram(found, top_hz, (band * width_hz, (band + 1) * width_hz), float(found[level].max()))


def _kurtosis(spectrum_KF: Tensor) -> Tensor:
    power_KM = torch.fft.ifft(spectrum_KF).abs().square()
    kurtosis_K: Tensor = power_KM.square().mean(-1) / (power_KM.mean(-1).square() + 1e-30) - 2.0
    return kurtosis_K
