"""Trip metrics over all vehicles, the unfinished and the never departed included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iotlam_street.scenarios import parse_xml


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
        scheduled_s_N: scheduled departure of each vehicle, seconds after the episode's begin.
        delay_s_N: delay of each vehicle.
    """

    delay_s: float
    waiting_s: float
    trip_s: float
    vehicles: int
    unfinished: int
    never_departed: int
    scheduled_s_N: NDArray[np.float64]
    delay_s_N: NDArray[np.float64]

    def delay_by_departure(self, bin_s: float, duration_s: float) -> NDArray[np.float64]:
        """Mean delay (seconds) of the vehicles scheduled in each stretch of `bin_s`; NaN where none."""
        edges = np.arange(0.0, duration_s + bin_s, bin_s)
        slot = np.clip(np.digitize(self.scheduled_s_N, edges) - 1, 0, len(edges) - 2)
        count = np.bincount(slot, minlength=len(edges) - 1)
        total = np.bincount(slot, weights=self.delay_s_N, minlength=len(edges) - 1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def read_tripinfo(path: Path, begin_s: float, pending_since_s: list[float], end_s: float) -> TripMetrics:
    """Metrics from SUMO's tripinfo output (written with unfinished vehicles).

    Args:
        path: the tripinfo file.
        begin_s: begin of the episode.
        pending_since_s: scheduled departures of the vehicles that never departed.
        end_s: end of the episode.
    """
    rows = parse_xml(path, "SUMO's tripinfo output").findall("tripinfo")
    columns = {
        key: np.array([float(row.get(key, "nan")) for row in rows])
        for key in ("depart", "arrival", "departDelay", "timeLoss", "waitingTime", "duration")
    }
    finished = columns["arrival"] >= 0
    pending = np.asarray(pending_since_s, dtype=np.float64)
    delay = np.r_[columns["timeLoss"] + columns["departDelay"], end_s - pending]
    scheduled = np.r_[columns["depart"] - columns["departDelay"], pending] - begin_s
    return TripMetrics(
        delay_s=_mean(delay),
        waiting_s=_mean(columns["waitingTime"]),
        trip_s=_mean(columns["duration"][finished]),
        vehicles=len(delay),
        unfinished=int((~finished).sum()),
        never_departed=len(pending),
        scheduled_s_N=scheduled,
        delay_s_N=delay,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
