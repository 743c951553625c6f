"""How many vehicles stand before a signal, approach by approach and decision by decision."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iotlam_street.plan import SignalPlan
from iotlam_street.street import Street

Queues = list[tuple[float, NDArray[np.int64]]]
"""Simulated time in seconds, and the vehicles that stand on each of the A approaches then."""


@dataclass(slots=True)
class QueueLog:
    """Notes the queues of every signal of a street; an approach is followed upstream as far as its lanes are.

    Attributes:
        by_signal: the queues of each signal.
    """

    by_signal: dict[str, Queues] = field(default_factory=lambda: defaultdict(list))
    _lanes: dict[str, list[list[str]]] = field(default_factory=dict)

    def note(self, street: Street) -> None:
        """Count who stands now."""
        standing = street.api.lane.getLastStepHaltingNumber
        for junction in street.junctions:
            plan = junction.plan
            lanes = self._lanes.setdefault(plan.signal, _lanes_of(plan))
            counts = [sum(map(standing, names)) for names in lanes]
            self.by_signal[plan.signal].append((street.time_s, np.array(counts, dtype=np.int64)))

    def busiest(self) -> str:
        """The signal at which most vehicles stood."""
        return max(self.by_signal, key=lambda name: sum(int(count_A.sum()) for _, count_A in self.by_signal[name]))


def _lanes_of(plan: SignalPlan) -> list[list[str]]:
    """For each approach, its lanes and those that feed them, each once."""
    return [
        sorted({name for lane in plan.lanes if lane.edge == approach.name for name, _ in lane.upstream})
        for approach in plan.approaches
    ]
