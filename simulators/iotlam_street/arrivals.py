"""Who comes to a junction: counted second by second, from the first time that somebody asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam_street.plan import SignalPlan
from iotlam_street.sumo import Sumo


class Arrivals:
    """Vehicles that have come to the K lanes of one signal; nothing is kept until somebody asks.

    A vehicle counts once on each road, on the lane where it was last; one that a second carries past the stop line is
    still found within the junction.

    Attributes:
        wanted: whether anybody has ever asked.
    """

    def __init__(self, plan: SignalPlan, sumo: Sumo) -> None:
        self._lanes = [(lane.edge, (lane.id, *lane.inside)) for lane in plan.lanes]
        self._sumo = sumo
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        self.wanted = False

    def note(self) -> None:
        """Look who is there now, if anybody has ever asked."""
        if not self.wanted:
            return
        on_lane, now_s = self._sumo.api.lane.getLastStepVehicleIDs, self._sumo.time_s
        for row, (edge, names) in enumerate(self._lanes):
            for name in names:
                for vehicle in on_lane(name):
                    first_s, _ = self._seen.get((vehicle, edge), (now_s, row))
                    self._seen[vehicle, edge] = first_s, row

    def since(self, moment_s: float) -> NDArray[np.int64]:
        """For each lane, vehicles that have come to it at that time or later, (K,)."""
        if not self.wanted:
            self.wanted = True
            self.note()
        rows = [row for first_s, row in self._seen.values() if first_s >= moment_s]
        return np.bincount(np.array(rows, dtype=np.int64), minlength=len(self._lanes))
