"""Currents of the motor's three phases, ampere.

A damaged bearing shakes the air gap: sidebands at the supply's frequency plus and minus its fault's; shorted turns make
the phases uneven and add a third harmonic (Bellini et al., IEEE Trans. Ind. Electron. 55, 2008).

Shapes: N samples, 3 phases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam_machine.machine import BEARING_FAULTS, Machine
from iotlam_machine.shaft import Turning
from iotlam_machine.strikes import LoadZone, rhythm

Doubles = NDArray[np.float64]

RATED_SLIP = 0.03
NOISE = 0.003
GAP = 0.02
"""Modulation of the current by a damaged bearing of severity 1."""


def current(rng: np.random.Generator, machine: Machine, turning: Turning) -> Doubles:
    """What three clamps measure, (N, 3)."""
    zone = LoadZone(spread=machine.zone_spread)
    supply_turns = machine.pole_pairs * turning.shaft / (1.0 - RATED_SLIP * machine.load)
    swing_N = 0.002 * np.cos(2.0 * np.pi * turning.shaft) * (1.0 + 10.0 * machine.fault("imbalance"))
    for fault in machine.faults:
        if fault.kind in BEARING_FAULTS:
            swing_N = swing_N + GAP * fault.severity**2 * rhythm(fault.kind, turning, zone, fault.place)
    uneven_P = rng.normal(0.0, 0.005, 3)
    uneven_P[0] += 0.25 * machine.fault("winding")
    phases_NP = supply_turns[:, None] - np.arange(3) / 3.0
    wave_NP = np.cos(2.0 * np.pi * phases_NP)
    for order in (3, 5, 7, 11, 13):
        level = rng.exponential(0.03 / order) + (0.08 * machine.fault("winding") if order == 3 else 0.0)
        wave_NP = wave_NP + level * np.cos(2.0 * np.pi * (order * phases_NP + rng.uniform()))
    amplitude = machine.current_a * (0.3 + 0.7 * machine.load)
    clean_NP = wave_NP * (1.0 + uneven_P) * (1.0 + swing_N[:, None])
    return np.asarray(amplitude * (clean_NP + NOISE * rng.normal(size=clean_NP.shape)))
