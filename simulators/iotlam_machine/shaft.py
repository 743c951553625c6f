"""How shaft, cage and rolling elements turn.

Shapes: N instants, B balls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_machine.bearings import Bearing

Doubles = NDArray[np.float64]

WANDER_HZ = 0.5
"""How fast slip and speed wander: their fluctuations lie below."""

POCKET = 0.01
"""How unevenly the balls sit in the cage, standard deviation as a share of their spacing."""

UNALIKE = 0.2
"""How differently balls are loaded, log-normal: their diameters differ by a micrometre or so."""


@dataclass(frozen=True, slots=True)
class Turning:
    """Angles in turns.

    Attributes:
        time_s: the instants, even.
        shaft: of the shaft, (N,).
        cage: of the cage, (N,).
        spin: of a ball about itself, (N,).
        pocket_B: where each ball sits in the cage, turns of it.
        share_B: what each ball carries, over what it would if all were alike.
    """

    time_s: Doubles
    shaft: Doubles
    cage: Doubles
    spin: Doubles
    pocket_B: Doubles
    share_B: Doubles


def turning(
    rng: np.random.Generator, bearing: Bearing, speed_hz: Doubles, rate_hz: float, slip: float, unsteady: float
) -> Turning:
    """Angles of a bearing's parts.

    Args:
        rng: for what wanders.
        bearing: its geometry.
        speed_hz: intended speed of the shaft at every instant.
        rate_hz: instants a second.
        slip: share by which the cage turns faster than the geometry says.
        unsteady: standard deviation of the speed, as a share.
    """
    count = len(speed_hz)
    true_hz = speed_hz * (1.0 + unsteady * wander(rng, count, rate_hz))
    cage_order = bearing.orders.cage * (1.0 + slip + 0.001 * wander(rng, count, rate_hz))
    spin_order = bearing.orders.ball * (1.0 + 0.5 * slip + 0.001 * wander(rng, count, rate_hz))
    pocket_B = (np.arange(bearing.balls) + POCKET * rng.normal(size=bearing.balls)) / bearing.balls
    return Turning(
        np.arange(count) / rate_hz,
        rng.uniform() + np.cumsum(true_hz) / rate_hz,
        rng.uniform() + np.cumsum(true_hz * cage_order) / rate_hz,
        rng.uniform() + np.cumsum(true_hz * spin_order) / rate_hz,
        pocket_B,
        rng.lognormal(0.0, UNALIKE, bearing.balls),
    )


def wander(rng: np.random.Generator, count: int, rate_hz: float) -> Doubles:
    """A slow random walk about zero with standard deviation one."""
    knots = max(int(count / rate_hz * WANDER_HZ * 2.0) + 3, 4)
    slow = np.interp(np.linspace(0.0, knots - 1.0, count), np.arange(knots), rng.normal(size=knots))
    return np.asarray(slow / 0.82)  # interpolation takes some of the variance


def crossings(angle: Doubles, offset: float) -> tuple[NDArray[np.intp], Doubles]:
    """When an angle passes whole turns plus an offset: sample before, and share of the step to the next."""
    turns = np.floor(angle - offset)
    before = np.flatnonzero(np.diff(turns) > 0)
    step = angle[before + 1] - angle[before]
    share = (turns[before + 1] + offset - angle[before]) / np.maximum(step, 1e-12)
    return before, np.clip(share, 0.0, 1.0)
