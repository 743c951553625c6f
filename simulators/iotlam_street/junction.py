"""One signalled junction in SUMO: what controllers may do to it, see of it, and are judged by."""

from __future__ import annotations

import math
import zlib
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam_street.metrics import TripMetrics, read_tripinfo
from iotlam_street.plan import SignalPlan, read_plan
from iotlam_street.programs import NativeProgram, native_files
from iotlam_street.scenarios import Scenario
from iotlam_street.scene import Boxes, Snapshot
from iotlam_street.sumo import Sumo

HALTING_MPS = 0.1
SCENE_RADIUS_M = 120.0
CAR_COLOURS = np.array(
    [
        [235, 235, 235],
        [25, 25, 28],
        [128, 130, 134],
        [190, 192, 195],
        [40, 62, 120],
        [150, 30, 30],
        [90, 70, 50],
        [60, 90, 60],
    ],
    dtype=np.uint8,
)
"""What cars look like: white, black, grey, silver, blue, red, brown, green."""


@dataclass(frozen=True, slots=True)
class SignalRules:
    """What every controller must obey; times in seconds.

    Attributes:
        decision_s: time between decisions.
        yellow_s: yellow shown to links that lose green.
        min_green_s: least green before the next change.
        max_red_s: a lane that has waited this long limits the choice to phases that serve it.
        min_duration_s: least green of SUMO's actuated program.
        max_duration_s: greatest green of SUMO's actuated program.
    """

    decision_s: int = 10
    yellow_s: int = 3
    min_green_s: int = 7
    max_red_s: float = 180.0
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


