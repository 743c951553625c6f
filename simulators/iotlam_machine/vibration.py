"""Vibration at the bearing's housing, m/s2.

Shapes: N samples, A axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam_machine.machine import BEARING_FAULTS, Machine
from iotlam_machine.shaft import Turning
from iotlam_machine.strikes import LoadZone, rhythm, strikes
from iotlam_machine.structure import Modes, random_modes

Doubles = NDArray[np.float64]

LEAST_PEAK, MOST_PEAK = 1.0, 40.0
"""Peak of the strikes over that noise at severity 0 and 1."""


def vibration(rng: np.random.Generator, machine: Machine, turning: Turning) -> Doubles:
    """What the accelerometer measures, (N, A)."""
    rate_hz = 1.0 / turning.time_s[1]
    zone = LoadZone(spread=machine.zone_spread)
    kind = np.random.default_rng((machine.structure, 82))  # of the structure, not of the run
    shifts = np.random.default_rng((machine.mounting, 86)) if machine.mounting else None
    housing = _paths(kind, machine, shifts)
    paths = {fault: _paths(kind, machine, shifts) for fault in BEARING_FAULTS}
    noise_N = rng.normal(size=len(turning.time_s)) * _roughness(kind, machine, turning, zone)
    axes = []
    for axis in range(machine.axes):
        sound_N = _unit(housing[axis].pass_on(noise_N, rate_hz))
        damage_N = sum((_damage(rng, machine, turning, zone, fault, paths[fault][axis])
                        for fault in BEARING_FAULTS), np.zeros_like(sound_N))  # fmt: skip
        loud = machine.noise_m_s2 * (0.7 + 0.6 * machine.load)
        axes.append(loud * (sound_N + damage_N) + _turns(kind, machine, turning))
    return np.stack(axes, 1)


def _paths(kind: np.random.Generator, machine: Machine, shifts: np.random.Generator | None) -> list[Modes]:
    """A path to each axis, as it is since the machine was last opened."""
    paths = [random_modes(kind) for _ in range(machine.axes)]
    return [path.remounted(shifts) for path in paths] if shifts else paths


def _roughness(kind: np.random.Generator, machine: Machine, turning: Turning, zone: LoadZone) -> Doubles:
    """How a sound bearing's noise swells with the shaft, and a little with its races and its cage."""
    swell_N = np.ones(len(turning.time_s))
    for fault in BEARING_FAULTS:
        swell_N += machine.roughness * kind.uniform(0.0, 1.0) * rhythm(fault, turning, zone, kind.uniform())
    swell_N += _once_a_turn(kind, machine, turning)
    swell_N += machine.roughness * kind.uniform(0.0, 1.0) * np.cos(2.0 * np.pi * turning.cage)
    return np.maximum(swell_N, 0.05)


def _once_a_turn(kind: np.random.Generator, machine: Machine, turning: Turning) -> Doubles:
    """What swells with the shaft: looseness, rubbing and eccentricity give harmonics, the sharper the more of them."""
    sharp = kind.uniform(0.3, 4.0)
    orders = range(1, 11)
    levels = [machine.play * np.exp(-(order - 1) / sharp) * kind.lognormal(0.0, 0.5) for order in orders]
    waves = [np.cos(2.0 * np.pi * (order * turning.shaft + kind.uniform())) for order in orders]
    return np.asarray(sum(level * wave for level, wave in zip(levels, waves, strict=True)))


def _damage(
    rng: np.random.Generator, machine: Machine, turning: Turning, zone: LoadZone, fault: str, path: Modes
) -> Doubles:
    """Strikes of the damaged part and the noise that it makes in their rhythm, over the sound bearing's noise."""
    rate_hz = 1.0 / turning.time_s[1]
    total_N = np.zeros(len(turning.time_s))
    for one in machine.faults:
        if one.kind != fault:
            continue
        peak = LEAST_PEAK * (MOST_PEAK / LEAST_PEAK) ** one.severity * (0.5 + machine.load)
        struck_N = path.pass_on(strikes(rng, fault, turning, zone, one.place), rate_hz)
        hiss_N = rng.normal(size=len(struck_N)) * rhythm(fault, turning, zone, one.place)
        hiss_N = path.pass_on(hiss_N, rate_hz)
        total_N += peak * (1.0 - one.rough) * struck_N / max(float(np.quantile(np.abs(struck_N), 0.9995)), 1e-12)
        total_N += 0.3 * peak * one.rough * hiss_N / max(float(np.quantile(np.abs(hiss_N), 0.9995)), 1e-12)
    return total_N


def _turns(kind: np.random.Generator, machine: Machine, turning: Turning) -> Doubles:
    """Harmonics of the shaft: imbalance, misalignment, a gear; m/s2."""
    omega = 2.0 * np.pi * np.gradient(turning.shaft, turning.time_s)
    once = omega**2 * 1e-6 * (2.0 + 120.0 * machine.fault("imbalance") ** 2)  # of micrometres of eccentricity
    twice = omega**2 * 4e-6 * (0.5 + 60.0 * machine.fault("misalignment") ** 2)
    levels = {1: once, 2: twice, 3: 0.3 * twice + 0.1 * once, 4: 0.1 * twice}
    phase = kind.uniform(size=len(levels))
    total = sum(level * np.cos(2.0 * np.pi * (n * turning.shaft + phase[n - 1])) for n, level in levels.items())
    if machine.gear_teeth:
        mesh = np.cos(2.0 * np.pi * machine.gear_teeth * turning.shaft)
        total = total + 0.3 * mesh * (1.0 + 0.3 * np.cos(2.0 * np.pi * turning.shaft))
    return np.asarray(total)


def _unit(values_N: Doubles) -> Doubles:
    return np.asarray(values_N / max(float(values_N.std()), 1e-12))
