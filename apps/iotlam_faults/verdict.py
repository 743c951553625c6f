"""What physics says of a bearing: the verdict and what it rests on.

A fault is named where two things are so: the lines of its comb stand out of the whitened envelope far more clearly
than those of any other bearing would, and the modulation is deep, as impacts make it. The natural play of a sound
bearing gives lines too, clear at times but shallow; those are said, and named nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from iotlam_faults.physics.combs import (
    COMBS,
    TOP_ORDER,
    Clarity,
    OrderGrid,
    clarity,
    first_order,
    order_grid,
    without,
)
from iotlam_faults.physics.speed import ShaftSpeed, speeds
from iotlam_faults.physics.tracking import followed, over_angle
from iotlam_machine.bearings import SLIP, FaultOrders
from iotlam_waveform.envelope import Bands, Envelopes, squared_envelopes

FEWEST_TURNS = 20.0
RACE_BOUNDS, BALL_BOUNDS = ((6.0, 0.5), (5.0, 0.6)), ((5.0, 0.35), (4.0, 0.5))
"""From which sigmas and depth on a fault is named: deeper lines need be less clear. Set on 400 simulated machines, for
as many right names as possible where a wrong one costs five; it tells in recordings of a second or two."""

CAGE_SIGMAS, CAGE_DEEP = 4.0, 0.45
SUSPECT_SIGMAS = 5.0

SAME_CAGE = 0.007
"""Shares of slip within which two races can be of one bearing: both follow its cage."""

WORDS = {"inner": "inner race", "outer": "outer race", "ball": "rolling elements", "cage": "cage"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A comb of lines that was looked for.

    Attributes:
        name: `inner`, `outer`, `ball` or `cage`.
        order: where its first line is, multiples of the shaft's speed, slip included.
        hz: the same in hertz.
        raw: how clear it is in the envelopes of the signal as it is.
        white: how clear it is after whitening.
        bands: the bands, for the indices of both.
    """

    name: str
    order: float
    hz: float
    raw: Clarity
    white: Clarity
    bands: Bands

    @property
    def sigmas(self) -> float:
        """How clear it is after whitening, which steady tones cannot feign."""
        return self.white.sigmas

    @property
    def depth(self) -> float:
        """Deepest modulation, as a share of the mean squared envelope."""
        return max(self.raw.depth, self.white.depth)

    def reaches(self, bounds: Iterable[tuple[float, float]]) -> bool:
        """Whether it is as clear and as deep as one of several pairs of bounds."""
        return any(self.sigmas >= sigmas and self.depth >= depth for sigmas, depth in bounds)

    @property
    def band_hz(self) -> tuple[float, float]:
        """The band in which it is clearest."""
        start_hz = self.bands.starts_hz[self.white.band]
        return start_hz, start_hz + self.bands.width_hz


@dataclass(frozen=True, slots=True)
class Verdict:
    """What physics says.

    Attributes:
        faults: what is named; none for a sound or an unclear bearing.
        suspects: where nothing is named, what has lines that are clear but shallow.
        findings: all that was looked for, by name.
        speed: of the shaft.
        because: the reasons, in words.
    """

    faults: tuple[str, ...]
    suspects: tuple[str, ...]
    findings: dict[str, Finding]
    speed: ShaftSpeed
    because: tuple[str, ...]

    @property
    def unclear(self) -> bool:
        """Whether something is there that cannot be named."""
        return bool(self.suspects)


def judge(
    values_N: Tensor, rate_hz: float, stated_hz: float, orders: FaultOrders, measured_N: Tensor | None = None
) -> Verdict:
    """Judge a bearing by one signal.

    Args:
        values_N: acceleration, any unit; some seconds.
        rate_hz: sample rate.
        stated_hz: speed of the shaft as known, within three per cent of some moment's.
        orders: of the bearing.
        measured_N: turns a second at every sample, where a tachometer tells.
    """
    bands = bands_for(rate_hz, stated_hz, orders)
    envelopes = [squared_envelopes(values_N[None], rate_hz, bands, whiten=whiten) for whiten in (False, True)]
    found = [_at_speed(envelopes, bands, speed, orders) for speed in _speeds(values_N, rate_hz, stated_hz, measured_N)]
    return max(found, key=lambda one: max((one.findings[name].sigmas for name in one.faults), default=0.0))


def _speeds(values_N: Tensor, rate_hz: float, stated_hz: float, measured_N: Tensor | None) -> list[ShaftSpeed]:
    """The likeliest speed first, then what else it may have been: bearing's lines can feign a shaft that moves."""
    steady, *stated = speeds(values_N, rate_hz, stated_hz)
    first = followed(values_N, rate_hz, steady, measured_N)
    if measured_N is not None:
        return [first]
    return [first, *([steady] if first.path_N is not None else []), *stated]


