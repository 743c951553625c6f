"""A simulated bearing on a shaft: impacts through a resonance, with slip, load and noise.

The model of McFadden and Smith (JSV 96, 1984) with the random slip of Antoni and Randall (MSSP 17, 2003): every
passing of a defect strikes a resonance; an inner-race or ball defect is struck harder while it is in the load zone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame

Doubles = NDArray[np.float64]

DURATION_S = 1.0
RATES_HZ = (12_000.0, 20_000.0, 25_600.0, 48_000.0)
FAULTS = ("none", "outer", "inner", "ball")
SLIP = 0.01


def sample_vibration(seed: int, rate_hz: float | None = None, fault: str | None = None) -> SensorFrame:
    """A second of one axis, in m/s2, with the shaft's speed.

    Args:
        seed: of machine, speed and level, and of what is not given.
        rate_hz: sample rate.
        fault: one of `FAULTS`.
    """
    rng = np.random.default_rng((seed, 71))
    drawn_hz, shaft_hz = float(rng.choice(RATES_HZ)), rng.uniform(10.0, 60.0)
    rate_hz = rate_hz or drawn_hz
    count = round(DURATION_S * rate_hz)
    freq_F = np.linspace(0.0, rate_hz / 2.0, count // 2 + 1)
    drawn = FAULTS[rng.integers(len(FAULTS))]
    fault = fault or drawn
    noise_N = _shaped(rng.normal(0.0, 1.0, count), _structure(rng, freq_F))
    noise_N /= noise_N.std()
    strikes_N = _shaped(_strikes(rng, fault, shaft_hz, count, rate_hz), _resonance(rng, freq_F))
    strikes_N *= rng.uniform(1.0, 12.0) / (np.abs(strikes_N).max() + 1e-9)
    turns_N = _turns(rng, shaft_hz, np.arange(count) / rate_hz)
    values_N = (noise_N + strikes_N + turns_N) * np.exp(rng.normal(0.5, 1.0))
    meta = {"sensor": "bearing", "rate_hz": rate_hz, "shaft_hz": float(shaft_hz), "fault": fault}
    return SensorFrame(t_ns=0, data=values_N[:, None].astype(np.float32), meta=meta)


def _strikes(rng: np.random.Generator, fault: str, shaft_hz: float, count: int, rate_hz: float) -> Doubles:
    """Strikes of the defect at their samples, by the geometry of a bearing drawn at random."""
    strikes_N = np.zeros(count)
    balls, ratio = int(rng.integers(7, 15)), rng.uniform(0.15, 0.35)  # ratio: ball over pitch diameter
    orders = {"outer": balls / 2 * (1 - ratio), "inner": balls / 2 * (1 + ratio), "ball": (1 / ratio - ratio)}
    if fault not in orders:
        return strikes_N
    gap_s = 1.0 / (orders[fault] * shaft_hz)
    times_s = np.cumsum(gap_s * (1.0 + SLIP * rng.normal(0.0, 1.0, int(2 * DURATION_S / gap_s) + 2)))
    times_s = times_s[times_s < DURATION_S]
    zone_hz = {"outer": 0.0, "inner": shaft_hz, "ball": shaft_hz / 2 * (1 - ratio)}[fault]
    load = 1.0 + rng.uniform(0.3, 0.95) * np.cos(2 * np.pi * (zone_hz * times_s + rng.uniform()))
    np.add.at(strikes_N, (times_s * rate_hz).astype(np.intp), load * rng.lognormal(0.0, 0.2, len(times_s)))
    return strikes_N


def _turns(rng: np.random.Generator, shaft_hz: float, time_N: Doubles) -> Doubles:
    """Unbalance, misalignment and a gear: harmonics of the shaft."""
    orders = [1, 2, 3, int(rng.integers(15, 45))]
    levels = rng.exponential((0.5, 0.3, 0.15, 0.3))
    waves = [np.cos(2 * np.pi * (n * shaft_hz * time_N + rng.uniform())) for n in orders]
    return np.asarray(levels @ np.stack(waves))


def _structure(rng: np.random.Generator, freq_F: Doubles) -> NDArray[np.complex128]:
    """What the housing passes on of broad noise: a floor and a few resonances."""
    tilt_F = (1.0 + freq_F / 500.0) ** rng.uniform(-1.0, 0.2)
    return np.asarray(tilt_F + sum(_resonance(rng, freq_F) * rng.uniform(0.05, 0.5) for _ in range(3)))


def _resonance(rng: np.random.Generator, freq_F: Doubles) -> NDArray[np.complex128]:
    natural_hz, damping = rng.uniform(600.0, 5500.0), rng.uniform(0.01, 0.08)
    ratio_F = freq_F / natural_hz
    return np.asarray(ratio_F**2 / (1.0 - ratio_F**2 + 2j * damping * ratio_F))


def _shaped(values_N: Doubles, response_F: NDArray[np.complex128]) -> Doubles:
    return np.fft.irfft(np.fft.rfft(values_N) * response_F, len(values_N))
