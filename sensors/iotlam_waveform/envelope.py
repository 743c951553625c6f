"""Squared envelopes of frequency bands, and their spectra: where the rhythm of impacts shows.

A defect that is struck rings the structure at its resonances; how often it is struck is not in the spectrum of the
vibration but in that of the squared envelope of a band about a resonance (Randall and Antoni, "Rolling element bearing
diagnostics: a tutorial", MSSP 25, 2011). Batched in torch.

Shapes: B signals of N samples, K bands, M samples of an envelope, F lines of its spectrum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LOWEST_HZ = 500.0
NARROWEST_HZ = 1000.0
MOST_BANDS = 12
USABLE = 0.47
"""Share of the sample rate up to which bands reach: what lies higher is the anti-aliasing filter's."""

HIGHEST_HZ = 12_000.0
"""Bands of a sensor reach no higher: accelerometers on studs do not."""

TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of one width.

    Attributes:
        starts_hz: where each begins.
        width_hz: their width; modulations up to it can be seen.
    """

    starts_hz: tuple[float, ...]
    width_hz: float

    @classmethod
    def up_to(cls, top_hz: float, least_hz: float = NARROWEST_HZ) -> Bands:
        """Bands from 500 Hz up to a frequency, each overlapping half of the next; at most twelve.

        They are 1 kHz wide or wider, and `least_hz` where the span allows; a signal that ends below 1,500 Hz gets one
        band, from a quarter of the top.
        """
        if top_hz < LOWEST_HZ + NARROWEST_HZ:
            return cls((top_hz / 4.0,), 0.75 * top_hz)
        span_hz = top_hz - LOWEST_HZ
        width_hz = max(NARROWEST_HZ, min(least_hz, span_hz), 2.0 * span_hz / (MOST_BANDS + 1))
        count = int(2.0 * span_hz / width_hz + 1e-6) - 1
        return cls(tuple(LOWEST_HZ + index * width_hz / 2.0 for index in range(count)), width_hz)

    @classmethod
    def of_rate(cls, rate_hz: float, least_hz: float = NARROWEST_HZ) -> Bands:
        """The bands that a sensor at a sample rate gives, `least_hz` wide or wider where it can."""
        return cls.up_to(min(USABLE * rate_hz, HIGHEST_HZ), least_hz)


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Squared envelopes over their mean, less one: 0 on average, 1 where the power is twice its mean.

    Attributes:
        values_BKM: float32.
        rate_hz: their sample rate.
        level_BK: root mean square of the signal in each band, in its unit.
        bands: the bands.
        whitened: whether the spectrum was flattened before.
    """

    values_BKM: Tensor
    rate_hz: float
    level_BK: Tensor
    bands: Bands
    whitened: bool


def squared_envelopes(values_BN: Tensor, rate_hz: float, bands: Bands, *, whiten: bool = False) -> Envelopes:
    """Squared envelopes of every signal in every band, at a rate that holds all of their spectrum.

    Args:
        values_BN: float, real.
        rate_hz: their sample rate.
        bands: below half of it.
        whiten: flatten the spectrum first (cepstrum pre-whitening; Borghesani et al., MSSP 36, 2013): discrete tones of
            shaft and gears, strong and steady, go down to the level of the rest.
    """
    count = values_BN.shape[1]
    spectrum_BF = torch.fft.rfft(values_BN - values_BN.mean(1, keepdim=True))
    step_hz = rate_hz / count
    size = max(round(bands.width_hz / step_hz), 2)
    most = spectrum_BF.shape[1] - size
    first_K = [min(round(start / step_hz), most) for start in bands.starts_hz]
    picked_BKF = torch.stack([spectrum_BF[:, first : first + size] for first in first_K], 1)
    power_BKF = squared(picked_BKF)
    level_BK = (2.0 * power_BKF.sum(-1)).sqrt() / count
    if whiten:
        picked_BKF = picked_BKF / (power_BKF.sqrt() + TINY)
    length = _fast(2 * size)  # squaring doubles the spectrum: no part of it may fold back
    power_BKM = squared(torch.fft.ifft(picked_BKF, length))
    values_BKM = power_BKM / (power_BKM.mean(-1, keepdim=True) + TINY**2) - 1.0
    return Envelopes(values_BKM, length * step_hz, level_BK, bands, whiten)


def squared(values: Tensor) -> Tensor:
    """Squared magnitude of complex values: several times as fast as `abs().square()`, which guards against overflow."""
    return values.real.square().addcmul_(values.imag, values.imag)


def modulation(values_BKM: Tensor) -> Tensor:
    """Amplitude of every line of the envelopes' spectra, (B, K, F); 1 for a modulation as deep as the mean."""
    count = values_BKM.shape[-1]
    window_M = torch.hann_window(count, dtype=values_BKM.dtype)
    depth_BKF: Tensor = squared(torch.fft.rfft(values_BKM * window_M)).sqrt() * (4.0 / count)
    return depth_BKF


def surroundings(power_BF: Tensor, width: int) -> Tensor:
    """What the power would be without lines: medians of stretches of `width`, joined by straight lines; (B, F).

    Scaled to the mean of noise, whose power is distributed exponentially.
    """
    lines = power_BF.shape[-1]
    width = max(min(width, lines), 1)
    count = -(-lines // width)
    tail_BF = power_BF[..., lines - width :]
    whole_BF = torch.cat([power_BF[..., : (count - 1) * width], tail_BF], -1)
    stretches_BSW = whole_BF.reshape(*whole_BF.shape[:-1], count, width).numpy()
    middle = (width - 1) // 2  # numpy's partition is six times as fast as torch's median
    median_BS = torch.from_numpy(np.partition(stretches_BSW, middle, -1)[..., middle]) / math.log(2.0)
    flat_BS = median_BS.reshape(-1, 1, count)
    joined_BF = functional.interpolate(flat_BS, size=count * width, mode="linear")[:, 0, :lines]
    return joined_BF.reshape(power_BF.shape) + TINY**2


@lru_cache(maxsize=64)
def _fast(size: int) -> int:
    """The least length from `size` on that has no prime factor above five."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
