"""When a damaged bearing is struck, and how hard.

McFadden and Smith (JSV 96, 1984): a defect is struck each time that a rolling element passes over it, as hard as the
element is loaded there (Stribeck's distribution). Antoni and Randall (MSSP 17, 2003): elements slip, and do not return
evenly. Large defects also roughen what rolls over them (Smith and Randall, 2015): noise in the same rhythm.

Shapes: N samples, B balls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_machine.shaft import Turning, crossings, wander

Doubles = NDArray[np.float64]

JITTER = 0.004
"""Standard deviation of when a ball arrives, as a share of the balls' spacing."""


WELL_INSIDE = 0.9
"""Share of the load zone in which defects are drawn."""


@dataclass(frozen=True, slots=True)
class LoadZone:
    """Where a radial load presses.

    Attributes:
        at: centre of the zone on the outer race, turns.
        spread: Stribeck's epsilon: 0.5 loads half of the bearing, below 1 only a part, above 1 all of it.
    """

    at: float = 0.0
    spread: float = 0.5

    def inside(self, share: float) -> float:
        """A place in the zone, turns, for a share of its width; where load is least, next to its edges, is none."""
        half = np.arccos(np.clip(1.0 - 2.0 * self.spread, -1.0, 1.0)) / (2.0 * np.pi)
        return float((self.at + WELL_INSIDE * half * (2.0 * share - 1.0)) % 1.0)

    def load(self, angle: Doubles) -> Doubles:
        """Load at angles on the outer race (turns), 1 at the centre."""
        away = 1.0 - np.cos(2.0 * np.pi * (angle - self.at))
        return np.asarray(np.clip(1.0 - away / (2.0 * self.spread), 0.0, None) ** 1.5)


def strikes(rng: np.random.Generator, fault: str, turning: Turning, zone: LoadZone, place: float) -> Doubles:
    """Impulses of a defect, 1 where a fully loaded element strikes it; float64 (N,).

    Args:
        rng: for what is random.
        fault: `outer`, `inner` or `ball`.
        turning: how the parts turn.
        zone: where the load is.
        place: where the defect is on its race, turns (the outer race's from the load's side of the housing).
    """
    found = np.zeros(len(turning.time_s))
    if fault == "ball":
        return _ball(rng, turning, zone, place, found)
    for pocket, share_of_load in zip(turning.pocket_B, turning.share_B, strict=True):
        angle = turning.cage + pocket if fault == "outer" else turning.shaft - turning.cage - pocket
        at, share = crossings(angle, place)
        where = np.full(len(at), place) if fault == "outer" else turning.shaft[at] + place
        late = share + JITTER / len(turning.pocket_B) * rng.normal(size=len(at)) / _step(angle)
        _add(found, at, late, share_of_load * zone.load(where) * rng.lognormal(0.0, 0.15, len(at)))
    return found


def _ball(rng: np.random.Generator, turning: Turning, zone: LoadZone, place: float, found: Doubles) -> Doubles:
    """A spot on one ball strikes both races in turn, while the ball is in the load zone and the spot in its track."""
    in_track = np.clip(0.6 + 0.7 * wander(rng, len(found), 1.0 / turning.time_s[1]), 0.0, 1.0)
    for race, offset in ((1.0, 0.0), (rng.uniform(0.4, 1.0), 0.5)):
        at, share = crossings(turning.spin, place + offset)
        where = turning.cage[at] + turning.pocket_B[0]
        late = share + JITTER * rng.normal(size=len(at)) / _step(turning.spin)
        _add(found, at, late, race * zone.load(where) * in_track[at] * rng.lognormal(0.0, 0.2, len(at)))
    return found


def rhythm(fault: str, turning: Turning, zone: LoadZone, place: float) -> Doubles:
    """How a fault of some width modulates noise: 0 to 1, high while an element is over it; (N,)."""
    if fault == "ball":
        over = 0.5 + 0.5 * np.cos(4.0 * np.pi * (turning.spin - place))
        return np.asarray(over**4 * zone.load(turning.cage + turning.pocket_B[0]))
    angle = turning.cage if fault == "outer" else turning.shaft - turning.cage
    sign = 1.0 if fault == "outer" else -1.0
    over = sum(
        share * _bump(angle + sign * pocket - place, len(turning.pocket_B))
        for pocket, share in zip(turning.pocket_B, turning.share_B, strict=True)
    )
    return np.asarray(over * zone.load(np.asarray(place) if fault == "outer" else turning.shaft + place))


def _bump(angle: Doubles, balls: int) -> Doubles:
    """1 where a ball is over the spot, 0 from half of the balls' spacing on."""
    away = np.abs(angle - np.round(angle)) * balls
    return np.where(away < 0.5, (0.5 + 0.5 * np.cos(2.0 * np.pi * away)) ** 2, 0.0)


def _step(angle: Doubles) -> float:
    """Turns of an angle in one sample, on average."""
    return max(float(angle[-1] - angle[0]) / (len(angle) - 1), 1e-12)


def _add(found: Doubles, at: NDArray[np.intp], share: Doubles, height: Doubles) -> None:
    """Add impulses between samples, spread over the two about each."""
    before = at + np.floor(share).astype(np.intp)
    part = share - np.floor(share)
    for index, weight in ((before, 1.0 - part), (before + 1, part)):
        inside = (index >= 0) & (index < len(found))
        np.add.at(found, index[inside], (height * weight)[inside])
