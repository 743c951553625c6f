"""A small radar world: point targets in noise, by the signs of `fmcw`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame
from iotlam_radar.fmcw import LIGHT_M_S

RECEIVERS, CHIRPS, SAMPLES = 4, 32, 128
CARRIER_HZ, BANDWIDTH_HZ, CHIRP_PERIOD_S = 77e9, 150e6, 60e-6
WAVELENGTH_M = LIGHT_M_S / CARRIER_HZ


@dataclass(frozen=True, slots=True)
class Target:
    """A point target: range in metres, range rate in m/s (positive: receding), angle in radians to the left."""

    range_m: float
    rate_m_s: float = 0.0
    angle: float = 0.0
    amplitude: float = 1.0


def radar_meta(height_m: float = 5.0) -> dict[str, object]:
    """Settings of a 77 GHz radar of 1 m range bins at the site's origin, looking east."""
    return {
        "sensor": "radar", "pose_site": mounted_pose((0.0, 0.0, height_m)), "carrier_hz": CARRIER_HZ,
        "bandwidth_hz": BANDWIDTH_HZ, "chirp_period_s": CHIRP_PERIOD_S, "spacing_m": WAVELENGTH_M / 2.0,
    }  # fmt: skip


def cube_of(targets: list[Target], rng: np.random.Generator, noise: float = 0.1, t_ns: int = 0) -> SensorFrame:
    """Beat signals of targets in white noise of the given amplitude, complex64 (4, 32, 128)."""
    receiver, chirp, sample = np.indices((RECEIVERS, CHIRPS, SAMPLES), sparse=True)
    shape = (RECEIVERS, CHIRPS, SAMPLES)
    cube = noise / np.sqrt(2.0) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    for target in targets:
        cycles = (
            2.0 * target.range_m / WAVELENGTH_M
            + 2.0 * target.range_m * BANDWIDTH_HZ / LIGHT_M_S * sample / SAMPLES
            + 2.0 * target.rate_m_s / WAVELENGTH_M * chirp * CHIRP_PERIOD_S
            + 0.5 * np.sin(target.angle) * receiver
        )
        cube = cube + target.amplitude * np.exp(2j * np.pi * cycles)
    return SensorFrame(t_ns=t_ns, data=cube.astype(np.complex64), meta=radar_meta())


def sample_cube(seed: int) -> SensorFrame:
    """A cube with three to six vehicles and eight pieces of clutter; echoes weaken with range."""
    rng = np.random.default_rng(seed)
    movers = [(rng.uniform(8, 90), rng.uniform(-14, 14), rng.uniform(-0.3, 0.3)) for _ in range(rng.integers(3, 7))]
    clutter = [(rng.uniform(8, 90), 0.0, rng.uniform(-0.8, 0.8)) for _ in range(8)]
    targets = [Target(range_m, rate, angle, 20.0 / range_m) for range_m, rate, angle in movers + clutter]
    return cube_of(targets, rng)
