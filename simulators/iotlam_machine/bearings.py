"""Bearings: from their geometry to the orders at which their faults strike.

Kinematics of a rolling bearing whose inner ring turns (Harris, "Rolling Bearing Analysis", 4th ed., ch. 8; the same as
Smith and Randall, MSSP 64-65, 2015, table 1). Rolling elements slip: the cage turns up to two per cent faster or
slower than they say.
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

from iotlam.contracts import BadInput
from iotlam.contracts.records import Record

SLIP = 0.02
"""By how much, as a share, the cage's order may differ from the geometry's."""

FULLEST, EMPTIEST = 1.02, 0.25
"""Share of the pitch circle that the rolling elements may fill; those of real bearings fill half of it and more."""

Millimetres = Annotated[float, Meta(gt=0.0, le=5000.0)]


class FaultOrders(Record, frozen=True):
    """How often a defect is struck in one turn of the shaft.

    Attributes:
        outer: passings of a spot of the outer race (BPFO).
        inner: passings of a spot of the inner race (BPFI).
        cage: turns of the cage (FTF).
        ball: turns of a rolling element about itself (BSF); a spot on it strikes both races, twice a turn.
    """

    outer: Annotated[float, Meta(gt=0.0, le=100.0)]
    inner: Annotated[float, Meta(gt=0.0, le=100.0)]
    cage: Annotated[float, Meta(gt=0.0, lt=1.0)]
    ball: Annotated[float, Meta(gt=0.0, le=100.0)]

    @property
    def balls(self) -> int:
        """Number of rolling elements: all of them pass in one turn of the shaft, on one race or the other."""
        return round(self.outer + self.inner)


class Bearing(Record, frozen=True):
    """Geometry of a rolling bearing.

    Attributes:
        balls: number of rolling elements.
        ball_mm: their diameter.
        pitch_mm: diameter of the circle on which their centres lie.
        contact_deg: contact angle.
    """

    balls: Annotated[int, Meta(ge=3, le=200)]
    ball_mm: Millimetres
    pitch_mm: Millimetres
    contact_deg: Annotated[float, Meta(ge=0.0, lt=90.0)] = 0.0

    def __post_init__(self) -> None:
        filled = self.balls * self.ball_mm / (math.pi * self.pitch_mm)
        if not EMPTIEST <= filled <= FULLEST:
            said = f"{self.balls} elements of {self.ball_mm:g} mm on a circle of {self.pitch_mm:g} mm"
            raise ValueError(f"{said}, which fill {filled:.0%} of it")

    @property
    def orders(self) -> FaultOrders:
        """Orders of the faults while the inner ring turns and the outer stands."""
        share = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.contact_deg))
        cage = (1.0 - share) / 2.0
        ball = self.pitch_mm / self.ball_mm * (1.0 - share**2) / 2.0
        return FaultOrders(outer=self.balls * cage, inner=self.balls * (1.0 - cage), cage=cage, ball=ball)


BEARINGS = {
    "6203": Bearing(balls=8, ball_mm=6.746, pitch_mm=28.5),
    "6203-FAG": Bearing(balls=8, ball_mm=6.75, pitch_mm=28.55),
    "6203-IBU": Bearing(balls=8, ball_mm=6.75, pitch_mm=29.05),
    "203KD": Bearing(balls=8, ball_mm=6.77, pitch_mm=28.5),
    "6204": Bearing(balls=8, ball_mm=7.6, pitch_mm=33.5),
    "6205": Bearing(balls=9, ball_mm=7.94, pitch_mm=39.04),
    "6205-HUST": Bearing(balls=9, ball_mm=7.8, pitch_mm=38.5),
    "6206": Bearing(balls=9, ball_mm=9.0, pitch_mm=46.0),
    "6207": Bearing(balls=9, ball_mm=11.0, pitch_mm=53.5),
    "6208": Bearing(balls=9, ball_mm=12.0, pitch_mm=60.0),
    "ER-10K": Bearing(balls=8, ball_mm=7.9375, pitch_mm=33.5026),
    "ER-16K": Bearing(balls=9, ball_mm=7.94, pitch_mm=38.52),
    "UER204": Bearing(balls=8, ball_mm=7.92, pitch_mm=34.55),
    "NICE": Bearing(balls=8, ball_mm=5.969, pitch_mm=31.623),
    "N205": Bearing(balls=10, ball_mm=6.5, pitch_mm=38.5),
    "NU205": Bearing(balls=11, ball_mm=6.5, pitch_mm=38.5),
}
"""Bearings by their number, with a suffix where a maker's differs: those of the public data sets."""


def find_bearing(name: str) -> Bearing:
    """The bearing of a number, with or without what stands around it: 6205, 6205-2RS, SKF 6205-2RS JEM.

    Raises:
        BadInput: if it is none of `BEARINGS`.
    """
    for word in (name, *name.replace("/", " ").replace("-", " ").split()):
        if word in BEARINGS:
            return BEARINGS[word]
    raise BadInput(
        f"Bearing '{name}'",
        expected=f"one of {', '.join(BEARINGS)}",
        got="another",
        fix="give its geometry instead: balls, ball and pitch diameter in mm, contact angle",
    )