class Junction:
    """A junction under one controller for one episode; use it as a context manager.

    Args:
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        rules: the action rules.
        native: leave the lights to a program of SUMO's own: `fixed` (the net's) or `actuated`.

    Raises:
        BadInput: if the scenario cannot be loaded or has not exactly one traffic light.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        rules: SignalRules | None = None,
        native: NativeProgram | None = None,
        plan: SignalPlan | None = None,
    ) -> None:
        self.scenario, self.rules, self.native = scenario, rules or SignalRules(), native
        self.plan = plan or read_plan(scenario.net)
        self._looks: dict[str, tuple[tuple[float, float, float], NDArray[np.uint8]]] = {}
        self._snapshots: deque[Snapshot] = deque(maxlen=2)
        self.cost_s = 0.0
        rules = self.rules
        with native_files(self.plan, native, rules.min_duration_s, rules.max_duration_s) as additional:
            self._sumo = Sumo(scenario, seed, additional)
        self.time_s = scenario.begin_s
        self.phase = 0
        self.green_since_s = self.time_s
        self.served_at_s_K = np.full(len(self.plan.lanes), self.time_s)
        if native is None:
            self._show_first()

    @property
    def api(self) -> Any:
        """libsumo, with this simulation loaded."""
        return self._sumo.api

    @property
    def done(self) -> bool:
        """Whether the scenario's last second has been simulated."""
        return self.time_s >= self.scenario.end_s

    @property
    def allowed_P(self) -> NDArray[np.bool_]:
        """Phases that the rules allow now: least green kept, no lane red beyond the limit."""
        phases = np.arange(len(self.plan.green_states))
        if self.time_s > self.scenario.begin_s and self.time_s - self.green_since_s < self.rules.min_green_s:
            kept_P: NDArray[np.bool_] = phases == self.phase
            return kept_P
        red_s_K = np.where(self.plan.serves_PK.any(axis=0), self.time_s - self.served_at_s_K, 0.0)
        longest = int(red_s_K.argmax())
        if red_s_K[longest] >= self.rules.max_red_s:
            return self.plan.serves_PK[:, longest].copy()
        return np.ones(len(phases), dtype=bool)

    def advance(self, phase: int | None = None) -> float:
        """Simulate until the next decision, changing to `phase` through yellow.

        Args:
            phase: index of the green phase to show; ignored under a native program. A phase that the
                rules forbid is replaced by the current one, or by the first allowed.

        Returns:
            Vehicle-seconds lost in that time: each vehicle's shortfall of its allowed speed, and one
            per second for each that waits outside the net.
        """
        before = self.cost_s
        remaining = min(self.rules.decision_s, math.ceil(self.scenario.end_s - self.time_s))
        if self.native is None and phase is not None:
            remaining -= self._change(self._permitted(phase), remaining)
        self._run(remaining)
        self.served_at_s_K[self.plan.serves_PK[self.phase]] = self.time_s
        return self.cost_s - before

    def _permitted(self, phase: int) -> int:
        allowed = self.allowed_P
        if allowed[phase]:
            return phase
        return self.phase if allowed[self.phase] else int(allowed.argmax())

    def _change(self, phase: int, budget_s: int) -> int:
        if phase == self.phase:
            return 0
        old, new = self.plan.green_states[self.phase], self.plan.green_states[phase]
        yellow_s = min(self.rules.yellow_s, budget_s)
        self._show(yellow_between(old, new))
        self._run(yellow_s)
        self._show(new)
        self.phase, self.green_since_s = phase, self.time_s
        return yellow_s

    def _show_first(self) -> None:
        try:
            self._show(self.plan.green_states[0])
        except Exception as error:  # libsumo's own type
            self._sumo.discard()
            raise BadInput(
                f"Signal plan of '{self.plan.signal}'",
                expected=f"the plan of {self.scenario.net.name}",
                got=str(error).rstrip("."),
                fix="read the plan from the scenario's own net",
            ) from error

    def _show(self, state: str) -> None:
        self.api.trafficlight.setRedYellowGreenState(self.plan.signal, state)

    def _run(self, seconds: int) -> None:
        for left in range(seconds, 0, -1):
            self._sumo.step()
            self.time_s += 1.0
            self.cost_s += self._lost_now()
            if left <= 2:
                self._snapshots.append(self._snapshot())

    def _lost_now(self) -> float:
        vehicle = self.api.vehicle
        ids = vehicle.getIDList()
        moving: float = sum(vehicle.getSpeed(v) / max(vehicle.getAllowedSpeed(v), 0.1) for v in ids)
        return float(len(ids) - moving + len(self.api.simulation.getPendingVehicles()))

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The scene one second ago and now, for the sensors; only now at the very beginning."""
        return tuple(self._snapshots) or (self._snapshot(),)

    def _snapshot(self) -> Snapshot:
        vehicle, rows, looks = self.api.vehicle, [], []
        for name in vehicle.getIDList():
            x, y = vehicle.getPosition(name)
            east, north = x - self.plan.origin_2[0], y - self.plan.origin_2[1]
            if east * east + north * north < SCENE_RADIUS_M**2:
                rows.append((east, north, vehicle.getAngle(name), vehicle.getSpeed(name)))
                looks.append(self._look(name))
        return Snapshot(int((self.time_s - self.scenario.begin_s) * 1e9), _boxes(rows, looks))

    def _look(self, name: str) -> tuple[tuple[float, float, float], NDArray[np.uint8]]:
        if name not in self._looks:
            vehicle = self.api.vehicle
            size = (vehicle.getLength(name), vehicle.getWidth(name), vehicle.getHeight(name))
            self._looks[name] = size, CAR_COLOURS[zlib.crc32(name.encode()) % len(CAR_COLOURS)]
        return self._looks[name]

    def traffic(self) -> tuple[LaneTraffic, ...]:
        """Vehicles that approach each of the K stop lines: the simulator's own knowledge."""
        return tuple(self._lane_traffic(lane.upstream) for lane in self.plan.lanes)

    def _lane_traffic(self, upstream: tuple[tuple[str, float], ...]) -> LaneTraffic:
        vehicle, rows = self.api.vehicle, []
        for order, (lane, offset) in enumerate(upstream):
            end = offset + self.api.lane.getLength(lane)
            for name in reversed(self.api.lane.getLastStepVehicleIDs(lane)):
                distance = end - vehicle.getLanePosition(name)
                rows.append((distance, vehicle.getSpeed(name), vehicle.getWaitingTime(name), order == 0))
        table = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
        return LaneTraffic(table[:, 0], table[:, 1], table[:, 2], table[:, 3] > 0)

    def outgoing_halting(self, lane_index: int) -> float:
        """Mean number of standing vehicles on the lanes that lane k flows into."""
        counts = [self.api.lane.getLastStepHaltingNumber(lane) for lane in self.plan.lanes[lane_index].outgoing]
        return float(np.mean(counts)) if counts else 0.0

    def finish(self) -> TripMetrics:
        """End the episode and compute its trip metrics.

        Raises:
            BadInput: if no vehicle was scheduled in the episode: its figures would mean nothing.
        """
        pending = [self.time_s - self.api.vehicle.getDepartDelay(v) for v in self.api.simulation.getPendingVehicles()]
        self._sumo.close()
        trips = read_tripinfo(self._sumo.tripinfo, self.scenario.begin_s, pending, self.time_s)
        if not trips.vehicles:
            raise BadInput(
                self.scenario.name,
                expected=f"vehicles between {self.scenario.begin_s:g} and {self.scenario.end_s:g} s",
                got="none",
                fix="choose --begin and --end to fit the demand",
            )
        return trips

    def close(self) -> None:
        """End the simulation and delete its files; does nothing a second time."""
        self._sumo.discard()

    def __enter__(self) -> Junction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def yellow_between(old: str, new: str) -> str:
    """Link states shown between two greens: links that lose green are yellow, those that gain it still red."""
    return "".join(
        "y" if a in "Gg" and b not in "Gg" else a if a in "Gg" else "r" for a, b in zip(old, new, strict=True)
    )


def _boxes(
    rows: list[tuple[float, float, float, float]],
    looks: list[tuple[tuple[float, float, float], NDArray[np.uint8]]],
) -> Boxes:
    """Boxes from SUMO's (east, north of the front bumper; degrees clockwise from north; m/s)."""
    table = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    size_N3 = np.asarray([size for size, _ in looks], dtype=np.float32).reshape(-1, 3)
    heading_N = np.deg2rad(90.0 - table[:, 2])
    direction_N2 = np.stack([np.cos(heading_N), np.sin(heading_N)], axis=1).astype(np.float32)
    return Boxes(
        centre_N2=(table[:, :2] - direction_N2 * size_N3[:, :1] / 2).astype(np.float32),
        heading_N=heading_N,
        size_N3=size_N3,
        velocity_N2=direction_N2 * table[:, 3:],
        colour_N3=np.asarray([colour for _, colour in looks], dtype=np.uint8).reshape(-1, 3),
    )
