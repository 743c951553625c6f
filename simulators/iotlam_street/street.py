"""A street network in SUMO with all its signals: advanced by decisions, judged by its vehicles' trips."""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, whole_file
from iotlam_street.forks import run_forked
from iotlam_street.junction import Junction, NextSignal, SignalRules
from iotlam_street.metrics import TripMetrics, read_tripinfo, sum_trips
from iotlam_street.pedestrians import count_waiting, let_walk
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.priority import Priority, has_priority
from iotlam_street.programs import NativeProgram, native_files
from iotlam_street.scenarios import Scenario, mentions
from iotlam_street.scenery import Scenery
from iotlam_street.sumo import Engine, Sumo

LOST_EVERY_S = 5
"""Lost time is counted once in so many seconds: asking every road each second costs a fifth of SUMO."""

LOCKED_S = 300.0
"""Nobody stands so long inside a junction that works."""


class Street:
    """The junctions of a scenario under one controller for one episode; use it as a context manager.

    Args:
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        rules: the action rules.
        native: leave the lights to a program of SUMO's own: `fixed` (the net's), `actuated` or `delay_based`.
        plans: the signals to control; default all of the net that have a choice.
        engine: `libsumo` in this process or `traci` to another one.
        gui: open SUMO's window; needs `traci`.
        list_trips: have SUMO list every trip, which costs a seventh of its time; always so where vehicles have priority
            or people walk.

    Attributes:
        junctions: the J signals that are controlled, ordered by name.
        near_JJ: bool, whether junction j is junction i, sends traffic to it or receives traffic from it.
        decisions: what `advance` has been told so far.
        priority: the priority vehicles; None where the scenario has none.

    Raises:
        BadInput: if the scenario cannot be loaded or has no traffic light with a choice.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        rules: SignalRules | None = None,
        native: NativeProgram | None = None,
        plans: Sequence[SignalPlan] | None = None,
        engine: Engine = "libsumo",
        gui: bool = False,
        list_trips: bool = False,
    ) -> None:
        self.scenario, self.rules, self.native = scenario, rules or SignalRules(), native
        self.seed = seed
        self.decisions: list[list[int] | None] = []
        self._decision_s = scenario.begin_s  # when the next one is due
        plans = plans or read_plans(scenario.net)
        with native_files(plans, native, self.rules.min_duration_s, self.rules.max_duration_s) as additional:
            first, walk = has_priority(scenario), mentions(scenario, "<person")
            self._sumo = Sumo(scenario, seed, additional, engine, gui, list_trips or first or walk)
        self._scenery = Scenery(self._sumo)
        self._owner = {edge: row for row, plan in enumerate(plans) for edge, _ in plan.catchment}
        self.priority = Priority(self._sumo, seed, plans, self._owner) if first else None
        self.junctions = tuple(Junction(plan, self.rules, self._sumo, self._scenery, self.priority) for plan in plans)
        _introduce(self.junctions)
        self._crossed = any(plan.crossings for plan in plans)
        self._edges = [(edge, limit, row) for row, plan in enumerate(plans) for edge, limit in plan.catchment]
        self.near_JJ = _near(plans, self._owner)
        self._waits_for: dict[str, int | None] = {}
        self._counted: list[Junction] = []  # whose arrivals are noted every second
        self._lost_s_J = np.zeros(len(plans))
        if native is None:
            self._show_first()

    @property
    def api(self) -> Any:
        """libsumo, or the TraCI connection, with this simulation loaded."""
        return self._sumo.api

    @property
    def time_s(self) -> float:
        """Simulated time."""
        return self._sumo.time_s

    @property
    def done(self) -> bool:
        """Whether the scenario's last second has been simulated."""
        return self.time_s >= self.scenario.end_s

    @property
    def locked(self) -> bool:
        """Whether vehicles block each other inside a junction: without teleport no light will ever free them."""
        return any(junction.stuck_s() > LOCKED_S for junction in self.junctions)

    def advance(self, phases: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Simulate until the next decision, changing to the phases through yellow.

        Args:
            phases: for each junction, index of the green phase to show; None or ignored under a native program. A
                phase that the rules forbid is replaced by the one in force, or by the first allowed.

        Returns:
            Vehicle-seconds lost in that time before each junction (J,): every vehicle's shortfall of the speed limit,
            and one per second for each that waits outside the net, by the signal that its road comes to first. A
            priority vehicle's count `PRIORITY_WEIGHT` times; people who wait at a crossing count as vehicles.
        """
        self.decisions.append(None if phases is None else [int(phase) for phase in phases])
        self._lost_s_J = np.zeros(len(self.junctions))
        remaining = min(self.rules.decision_s, math.ceil(self.scenario.end_s - self.time_s))
        self._decision_s = self.time_s + remaining
        self._counted = [junction for junction in self.junctions if junction.arrivals.wanted]
        with self._sumo.quiet():
            if self.native is None and phases is not None:
                remaining -= self._change(phases, remaining)
                if self._crossed:
                    remaining -= let_walk(self.junctions, remaining, self._run)
            self._run(remaining)
        for junction in self.junctions:
            junction.served_at_s_K[junction.plan.serves_PK[junction.phase]] = self.time_s
        return self._lost_s_J

    def _change(self, phases: Sequence[int], budget_s: int) -> int:
        """Show yellow, and all red where the rules have it, then the new greens; returns the seconds it took."""
        wanted = [(junction, junction.permitted(int(p))) for junction, p in zip(self.junctions, phases, strict=True)]
        changing = [(junction, phase) for junction, phase in wanted if phase != junction.phase]
        if not changing:
            return 0
        for junction, phase in changing:
            old, new = map(junction.resting, (junction.phase, phase))
            junction.show(yellow_between(old, new))
        yellow_s = min(self.rules.yellow_s, budget_s)
        self._run(yellow_s)
        red_s = min(self.rules.all_red_s, budget_s - yellow_s)
        if red_s:
            for junction, phase in changing:
                old, new = map(junction.resting, (junction.phase, phase))
                junction.show(yellow_between(old, new).replace("y", "r"))
            self._run(red_s)
        for junction, phase in changing:
            junction.show(junction.resting(phase))
            junction.phase, junction.green_since_s = phase, self.time_s
        return yellow_s + red_s

    def _show_first(self) -> None:
        for junction in self.junctions:
            try:
                junction.show(junction.resting(0))
            except Exception as error:  # SUMO's own types
                self._sumo.discard()
                raise BadInput(
                    f"Signal plan of '{junction.plan.signal}'",
                    expected=f"the plan of {self.scenario.net.name}",
                    got=str(error).rstrip("."),
                    fix="read the plan from the scenario's own net",
                ) from error

    def _run(self, seconds: int) -> None:
        sumo, end_s = self._sumo, self.time_s + seconds
        while sumo.time_s < end_s:
            sumo.run_to(min(end_s, self._next_look_s()))
            self._look()

    def _next_look_s(self) -> float:
        """The next second at which somebody looks: a call for each second would cost more than what it tells."""
        now_s = self._sumo.time_s
        if self._counted:
            return now_s + 1.0
        next_s = now_s + LOST_EVERY_S - (now_s - self.scenario.begin_s) % LOST_EVERY_S
        last_s = self._decision_s - 1.0
        return min(next_s, last_s) if self._scenery.wanted and now_s < last_s else next_s

    def _look(self) -> None:
        now_s = self._sumo.time_s
        if not (now_s - self.scenario.begin_s) % LOST_EVERY_S:
            self._count_lost()
        for junction in self._counted:
            junction.arrivals.note()
        if self._scenery.wanted and now_s >= self._decision_s - 1.0:
            self._scenery.note()

    def _count_lost(self) -> None:
        edges, lost_s_J = self.api.edge, self._lost_s_J
        count_of, speed_of = edges.getLastStepVehicleNumber, edges.getLastStepMeanSpeed
        for name, limit_mps, row in self._edges:
            if count := count_of(name):
                lost_s_J[row] += LOST_EVERY_S * count * max(0.0, 1.0 - speed_of(name) / limit_mps)
        for vehicle in self.api.simulation.getPendingVehicles():
            waits_for = self._waiting_for(vehicle)
            if waits_for is not None:
                lost_s_J[waits_for] += LOST_EVERY_S * (self.priority.weight(vehicle) if self.priority else 1.0)
        if self.priority:
            self.priority.count_lost(LOST_EVERY_S, lost_s_J)
        if self._crossed:
            count_waiting(self.junctions, LOST_EVERY_S, lost_s_J)

    def _waiting_for(self, vehicle: str) -> int | None:
        """Which junction a vehicle outside the net comes to first; None where there is no signal on its way in."""
        if vehicle not in self._waits_for:
            first = self.api.vehicle.getRoute(vehicle)[0]
            self._waits_for[vehicle] = self._owner.get(first)
        return self._waits_for[vehicle]

    def what_if(self, futures: Sequence[Callable[[Street], float]]) -> list[float]:
        """What would come of each of several futures, without living any of them.

        Each runs in a fork of this process, which holds SUMO's exact state: vehicles that wait outside the net and the
        random generators too, which SUMO's own `saveState` loses. This street stays where it is.

        Args:
            futures: each advances the street that it is given as it likes, and returns a number.

        Raises:
            BadInput: where processes cannot be forked, or SUMO is behind TraCI.
            IotlamError: if a future fails; its traceback is in the message.
        """
        return run_forked([partial(future, self) for future in futures], self._sumo)

    def finish(self, tripinfo: Path | None = None) -> TripMetrics:
        """End the episode and compute its trip metrics.

        Args:
            tripinfo: where to leave SUMO's own list of trips; needs `list_trips`.

        Raises:
            ValueError: if a list is asked for that SUMO was not told to make.
            BadInput: if no vehicle was scheduled in the episode: its figures would mean nothing.
        """
        if tripinfo and not self._sumo.tripinfo.exists():
            raise ValueError("finish(tripinfo) needs a street with list_trips")
        trips, listed = sum_trips(self.api), self._sumo.tripinfo
        outside = self.api.simulation.getPendingVehicles()
        pending = [self.time_s - self.api.vehicle.getDepartDelay(v) for v in outside]
        marked = self.priority.by_type() if self.priority else None
        marks = [self.priority.is_one(v) for v in outside] if self.priority else []
        self._sumo.close()
        if listed.exists():
            trips = read_tripinfo(listed, self.scenario.begin_s, pending, self.time_s, marked, marks)
        if not trips.vehicles:
            raise BadInput(
                self.scenario.name,
                expected=f"vehicles between {self.scenario.begin_s:g} and {self.scenario.end_s:g} s",
                got="none",
                fix="choose --begin and --end to fit the demand",
            )
        if tripinfo:
            with whole_file(tripinfo) as partial:
                shutil.copyfile(listed, partial)
        return trips

    def close(self) -> None:
        """End the simulation and delete its files; does nothing a second time."""
        self._sumo.discard()

    def __enter__(self) -> Street:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if gone := self._sumo.gone(error):
            raise gone from error


def _near(plans: Sequence[SignalPlan], owner: Mapping[str, int]) -> NDArray[np.bool_]:
    """Which junctions are neighbours, by who owns the roads that each one's lanes flow into, (J, J)."""
    sends_JJ = np.eye(len(plans), dtype=bool)
    for row, plan in enumerate(plans):
        roads = {name.rpartition("_")[0] for lane in plan.lanes for name in lane.outgoing}
        sends_JJ[row, [owner[road] for road in roads if road in owner]] = True
    return sends_JJ | sends_JJ.T


def _introduce(junctions: Sequence[Junction]) -> None:
    """Tell each junction which signals come next on the ways out of its lanes, and what goes with close ones."""
    stop_lines: dict[str, list[NextSignal]] = {}
    for junction in junctions:
        for number, lane in enumerate(junction.plan.lanes):
            for name, distance_m in lane.upstream:
                # Weakly, or junctions would keep each other, and SUMO, when a street is dropped.
                stop_lines.setdefault(name, []).append(NextSignal(weakref.proxy(junction), number, distance_m))
    for junction in junctions:
        junction.next_signals = tuple(
            tuple(each for name in lane.outgoing for each in stop_lines.get(name, ())) for lane in junction.plan.lanes
        )
    by_signal = {junction.plan.signal: junction for junction in junctions}
    for junction in junctions:
        for signal in sorted(junction.close_signals() - junction.close.keys()):
            other = by_signal[signal]
            fits_PQ = junction.fits(other) & other.fits(junction).T
            junction.close[signal], other.close[junction.plan.signal] = fits_PQ, fits_PQ.T


@lru_cache(maxsize=4096)
def yellow_between(old: str, new: str) -> str:
    """Link states shown between two greens: links that lose green are yellow, those that gain it still red."""
    return "".join(
        "y" if a in "Gg" and b not in "Gg" else a if a in "Gg" else "r" for a, b in zip(old, new, strict=True)
    )
