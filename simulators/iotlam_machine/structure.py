"""What the structure makes of forces: modes between where they act and where the accelerometer sits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


NATURAL_HZ = (300.0, 20_000.0)
"""Where the modes of housings lie."""


@dataclass(frozen=True, slots=True)
class Modes:
    """A transmission path as a sum of modes, from force to acceleration.

    Attributes:
        natural_hz: natural frequencies.
        damping: damping ratios.
        gain: of each mode, with its sign.
        stiff: gain of what passes without resonance.
    """

    natural_hz: tuple[float, ...]
    damping: tuple[float, ...]
    gain: tuple[float, ...]
    stiff: float = 0.05

    def pass_on(self, force_N: Doubles, rate_hz: float) -> Doubles:
        """The acceleration that a force causes, (N,)."""
        count = len(force_N)
        ratio_F = np.fft.rfftfreq(count, 1.0 / rate_hz)
        response_F = np.full(len(ratio_F), self.stiff, np.complex128)
        for natural, damping, gain in zip(self.natural_hz, self.damping, self.gain, strict=True):
            share_F = ratio_F / natural
            response_F += gain * 2.0 * damping * share_F**2 / (1.0 - share_F**2 + 2j * damping * share_F)
        response_F[0] = 0.0
        return np.fft.irfft(np.fft.rfft(force_N) * response_F, count)

    def remounted(self, rng: np.random.Generator) -> Modes:
        """The path after the machine was opened: joints are stiffer or looser, modes a little elsewhere and louder."""
        count = len(self.gain)
        return Modes(
            tuple(np.array(self.natural_hz) * rng.lognormal(0.0, 0.03, count)),
            tuple(np.array(self.damping) * rng.lognormal(0.0, 0.3, count)),
            tuple(np.array(self.gain) * rng.lognormal(0.0, 0.4, count)),
            self.stiff,
        )


def random_modes(rng: np.random.Generator) -> Modes:
    """A path of three to seven modes: of those above half of its rate a sensor has what they do below."""
    low_hz, high_hz = NATURAL_HZ
    count = int(rng.integers(3, 8))
    return Modes(
        tuple(np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), count))),
        tuple(np.exp(rng.uniform(np.log(0.005), np.log(0.06), count))),
        tuple(rng.lognormal(0.0, 0.6, count) * rng.choice((-1.0, 1.0), count)),
        float(rng.uniform(0.02, 0.15)),
    )
