"""One junction with sensors: what they measure, and what the junction asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from iotlam.contracts import DecisionQuery, SensorFrame
from iotlam_street.faults import SensorFaults
from iotlam_street.junction import Junction
from iotlam_street.plan import SignalPlan
from iotlam_street.rig import SensorRig
from iotlam_street.weather import Weather
from iotlam_traffic.query import junction_query

Frames = Mapping[str, Sequence[SensorFrame]]
"""By modality, what the sensors measured."""


class Site:
    """The sensors of one junction, hung once.

    Args:
        plan: of the junction.
        modalities: which sensors there are.
        faults: what is wrong with them.
        weather: what is in their way.
        rng: of their noise and faults.
    """

    def __init__(
        self,
        plan: SignalPlan,
        modalities: Sequence[str],
        faults: SensorFaults,
        weather: Weather,
        rng: np.random.Generator,
    ) -> None:
        self._modalities, self._faults, self._rng = modalities, faults, rng
        self._rig = SensorRig(plan.approaches, weather=weather)

    def sense(self, junction: Junction) -> tuple[Frames, DecisionQuery]:
        """What the sensors give now, and what is asked."""
        frames = self._faults.sense(self._rig, junction.plan, junction.snapshots, self._rng, self._modalities)
        return frames, junction_query(junction)
