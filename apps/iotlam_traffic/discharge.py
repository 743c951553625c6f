"""Our best rule that is not learnt: what each phase will discharge.

Its weights were found by random search over 94 candidates on training seeds of cologne1, ingolstadt1
and six random junctions, against the geometric mean of the delay relative to greedy (docs/traffic.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_street.junction import Junction, LaneTraffic
from iotlam_traffic.rules import Rule, best_phase


@dataclass(frozen=True, slots=True)
class DischargeWeights:
    """What the rule values.

    Attributes:
        reach_m: vehicles up to this distance from the stop line count fully.
        fade_m: beyond, their weight falls by e every so many metres.
        waiting: weight of a vehicle's waiting time, per 30 seconds.
        discharge_hz: vehicles per second of green that one lane can pass; more do not count now.
    """

    reach_m: float = 14.0
    fade_m: float = 78.0
    waiting: float = 0.63
    discharge_hz: float = 0.59


class Discharge(Rule):
    """Serves the phase that will discharge the most valuable vehicles in the coming green."""

    name = "discharge"

    def __init__(self, weights: DischargeWeights | None = None) -> None:
        self.weights = weights or DischargeWeights()

    def phase(self, junction: Junction) -> int:
        """Index of the green phase to show."""
        return best_phase(self.score(junction), junction)

    def score(self, junction: Junction) -> NDArray[np.float64]:
        """Value of each phase (P,), in vehicles."""
        weights, rules = self.weights, junction.rules
        value_K = np.array([self._value(traffic) for traffic in junction.traffic()])
        current_P = np.arange(len(junction.plan.green_states)) == junction.phase
        green_s_P = np.where(current_P, rules.decision_s, rules.decision_s - rules.yellow_s)
        passed_PK = np.minimum(value_K[None, :], weights.discharge_hz * green_s_P[:, None])
        score: NDArray[np.float64] = (junction.plan.serves_PK * passed_PK).sum(axis=1)
        return score

    def _value(self, traffic: LaneTraffic) -> float:
        beyond_m = np.maximum(traffic.distance_N - self.weights.reach_m, 0.0)
        near = np.exp(-beyond_m / self.weights.fade_m)
        return float((near * (1.0 + self.weights.waiting * traffic.waiting_N / 30.0)).sum())
