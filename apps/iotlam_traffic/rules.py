"""Rule-based controllers: the rivals of every table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iotlam_street.junction import Junction
from iotlam_street.programs import NativeProgram
from iotlam_traffic.webster import cycle

GREEDY_REACH_M = 50.0
PRESSURE_REACH_M = 200.0
WINDOW_S = 600.0
"""Webster's rule knows the flow of so many seconds."""

WARM_UP_S = 120.0
"""Until then, equal greens."""


class Controller(Protocol):
    """Whoever decides the lights."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def native(self) -> NativeProgram | None:
        """Program of SUMO's own that decides instead of `choose`, or None."""
        ...

    def choose(self, junctions: Sequence[Junction]) -> list[int] | None:
        """For each junction, index of the green phase to show until the next decision."""
        ...


class Rule:
    """Decides each junction by itself; `phase` is what a rule has to say."""

    name = "rule"
    native: NativeProgram | None = None

    def choose(self, junctions: Sequence[Junction]) -> list[int]:
        """For each junction, index of the green phase to show until the next decision."""
        return [self.phase(junction) for junction in junctions]

    def phase(self, junction: Junction) -> int:
        """Index of the green phase to show."""
        raise NotImplementedError


class Native:
    """Leaves the lights to SUMO: `fixed` is the net's own program, `actuated` extends greens by detectors."""

    def __init__(self, program: NativeProgram) -> None:
        self.name, self.native = program.replace("_", "-"), program

    def choose(self, junctions: Sequence[Junction]) -> None:
        """SUMO decides."""
        return None


class Greedy(Rule):
    """The phase that serves most vehicles within 50 m of their stop lines; a tie keeps the phase in force."""

    name = "greedy"

    def phase(self, junction: Junction) -> int:
        """Index of the green phase to show."""
        count_K = np.array([traffic.within(GREEDY_REACH_M) for traffic in junction.traffic()])
        return best_phase(junction.plan.serves_PK @ count_K, junction)


class MaxPressure(Rule):
    """The phase with most standing vehicles upstream (200 m) minus the mean standing on each lane's exits."""

    name = "max-pressure"

    def phase(self, junction: Junction) -> int:
        """Index of the green phase to show."""
        pressure_K = np.array(
            [
                traffic.halting(PRESSURE_REACH_M) - junction.outgoing_halting(lane)
                for lane, traffic in enumerate(junction.traffic())
            ]
        )
        return best_phase(junction.plan.serves_PK @ pressure_K, junction)


class Webster(Rule):
    """The net's phases in order, timed anew for each cycle by Webster's formula from the vehicles it has counted.

    One instance is good for one episode.
    """

    name = "webster"

    def __init__(self) -> None:
        self._begin_s: dict[str, float] = {}
        self._left: dict[str, list[int]] = {}

    def phase(self, junction: Junction) -> int:
        """Index of the green phase to show."""
        left = self._left.setdefault(junction.plan.signal, [])
        if not left:
            left += cycle(self._arrival_hz(junction), junction.plan.serves_PK, junction.rules)
        return left.pop(0)

    def _arrival_hz(self, junction: Junction) -> NDArray[np.float64]:
        """Vehicles that have come to each lane in a second, (K,); none before there is enough to count."""
        begin_s = self._begin_s.setdefault(junction.plan.signal, junction.time_s)
        counted_s = min(junction.time_s - begin_s, WINDOW_S)
        count_K = junction.arrivals.since(junction.time_s - counted_s)
        return count_K / counted_s if counted_s >= WARM_UP_S else np.zeros(len(count_K))


def best_phase(score_P: NDArray[np.generic], junction: Junction) -> int:
    """The allowed phase of greatest score; a tie keeps the phase in force, else takes the first."""
    score = np.where(junction.allowed_P, score_P.astype(np.float64), -np.inf)
    return junction.phase if score[junction.phase] >= score.max() else int(score.argmax())


RULES: dict[str, Callable[[], Controller]] = {
    "fixed": partial(Native, "fixed"),
    "actuated": partial(Native, "actuated"),
    "delay-based": partial(Native, "delay_based"),
    "greedy": Greedy,
    "max-pressure": MaxPressure,
    "webster": Webster,
}
"""Makers of the rules by name; a rule that keeps count is good for one episode."""
