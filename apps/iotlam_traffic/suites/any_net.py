"""Whether nets run: SUMO's random ones and RESCO's, under greedy and under whatever the action rules permit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iotlam.contracts import Json
from iotlam_street.conflicts import Pairs, conflicts, unsafe
from iotlam_street.junction import Junction, SignalRules
from iotlam_street.metrics import TripMetrics
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.random_nets import generate_net
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_traffic.rules import Greedy

Choose = Callable[[Sequence[Junction]], list[int]]
Told = Callable[[float, str, str], None]
"""Called with time, signal and link states whenever a signal is told what to show."""


@dataclass(frozen=True, slots=True)
class NetRun:
    """A net to be driven on.

    Attributes:
        source: a RESCO map, or the seed of a random net.
        seconds: how long.
    """

    source: str | int
    seconds: float

    def scenario(self, folder: Path) -> Scenario:
        """The scenario; a random net is written to the folder."""
        if isinstance(self.source, int):
            return generate_net(folder, self.source, self.seconds)
        whole = find_scenario(self.source)
        return replace(whole, end_s=whole.begin_s + self.seconds)


def run_net(job: NetRun) -> Json:
    """Drive on a net twice and say what came of it: a row with `error`, empty if all went well."""
    row: Json = {"net": str(job.source), "error": ""}
    with tempfile.TemporaryDirectory() as folder:
        try:
            scenario = job.scenario(Path(folder))
            plans = read_plans(scenario.net)
            row |= {"signals": len(plans), "phases": sum(len(plan.green_states) for plan in plans)}
            greedy = _drive(scenario, Greedy().choose, SignalRules())
            random = _drive(scenario, _anything(), SignalRules(decision_s=5, all_red_s=1))
        except Exception as error:  # whatever stops a net is what this looks for
            return {**row, "error": f"{type(error).__name__}: {error}"}
    return row | {"vehicles": greedy.vehicles, "greedy_delay_s": greedy.delay_s, "random_delay_s": random.delay_s}


def _anything() -> Choose:
    """Phases at random, forbidden ones among them: the action rules must hold."""
    rng = np.random.default_rng(1)
    return lambda junctions: [int(rng.integers(len(junction.plan.green_states))) for junction in junctions]


def _drive(scenario: Scenario, choose: Choose, rules: SignalRules) -> TripMetrics:
    """One episode in which no signal may show greens that cross, but for those of the net's own phases."""
    crossing = conflicts(scenario.net)

    def told(time_s: float, signal: str, state: str) -> None:
        if wrong := sorted(set(unsafe(state, crossing[signal])) - own[signal]):
            raise AssertionError(f"signal '{signal}' shows crossing greens at {time_s:g} s: {wrong} of {state}")

    with Street(scenario, 101, rules) as street:
        own = {junction.plan.signal: _own(junction.plan, crossing) for junction in street.junctions}
        listen(street, told)
        while not street.done:
            street.advance(choose(street.junctions))
        return street.finish()


def _own(plan: SignalPlan, crossing: dict[str, Pairs]) -> set[tuple[int, int]]:
    """What crosses in the net's own phases: its maker's fault, if it is one."""
    return {pair for _, state in plan.program for pair in unsafe(state, crossing[plan.signal])}


def listen(street: Street, told: Told) -> None:
    """Have a street tell what its signals show, what they show now first."""
    for junction in street.junctions:
        show, signal = junction.show, junction.plan.signal
        told(street.time_s, signal, junction.resting(junction.phase))

        def both(state: str, show: Callable[[str], None] = show, signal: str = signal) -> None:
            told(street.time_s, signal, state)
            show(state)

        junction.show = both  # type: ignore[method-assign]
