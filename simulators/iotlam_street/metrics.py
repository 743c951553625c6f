"""Trip metrics over all vehicles, the unfinished and the never departed included."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam_street.scenarios import parse_xml


@dataclass(frozen=True, slots=True)
class TripGroup:
    """Some of those who travelled: how many, their mean delay and mean waiting (seconds)."""

    count: int
    delay_s: float
    waiting_s: float


@dataclass(frozen=True, slots=True)
class TripMetrics:
    """What one episode cost its vehicles.

    Delay of a vehicle = timeLoss + departDelay (seconds); one that never departed counts the end of
    the episode minus its scheduled departure (the rule of RESCO).

    Attributes:
        delay_s: mean delay over all vehicles.
        waiting_s: mean time below 0.1 m/s over the vehicles that departed.
        trip_s: mean duration of the finished trips.
        vehicles: how many vehicles were scheduled.
        unfinished: how many were still on the road at the end.
        never_departed: how many never got onto the road.
        scheduled_s_N: scheduled departure of each vehicle, seconds after the episode's begin; of none where SUMO did
            not list the trips.
        delay_s_N: delay of each of these vehicles.
        priority: the vehicles that have priority; None where there are none.
        others: the other vehicles, where some have priority.
        people: those who walk; None where nobody does. Their delay is walking time lost; one who is still on the way at
            the end counts the waiting so far.
    """

    delay_s: float
    waiting_s: float
    trip_s: float
    vehicles: int
    unfinished: int
    never_departed: int
    scheduled_s_N: NDArray[np.float64]
    delay_s_N: NDArray[np.float64]
    priority: TripGroup | None = None
    others: TripGroup | None = None
    people: TripGroup | None = None

    def delay_by_departure(self, bin_s: float, duration_s: float) -> NDArray[np.float64]:
        """Mean delay (seconds) of the vehicles scheduled in each stretch of `bin_s`; NaN where none.

        Raises:
            ValueError: if SUMO did not list the trips.
        """
        if len(self.delay_s_N) < self.vehicles:
            raise ValueError("delay by departure needs an episode run with list_trips")
        edges = np.arange(0.0, duration_s + bin_s, bin_s)
        slot = np.clip(np.digitize(self.scheduled_s_N, edges) - 1, 0, len(edges) - 2)
        count = np.bincount(slot, minlength=len(edges) - 1)
        total = np.bincount(slot, weights=self.delay_s_N, minlength=len(edges) - 1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def read_tripinfo(
    path: Path,
    begin_s: float,
    pending_since_s: list[float],
    end_s: float,
    has_priority: Callable[[str, str], bool] | None = None,
    pending_priority: Sequence[bool] = (),
) -> TripMetrics:
    """Metrics from SUMO's tripinfo output (written with unfinished vehicles).

    Args:
        path: the tripinfo file.
        begin_s: begin of the episode.
        pending_since_s: scheduled departures of the vehicles that never departed.
        end_s: end of the episode.
        has_priority: whether a vehicle has priority, by its name and its type; None where none has.
        pending_priority: whether those that never departed have it.
    """
    root = parse_xml(path, "SUMO's tripinfo output")
    rows = root.findall("tripinfo")
    columns = {
        key: np.array([float(row.get(key, "nan")) for row in rows])
        for key in ("depart", "arrival", "departDelay", "timeLoss", "waitingTime", "duration")
    }
    finished = columns["arrival"] >= 0
    pending = np.asarray(pending_since_s, dtype=np.float64)
    delay = np.r_[columns["timeLoss"] + columns["departDelay"], end_s - pending]
    scheduled = np.r_[columns["depart"] - columns["departDelay"], pending] - begin_s
    priority = others = None
    if has_priority:
        departed = [has_priority(row.get("id", ""), row.get("vType", "")) for row in rows]
        first = np.array([*departed, *pending_priority], dtype=bool)
        if first.any():
            priority, others = (_group(one, delay, columns["waitingTime"]) for one in (first, ~first))
    return TripMetrics(
        delay_s=_mean(delay),
        waiting_s=_mean(columns["waitingTime"]),
        trip_s=_mean(columns["duration"][finished]),
        vehicles=len(delay),
        unfinished=int((~finished).sum()),
        never_departed=len(pending),
        scheduled_s_N=scheduled,
        delay_s_N=delay,
        priority=priority,
        others=others,
        people=_people(root),
    )


def _group(member: NDArray[np.bool_], delay: NDArray[np.float64], waiting: NDArray[np.float64]) -> TripGroup:
    """Of some vehicles; only the departed have waited on a road."""
    return TripGroup(int(member.sum()), _mean(delay[member]), _mean(waiting[member[: len(waiting)]]))


def _people(root: ET.Element) -> TripGroup | None:
    """Of those who walk; SUMO writes no lost time for a walk that has not ended."""
    walks = [person.findall("walk") for person in root.iterfind("personinfo")]
    if not (walks := [walk for walk in walks if walk]):
        return None
    waiting = np.array([sum(float(part.get("waitingTime", "0")) for part in walk) for walk in walks])
    lost = np.array([sum(float(part.get("timeLoss", "0")) for part in walk) for walk in walks])
    return TripGroup(len(walks), _mean(np.maximum(lost, waiting)), _mean(waiting))


def sum_trips(api: Any) -> TripMetrics:
    """Metrics of a simulation that is about to end, without a list of its trips.

    SUMO's device of every vehicle tells them: of the finished ones their means, to a millisecond.

    Args:
        api: libsumo or a TraCI connection.
    """
    tell, vehicle = api.simulation.getParameter, api.vehicle
    count, loss_s, outside_s, waiting_s, trip_s = (
        float(tell("", f"device.tripinfo.vehicleTripStatistics.{what}"))
        for what in ("count", "timeLoss", "departDelay", "waitingTime", "duration")
    )
    running, pending = vehicle.getIDList(), api.simulation.getPendingVehicles()
    delay_s = sum(vehicle.getTimeLoss(name) + vehicle.getDepartDelay(name) for name in running)
    delay_s += sum(map(vehicle.getDepartDelay, pending)) + count * (loss_s + outside_s)
    standing_s = sum(float(vehicle.getParameter(name, "device.tripinfo.waitingTime")) for name in running)
    departed, none = int(count) + len(running), np.empty(0)
    return TripMetrics(
        delay_s=delay_s / max(departed + len(pending), 1),
        waiting_s=(count * waiting_s + standing_s) / max(departed, 1),
        trip_s=trip_s,
        vehicles=departed + len(pending),
        unfinished=len(running),
        never_departed=len(pending),
        scheduled_s_N=none,
        delay_s_N=none,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