def _at_speed(envelopes: Sequence[Envelopes], bands: Bands, speed: ShaftSpeed, orders: FaultOrders) -> Verdict:
    grids = [order_grid(over_angle(one, speed), speed.hz) for one in envelopes]
    findings = _looked_for(grids, orders, bands, speed.hz)
    faults, because = name_faults(findings)
    if other := _other_race(faults, findings, grids, orders):
        findings[other.name] = other
        faults, because = (*faults, other.name), (*because, _why(other))
    clear = tuple(one.name for one in findings.values() if one.sigmas >= SUSPECT_SIGMAS and one.name != "cage")
    suspects = () if faults else clear
    if suspects:
        because = tuple(f"lines of the {WORDS[name]} are there, but shallow" for name in suspects)
    if speed.path_N is not None:
        low_rpm, high_rpm = (60.0 * float(bound) for bound in (speed.path_N.min(), speed.path_N.max()))
        because = (*because, f"the speed moved from {low_rpm:.0f} to {high_rpm:.0f} rpm and was followed")
    return Verdict(faults, suspects, findings, speed, because)


def bands_for(rate_hz: float, shaft_hz: float, orders: FaultOrders) -> Bands:
    """Bands whose envelopes hold the lines of the bearing, as far as the sample rate allows."""
    return Bands.of_rate(rate_hz, _highest_hz(shaft_hz, orders))


def _highest_hz(shaft_hz: float, orders: FaultOrders) -> float:
    return 2.0 * orders.inner * shaft_hz


def _looked_for(grids: Sequence[OrderGrid], orders: FaultOrders, bands: Bands, shaft_hz: float) -> dict[str, Finding]:
    """What was found in the grids, as it is and whitened."""
    raw, white = (clarity(grid, orders) for grid in grids)
    found = {}
    for name in COMBS:
        order = first_order(name, orders, white[name].slip)
        found[name] = Finding(name, order, order * shaft_hz, raw[name], white[name], bands)
    return found


def _other_race(
    faults: tuple[str, ...], findings: Mapping[str, Finding], grids: Sequence[OrderGrid], orders: FaultOrders
) -> Finding | None:
    """The other race, where it is damaged too: by lines that are not those of the first, at the same cage's slip."""
    if not set(faults) & {"inner", "outer"}:
        return None
    first = findings[faults[0]]
    other = "outer" if first.name == "inner" else "inner"
    if not findings[other].reaches(RACE_BOUNDS):
        return None
    rest = [without(grid, first.order) for grid in grids]
    own = _looked_for(rest, orders, first.bands, first.hz / first.order)[other]
    alike = abs(own.white.slip - first.white.slip) <= SAME_CAGE
    return own if alike and own.reaches(RACE_BOUNDS) else None


def beyond_combs(orders: FaultOrders) -> bool:
    """Whether first lines of the bearing lie beyond the orders that are looked at, at some slip."""
    return (1.0 + SLIP) * max(orders.outer, orders.inner, 2.0 * orders.ball) >= TOP_ORDER


def unfit(samples: int, rate_hz: float, shaft_hz: float, orders: FaultOrders) -> str:
    """Why a signal of so many samples cannot be judged, in words; empty where it can."""
    if beyond_combs(orders):
        return f"the bearing has so many, small elements that its lines lie beyond order {TOP_ORDER:.0f} of the shaft"
    turns = samples / rate_hz * shaft_hz
    if turns < FEWEST_TURNS:
        return f"the recording holds only {turns:.0f} turns of the shaft, of {FEWEST_TURNS:.0f} that are needed"
    highest_hz = _highest_hz(shaft_hz, orders)
    if highest_hz > bands_for(rate_hz, shaft_hz, orders).width_hz:
        return f"the bearing's lines reach {highest_hz:.0f} Hz, more than {rate_hz:g} Hz of sample rate can hold"
    return ""


def name_faults(findings: Mapping[str, Finding]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The faults that are named, clearest first, and why."""
    races = [one for one in (findings["inner"], findings["outer"]) if one.reaches(RACE_BOUNDS)]
    named = sorted(races, key=lambda one: -one.sigmas)[:1]
    ball, cage = findings["ball"], findings["cage"]
    if not named and ball.sigmas >= max(findings["inner"].sigmas, findings["outer"].sigmas):
        named = [ball] if ball.reaches(BALL_BOUNDS) else []
    because = [_why(one) for one in named]
    if not named and cage.sigmas >= CAGE_SIGMAS and cage.raw.depth >= CAGE_DEEP:
        named = [ball]
        because = [f"the vibration swells and fades with the cage ({cage.depth:.0%}), as a damaged ball makes it"]
    return tuple(one.name for one in named), tuple(because)


def by_cage(verdict: Verdict) -> bool:
    """Whether rolling elements are named for the cage's rhythm alone, without lines of their own."""
    return verdict.faults == ("ball",) and not verdict.findings["ball"].reaches(BALL_BOUNDS)


def _why(one: Finding) -> str:
    where = f"{one.hz:.1f} Hz ({one.order:.3f} orders)"
    return f"lines of the {WORDS[one.name]} at {where}, {one.sigmas:.1f} sigma clear and {one.depth:.0%} deep"
