"""Priority vehicles: which they are, what they ask of the signals by radio, and what their time counts.

A vehicle sends each signal on its way a request as SAE J2735 defines it (SRM): the lane or turn that it needs and when
it will be there. Known are its own position and route, which the message carries, and whether others are between it and
the stop line, which a controller's loops tell. Asking earlier where they are many spared no waiting when it was tried
(docs/traffic.md).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_street.plan import SignalPlan
from iotlam_street.scenarios import Scenario, mentions
from iotlam_street.sumo import Sumo

PRIORITY_WEIGHT = 10.0
"""A second that a priority vehicle loses counts as much as so many of another."""

EMERGENCY = "emergency"
"""SUMO's class of vehicles that always have priority."""

REACH_S = 60.0
"""A vehicle speaks to the signals that it will reach within this time."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one vehicle asks of one signal.

    Attributes:
        vehicle: its identifier.
        link: the connection that it needs, by its place in the signal's link states.
        arrival_s: seconds until it is there if nothing stops it.
        ahead: vehicles between it and the stop line.
    """

    vehicle: str
    link: int
    arrival_s: float
    ahead: int


def chosen(vehicle: str, seed: int, share: float) -> bool:
    """Whether a vehicle is one of the share that has priority: decided by its name and the seed."""
    return zlib.crc32(f"{seed}:{vehicle}".encode()) < share * 2**32


def has_priority(scenario: Scenario) -> bool:
    """Whether any vehicle of a scenario may have priority."""
    return scenario.priority_share > 0.0 or mentions(scenario, EMERGENCY)


class Priority:
    """The priority vehicles of a running simulation.

    Args:
        sumo: the simulation.
        seed: decides with a vehicle's name whether it is one.
        plans: the signals that listen.
        owner: the row of the signal that each road's traffic comes to first.
    """

    def __init__(self, sumo: Sumo, seed: int, plans: Sequence[SignalPlan], owner: Mapping[str, int]) -> None:
        self._sumo, self._seed, self._owner = sumo, seed, owner
        self._share = sumo.scenario.priority_share
        self._plans = {plan.signal: plan for plan in plans}
        self._known: dict[str, bool] = {}
        self._asked_at_s = -1.0
        self._requests: dict[str, list[Request]] = {}
        self._due_since: dict[tuple[str, str], float] = {}
        self._lane_of: dict[str, list[str]] = {}

    def is_one(self, vehicle: str) -> bool:
        """Whether a vehicle in the simulation has priority."""
        if vehicle not in self._known:
            kind = self._sumo.api.vehicle.getVehicleClass(vehicle)
            self._known[vehicle] = kind == EMERGENCY or chosen(vehicle, self._seed, self._share)
        return self._known[vehicle]

    def weight(self, vehicle: str) -> float:
        """How much a second counts that a vehicle loses."""
        return PRIORITY_WEIGHT if self.is_one(vehicle) else 1.0

    def by_type(self) -> Callable[[str, str], bool]:
        """Whether a vehicle has priority by its name and type, for when the simulation is over."""
        types, seed, share = self._sumo.api.vehicletype, self._seed, self._share
        emergency = {name for name in types.getIDList() if types.getVehicleClass(name) == EMERGENCY}
        return lambda name, kind: kind in emergency or chosen(name, seed, share)

    def limit(self, signal: str, allowed_P: NDArray[np.bool_], horizon_s: float) -> NDArray[np.bool_]:
        """The allowed phases, limited to those that serve whoever needs green within the horizon.

        First come, first served: one whom no phase can serve together with those before it waits its turn.
        """
        due = [request for request in self.requests(signal) if request.arrival_s <= horizon_s]
        since = [(self._due_since.setdefault((one.vehicle, signal), self._sumo.time_s), one.arrival_s) for one in due]
        for _, request in sorted(zip(since, due, strict=True), key=lambda pair: pair[0]):
            serving_P = allowed_P & self._serving(signal, request)
            allowed_P = serving_P if serving_P.any() else allowed_P
        return allowed_P

    def _serving(self, signal: str, request: Request) -> NDArray[np.bool_]:
        """The phases that give a vehicle green; where others stand before it, those that let most of its lane go."""
        states, links = self._plans[signal].green_states, self._links_beside(signal, request.link)
        green_P = np.array([state[request.link] in "Gg" for state in states], dtype=bool)
        if not request.ahead:
            return green_P
        count_P = np.array([sum(state[link] in "Gg" for link in links) for state in states], dtype=np.int64) * green_P
        most_P: NDArray[np.bool_] = green_P & (count_P == count_P.max())
        return most_P

    def _links_beside(self, signal: str, link: int) -> list[int]:
        """The connections that begin on the lane of a connection, it included."""
        lanes = self._lanes_of(signal)
        return [index for index, lane in enumerate(lanes) if lane == lanes[link]]

    def requests(self, signal: str) -> list[Request]:
        """What is asked of a signal now."""
        if self._asked_at_s != self._sumo.time_s:
            self._asked_at_s, self._requests = self._sumo.time_s, self._ask()
        return self._requests.get(signal, [])

    def _ask(self) -> dict[str, list[Request]]:
        vehicle = self._sumo.api.vehicle
        found: dict[str, list[Request]] = {}
        for name in filter(self.is_one, vehicle.getIDList()):
            speed_mps = max(vehicle.getAllowedSpeed(name), 1.0)
            for signal, link, distance_m, _ in vehicle.getNextTLS(name):
                arrival_s = distance_m / speed_mps
                if signal in self._plans and arrival_s <= REACH_S:
                    ahead = self._ahead(signal, link, distance_m)
                    found.setdefault(signal, []).append(Request(name, link, arrival_s, ahead))
        return found

    def _ahead(self, signal: str, link: int, distance_m: float) -> int:
        """Vehicles between a place and the stop line, as far as the lane is followed upstream."""
        on_lane, place = self._sumo.api.lane.getLastStepVehicleIDs, self._sumo.api.vehicle.getLanePosition
        name = self._lanes_of(signal)[link]
        lane = next((one for one in self._plans[signal].lanes if one.id == name), None)
        upstream = lane.upstream if lane else ()
        return sum(end_m - place(name) < distance_m for piece, end_m in upstream for name in on_lane(piece))

    def _lanes_of(self, signal: str) -> list[str]:
        """The lane that each of a signal's connections begins on."""
        if signal not in self._lane_of:
            every = self._sumo.api.trafficlight.getControlledLinks(signal)
            self._lane_of[signal] = [options[0][0] if options else "" for options in every]
        return self._lane_of[signal]

    def count_lost(self, every_s: float, lost_s_J: NDArray[np.float64]) -> None:
        """Add what the priority vehicles on the roads lose beyond what they count as any vehicle."""
        vehicle = self._sumo.api.vehicle
        for name in filter(self.is_one, vehicle.getIDList()):
            row = self._owner.get(vehicle.getRoadID(name))
            if row is not None:
                shortfall = max(0.0, 1.0 - vehicle.getSpeed(name) / max(vehicle.getAllowedSpeed(name), 0.1))
                lost_s_J[row] += (PRIORITY_WEIGHT - 1.0) * every_s * shortfall
