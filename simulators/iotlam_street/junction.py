"""One signalled junction of a street: what a controller may do to it and see of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_street.arrivals import Arrivals
from iotlam_street.pedestrians import Buttons
from iotlam_street.plan import SignalPlan
from iotlam_street.priority import Priority
from iotlam_street.scene import Snapshot
from iotlam_street.scenery import Scenery
from iotlam_street.sumo import Sumo

HALTING_MPS = 0.1

NEAR_M = 50.0
"""A signal that far ahead counts half."""

SHORT_M = 25.0
"""A road between two signals that is shorter holds no queue."""

PRIORITY_LEAD_S = 1.0
"""A priority vehicle that needs green within the decision and so much more limits the choice now."""


@dataclass(frozen=True, slots=True)
class SignalRules:
    """What every controller must obey; times in seconds.

    Attributes:
        decision_s: time between decisions.
        yellow_s: yellow shown to links that lose green.
        all_red_s: after that, links that gain green still wait so long.
        min_green_s: least green before the next change.
        max_red_s: a lane that has waited this long limits the choice to phases that serve it.
        max_pedestrian_wait_s: and so does a crossing whose button was pressed so long ago.
        priority: whether a priority vehicle limits the choice to phases that serve it when it needs green.
        min_duration_s: least green of SUMO's own programs.
        max_duration_s: greatest green of SUMO's own programs.
    """

    decision_s: int = 10
    yellow_s: int = 3
    all_red_s: int = 0
    min_green_s: int = 7
    max_red_s: float = 180.0
    max_pedestrian_wait_s: float = 60.0
    priority: bool = False
    min_duration_s: int = 5
    max_duration_s: int = 50


@dataclass(frozen=True, slots=True)
class LaneTraffic:
    """Vehicles that approach one stop line, nearest first.

    Attributes:
        distance_N: metres to the stop line; lanes are followed upstream until `UPSTREAM_M` is covered.
        speed_N: metres per second.
        waiting_N: seconds since each vehicle last moved.
        own_N: bool, whether the vehicle is on the lane itself and not further upstream.
    """

    distance_N: NDArray[np.float32]
    speed_N: NDArray[np.float32]
    waiting_N: NDArray[np.float32]
    own_N: NDArray[np.bool_]

    def within(self, reach_m: float) -> int:
        """Vehicles on the lane itself within `reach_m` of the stop line."""
        return int(((self.distance_N <= reach_m) & self.own_N).sum())

    def halting(self, reach_m: float) -> int:
        """Standing vehicles on the lane itself within `reach_m` of the stop line."""
        return int(((self.distance_N <= reach_m) & self.own_N & (self.speed_N < HALTING_MPS)).sum())


@dataclass(frozen=True, slots=True)
class NextSignal:
    """Where a vehicle comes to next: a lane of another junction.

    Attributes:
        junction: the other one, by a weak proxy.
        lane: index of its lane.
        distance_m: from where the lane is entered to its stop line.
    """

    junction: Junction
    lane: int
    distance_m: float

    @property
    def nearness(self) -> float:
        """1 at the very stop line, a half at 50 m."""
        return 1.0 / (1.0 + self.distance_m / NEAR_M)

    @property
    def green(self) -> bool:
        """Whether the phase in force there serves the lane."""
        return bool(self.junction.plan.serves_PK[self.junction.phase, self.lane])


class Junction:
    """A junction of a running `Street`, which makes and advances it.

    Attributes:
        plan: its phases and lanes.
        rules: what every controller must obey.
        phase: index of the green phase in force, or coming into force.
        green_since_s: when it came into force.
        served_at_s_K: when each lane last had green.
        next_signals: for each lane, the signals that come next on its ways out, where lanes are followed back so far.
        close: which phases go together with those of signals at the end of short roads, by signal, (P, Q).
        buttons: of its crossings; None where it has none.
        arrivals: who has come to its lanes.
    """

    def __init__(
        self, plan: SignalPlan, rules: SignalRules, sumo: Sumo, scenery: Scenery, priority: Priority | None = None
    ) -> None:
        self.plan, self.rules = plan, rules
        self._exceeded_PP = plan.exceeded_PP
        self._sumo, self._scenery = sumo, scenery
        self._priority = priority if rules.priority else None
        self.buttons = Buttons(plan, sumo) if plan.crossings else None
        self.arrivals = Arrivals(plan, sumo)
        self.next_signals: tuple[tuple[NextSignal, ...], ...] = ((),) * len(plan.lanes)
        self.close: dict[str, NDArray[np.bool_]] = {}
        self.phase = 0
        self.green_since_s = sumo.time_s
        self.served_at_s_K = np.full(len(plan.lanes), sumo.time_s)

    @property
    def time_s(self) -> float:
        """Simulated time."""
        return self._sumo.time_s

    @property
    def allowed_P(self) -> NDArray[np.bool_]:
        """Phases that the rules allow now.

        Least green and people's time to clear a crossing are kept; no lane is red and no one on foot waits beyond the
        limit; within that, priority vehicles get the green that they need, where the rules have it so.
        """
        if self._free():
            return np.ones(len(self.plan.green_states), dtype=bool)
        if self._held():
            kept_P: NDArray[np.bool_] = np.arange(len(self.plan.green_states)) == self.phase
            return kept_P
        allowed_P = self._in_time()
        if self._priority:
            horizon_s = self.rules.decision_s + PRIORITY_LEAD_S
            return self._priority.limit(self.plan.signal, allowed_P, horizon_s)
        return allowed_P

    @property
    def offered_P(self) -> NDArray[np.bool_]:
        """The allowed phases, for those who know a phase by the lanes that it serves.

        Where an allowed phase serves the same lanes with more green, a phase is left out: a left turn of its own, say,
        from lanes that lead straight on too. By their lanes nobody could tell them apart.
        """
        allowed_P = self.allowed_P
        return allowed_P & ~(self._exceeded_PP & allowed_P).any(axis=1)

    def _free(self) -> bool:
        """Whether nothing limits the choice, as most often: told without an array, which `permitted` need not make."""
        if self.buttons is not None or self._priority is not None or self._held():
            return False
        return bool(self.time_s - self.served_at_s_K.min() < self.rules.max_red_s)

    def _held(self) -> bool:
        """Whether the phase in force must stay: its green, or what people have to clear a crossing, is too short."""
        rules = self.rules
        if self.time_s > self._sumo.scenario.begin_s and self.time_s - self.green_since_s < rules.min_green_s:
            return True
        if self.buttons is None:
            return False
        change_s = rules.yellow_s + rules.all_red_s
        return self.time_s - self.buttons.red_since_s + change_s < self.plan.clearance_s

    def _in_time(self) -> NDArray[np.bool_]:
        """All phases, or those that serve who has waited longest, as a share of what the rules let them wait."""
        plan, rules = self.plan, self.rules
        overdue_K = np.where(plan.serves_PK.any(axis=0), self.time_s - self.served_at_s_K, 0.0) / rules.max_red_s
        lane = int(overdue_K.argmax())
        if self.buttons is not None:
            overdue_C = self.buttons.waited_s_C / rules.max_pedestrian_wait_s
            crossing = int(overdue_C.argmax())
            if overdue_C[crossing] >= max(1.0, float(overdue_K[lane])):
                return plan.crosses_PC[:, crossing].copy()
        if overdue_K[lane] >= 1.0:
            return plan.serves_PK[:, lane].copy()
        return np.ones(len(plan.green_states), dtype=bool)

    def permitted(self, phase: int) -> int:
        """The phase itself; if the rules forbid it, the one in force, or else the first allowed."""
        if self._free():
            return phase
        allowed = self.allowed_P
        if allowed[phase]:
            return phase
        return self.phase if allowed[self.phase] else int(allowed.argmax())

    def resting(self, phase: int) -> str:
        """Link states of a phase, with no one let over a crossing."""
        return self.plan.green_states[phase] if self.buttons is None else self.buttons.resting(phase)

    def show(self, state: str) -> None:
        """Set the link states."""
        self._sumo.api.trafficlight.setRedYellowGreenState(self.plan.signal, state)

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The scene one second ago and now, for the sensors; only now when it is looked at for the first time."""
        return self._scenery.around(self.plan.origin_2)

    def vehicles(self) -> tuple[NDArray[np.float32], list[int]]:
        """Vehicles that approach the stop lines: the simulator's own knowledge.

        Returns:
            Rows (N, 4) of metres to the stop line, metres per second, seconds since it last moved, and whether it is on
            the lane itself; lane after lane, nearest first. And where each of the K lanes ends among the rows.
        """
        on_lane, vehicle = self._sumo.api.lane.getLastStepVehicleIDs, self._sumo.api.vehicle
        place, speed, waiting = vehicle.getLanePosition, vehicle.getSpeed, vehicle.getWaitingTime
        rows: list[tuple[float, float, float, float]] = []
        ends = []
        for lane in self.plan.lanes:
            own = 1.0
            for name, end_m in lane.upstream:
                for v in reversed(on_lane(name)):
                    rows.append((end_m - place(v), speed(v), waiting(v), own))
                own = 0.0
            ends.append(len(rows))
        return np.array(rows, dtype=np.float32).reshape(-1, 4), ends

    def on_lanes(self) -> Iterator[tuple[int, list[tuple[float, float, float]]]]:
        """The lanes that are not empty, by number, and who is on them, nearest first; what of each as in `vehicles`."""
        on_lane, vehicle = self._sumo.api.lane.getLastStepVehicleIDs, self._sumo.api.vehicle
        place, speed, waiting = vehicle.getLanePosition, vehicle.getSpeed, vehicle.getWaitingTime
        for number, lane in enumerate(self.plan.lanes):
            if names := on_lane(lane.id):
                yield number, [(lane.length - place(v), speed(v), waiting(v)) for v in reversed(names)]

    def traffic(self) -> tuple[LaneTraffic, ...]:
        """Vehicles that approach each of the K stop lines, lane by lane."""
        rows, ends = self.vehicles()
        lanes = np.split(rows, ends[:-1])
        return tuple(LaneTraffic(lane[:, 0], lane[:, 1], lane[:, 2], lane[:, 3] > 0) for lane in lanes)

    def waited(self) -> tuple[dict[str, float], ...]:
        """For each lane, the vehicles on it and how long each has stood in all, seconds of its last `MEMORY_S`."""
        lane, waited_s = self._sumo.api.lane, self._sumo.api.vehicle.getAccumulatedWaitingTime
        return tuple({name: waited_s(name) for name in lane.getLastStepVehicleIDs(own.id)} for own in self.plan.lanes)

    def onward(self) -> NDArray[np.float32]:
        """For each lane, how near the signals are that its vehicles come to next, and which light they show there.

        What neighbouring controllers tell each other. The nearness of a stop line d metres away is 1 / (1 + d / 50 m),
        0 where none is known; the light counts as nearness where it is green, as its negative where red; (K, 2).
        """
        rows = [
            [(each.nearness, each.nearness if each.green else -each.nearness) for each in lane] or [(0.0, 0.0)]
            for lane in self.next_signals
        ]
        return np.array([np.mean(lane, axis=0) for lane in rows], dtype=np.float32)

    def close_signals(self) -> set[str]:
        """Signals at the end of short roads out of this junction."""
        ways = [way for lane in self.next_signals for way in lane if way.distance_m < SHORT_M]
        return {way.junction.plan.signal for way in ways} - {self.plan.signal}

    def fits(self, other: Junction) -> NDArray[np.bool_]:
        """Phases (P, Q) that go together: who gets onto a short road to the other has a green of his own at its end.

        Who must wait there for a gap fills the road in no time, then this junction, and then nobody moves.
        """
        there, fits_PQ = other.plan, np.ones((len(self.plan.green_states), len(other.plan.green_states)), dtype=bool)
        for served_P, ways in zip(self.plan.serves_PK.T, self.next_signals, strict=True):
            for way in ways:
                if way.distance_m >= SHORT_M or way.junction.plan.signal != there.signal:
                    continue
                served_Q = there.serves_PK[:, way.lane]
                free_Q = served_Q & ~there.yields_PK[:, way.lane]
                onward_Q = free_Q if free_Q.any() else served_Q
                fits_PQ &= ~served_P[:, None] | onward_Q
        return fits_PQ

    def inside(self) -> NDArray[np.int64]:
        """For each lane, vehicles that it has sent into the junction, all and standing ones, (K, 2)."""
        lane = self._sumo.api.lane
        count, standing = lane.getLastStepVehicleNumber, lane.getLastStepHaltingNumber
        rows = [(sum(map(count, own.inside)), sum(map(standing, own.inside))) for own in self.plan.lanes]
        return np.array(rows, dtype=np.int64)

    def stuck_s(self) -> float:
        """How long whoever has stood longest inside the junction has stood there, seconds."""
        lane, waiting_s = self._sumo.api.lane, self._sumo.api.vehicle.getWaitingTime
        inside = [name for own in self.plan.lanes for name in own.inside if lane.getLastStepHaltingNumber(name)]
        return max((waiting_s(vehicle) for name in inside for vehicle in lane.getLastStepVehicleIDs(name)), default=0.0)

    def exits(self) -> tuple[dict[str, int], dict[str, float]]:
        """Of each lane that any lane flows into: standing vehicles, and its length in metres."""
        lane = self._sumo.api.lane
        names = {name for lane in self.plan.lanes for name in lane.outgoing}
        return (
            {name: lane.getLastStepHaltingNumber(name) for name in names},
            {name: lane.getLength(name) for name in names},
        )

    def outgoing_halting(self, lane_index: int) -> float:
        """Mean number of standing vehicles on the lanes that lane k flows into."""
        outgoing = self.plan.lanes[lane_index].outgoing
        counts = [self._sumo.api.lane.getLastStepHaltingNumber(lane) for lane in outgoing]
        return float(np.mean(counts)) if counts else 0.0
