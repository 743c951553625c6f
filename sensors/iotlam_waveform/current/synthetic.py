"""Simulated stator currents: supply and its harmonics, slip, load, and what shorted turns or broken bars add.

Broken bars put sidebands at (1 -+ 2 s) f, a shorted winding uneven amplitudes and a third harmonic (Bellini et al.,
IEEE Trans. Ind. Electron. 55, 2008).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame

Doubles = NDArray[np.float64]

DURATION_S = 1.0
RATES_HZ = (1_000.0, 2_000.0, 5_000.0, 10_000.0)
FAULTS = ("none", "turns", "bars", "load")
HARMONICS = (3, 5, 7, 11, 13)


def sample_current(seed: int) -> SensorFrame:
    """A second of three phases, in ampere; supply, load, fault and rate from `seed`."""
    rng = np.random.default_rng((seed, 72))
    rate_hz = float(rng.choice(RATES_HZ))
    supply = float(rng.choice((50.0, 60.0, rng.uniform(25.0, 75.0))))
    time_N = np.arange(round(DURATION_S * rate_hz)) / rate_hz
    fault = FAULTS[rng.integers(len(FAULTS))]
    unevenness_P = rng.normal(0.0, 0.01, 3)
    if fault == "turns":
        unevenness_P[rng.integers(3)] += rng.uniform(0.03, 0.3)
    swing_N = _swing(rng, fault, supply, time_N)
    angle_PN = 2 * np.pi * (supply * time_N + rng.uniform() - np.arange(3)[:, None] / 3)
    wave_PN = np.cos(angle_PN)
    for order in HARMONICS:
        level = rng.exponential(0.02 * 3 / order) * (4.0 if order == 3 and fault == "turns" else 1.0)
        wave_PN = wave_PN + level * np.cos(order * angle_PN + rng.uniform(0.0, 2 * np.pi))
    phases_PN = wave_PN * (1.0 + unevenness_P[:, None]) * (1.0 + swing_N)
    phases_PN = phases_PN + rng.normal(0.0, 10 ** rng.uniform(-3.0, -1.3), phases_PN.shape)
    values_NP = (phases_PN.T * np.exp(rng.normal(1.0, 1.0))).astype(np.float32)
    return SensorFrame(t_ns=0, data=values_NP, meta={"sensor": "motor", "rate_hz": rate_hz, "fault": fault})


def _swing(rng: np.random.Generator, fault: str, supply: float, time_N: Doubles) -> Doubles:
    """How the load and broken bars modulate the amplitude, as a share of it."""
    slip = rng.uniform(0.01, 0.06)
    turn_hz = supply * (1.0 - slip) / rng.integers(1, 4)
    depth_bars = rng.uniform(0.02, 0.15) if fault == "bars" else 0.0
    depth_load = rng.uniform(0.03, 0.2) if fault == "load" else rng.uniform(0.0, 0.01)
    bars_N = depth_bars * np.cos(2 * np.pi * (2 * slip * supply * time_N + rng.uniform()))
    return np.asarray(bars_N + depth_load * np.cos(2 * np.pi * (turn_hz * time_N + rng.uniform())))
