"""What sumo-rl's agents see and are paid, on our streets (L. N. Alegre, SUMO-RL 1.4.5, github.com/LucasAlegre/sumo-rl).

sumo-rl itself does not run with the PettingZoo of today, and has action rules of its own; here everybody has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_street.junction import HALTING_MPS, Junction
from iotlam_street.plan import SignalPlan

CAR_M = 7.5
"""Road that a standing vehicle takes, its gap included."""

WAIT_S_PER_REWARD = 100.0
"""Seconds of waiting that cost one unit of reward."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one network for all junctions of a net is made for.

    Attributes:
        junctions: J, their number.
        lanes: K, lanes of the junction that has most.
        phases: P, phases of the junction that has most.
    """

    junctions: int
    lanes: int
    phases: int

    @classmethod
    def of(cls, plans: Sequence[SignalPlan]) -> Sizes:
        """Sizes for a net with these signals."""
        return cls(len(plans), max(len(plan.lanes) for plan in plans), max(len(plan.green_states) for plan in plans))

    @property
    def features(self) -> int:
        """Numbers in an observation."""
        return self.phases + 1 + 2 * self.lanes + self.junctions


def observe(junctions: Sequence[Junction], sizes: Sizes) -> NDArray[np.float32]:
    """What the agents see, (J, `Sizes.features`), all from 0 to 1.

    Phase in force one-hot (P), whether its least green is over (1), share of each lane that vehicles take (K) and
    standing ones (K): sumo-rl's default, padded with zeros. Then which junction it is, one-hot (J), by which agents
    that share a network may differ (J. K. Terry et al. 2020, arXiv 2005.13625).
    """
    seen = np.zeros((len(junctions), sizes.features), np.float32)
    lanes = sizes.phases + 1
    for row, junction in enumerate(junctions):
        vehicles_K, standing_K = _shares(junction)
        seen[row, junction.phase] = 1.0
        seen[row, sizes.phases] = junction.time_s - junction.green_since_s >= junction.rules.min_green_s
        seen[row, lanes : lanes + len(vehicles_K)] = vehicles_K
        seen[row, lanes + sizes.lanes : lanes + sizes.lanes + len(standing_K)] = standing_K
        seen[row, lanes + 2 * sizes.lanes + row] = 1.0
    return seen


def _shares(junction: Junction) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Shares of each lane that vehicles take, and standing ones, (K,) and (K,)."""
    rows, ends = junction.vehicles()
    own_N, standing_N = rows[:, 3] > 0.0, rows[:, 1] < HALTING_MPS
    lane_N = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    room_K = np.array([lane.length for lane in junction.plan.lanes]) / CAR_M
    taken, queued = (np.bincount(lane_N[mask], minlength=len(ends)) / room_K for mask in (own_N, own_N & standing_N))
    return np.minimum(taken, 1.0), np.minimum(queued, 1.0)


class WaitingReward:
    """sumo-rl's reward `diff-waiting-time`: by how much less the vehicles before a signal have waited on its lanes.

    What a vehicle waited on lanes before does not count.
    """

    def __init__(self, junctions: int) -> None:
        self._before_J = np.zeros(junctions)
        self._waits: dict[str, dict[str, float]] = {}

    def __call__(self, junctions: Sequence[Junction]) -> NDArray[np.float32]:
        """Reward of each agent since this was asked last, (J,)."""
        now_J = np.array([self._waited_s(junction) for junction in junctions]) / WAIT_S_PER_REWARD
        reward_J, self._before_J = self._before_J - now_J, now_J
        return reward_J.astype(np.float32)

    def _waited_s(self, junction: Junction) -> float:
        total_s = 0.0
        for lane, vehicles in zip(junction.plan.lanes, junction.waited(), strict=True):
            for name, in_all_s in vehicles.items():
                waits = self._waits.setdefault(name, {})
                waits[lane.id] = in_all_s - sum(wait_s for other, wait_s in waits.items() if other != lane.id)
                total_s += waits[lane.id]
        return total_s


def phases(actions_J: NDArray[np.integer], junctions: Sequence[Junction]) -> list[int]:
    """The phases that agents ask for; who asks for one that its junction has not keeps the one in force."""
    return [
        int(action) if action < len(junction.plan.green_states) else junction.phase
        for action, junction in zip(actions_J, junctions, strict=True)
    ]
