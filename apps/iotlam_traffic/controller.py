"""The controller that sees only through sensors."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from iotlam.contracts import BadInput, DecisionQuery, IotlamError, TokenBatch
from iotlam.decoder import choose
from iotlam.model import Decision, IotlamModel, IotlamProcessor
from iotlam_street.faults import SensorFaults
from iotlam_street.junction import Junction
from iotlam_street.programs import NativeProgram
from iotlam_street.rig import SENSORS
from iotlam_street.weather import CLEAR, Weather
from iotlam_traffic.site import Frames, Site
from iotlam_traffic.together import agree


@dataclass(frozen=True, slots=True)
class Look:
    """What one decision was made from.

    Attributes:
        time_s: simulated time.
        frames: by modality, what the sensors measured.
        tokens: by modality, what the encoders made of it near the lanes.
        query: what was asked.
        decision: what the model answered.
        phase: the phase chosen.
        seconds: wall time from frames to phase.
    """

    time_s: float
    frames: Frames
    tokens: Mapping[str, TokenBatch]
    query: DecisionQuery
    decision: Decision
    phase: int
    seconds: float


class SensorController:
    """Frames to tokens to phase; nothing of the simulator's state is read.

    Args:
        model: the policy.
        modalities: which sensors to use; default all that the model knows.
        seed: seed of the sensors' noise.
        faults: what is wrong with the sensors.
        weather: what is in their way.

    Attributes:
        problems: the last failure of each modality that failed; the others went on without it.

    Raises:
        BadInput: if the model does not know a modality or the street has no sensor for it.
    """

    native: NativeProgram | None = None

    def __init__(
        self,
        model: IotlamModel,
        modalities: Sequence[str] | None = None,
        seed: int = 0,
        faults: SensorFaults | None = None,
        weather: Weather = CLEAR,
    ) -> None:
        known = [spec.modality for spec in model.config.modalities]
        self.modalities = tuple(modalities or known)
        for name in self.modalities:
            if name not in known or name not in SENSORS:
                raise BadInput(
                    f"Modality '{name}'",
                    expected=f"one of {', '.join(sorted(set(known) & set(SENSORS)))}",
                    got=f"'{name}'",
                    fix="name sensors that the model was trained with",
                )
        self.name = "iotlam"
        self.model, self.processor = model, IotlamProcessor(self.modalities, model.config.roi_m)
        self.faults, self.weather = faults or SensorFaults(), weather
        self._rng = np.random.default_rng(seed)
        self._sites: dict[str, Site] = {}
        self.seconds: list[float] = []
        self.problems: dict[str, IotlamError] = {}

    def choose(self, junctions: Sequence[Junction]) -> list[int]:
        """For each junction, index of the green phase to show; all are answered at once, which takes less time."""
        sensed = [self._sense(junction) for junction in junctions]
        start = time.perf_counter()
        tokens = [self._tokenize(frames, query) for frames, query in sensed]
        decision = self.model.answer_all([(each, query) for each, (_, query) in zip(tokens, sensed, strict=True)])
        phases = agree(junctions, list(decision.logits_BP.numpy()))
        self.seconds += [(time.perf_counter() - start) / len(junctions)] * len(junctions)
        return phases

    def looks(self, junctions: Sequence[Junction]) -> list[Look]:
        """As `look` at each junction, but those that are close choose together, as in `choose`."""
        looks = [self.look(junction) for junction in junctions]
        phases = agree(junctions, [look.decision.logits_BP[0].numpy() for look in looks])
        return [replace(look, phase=phase) for look, phase in zip(looks, phases, strict=True)]

    def look(self, junction: Junction) -> Look:
        """Measure, decide, and keep what was seen."""
        frames, query = self._sense(junction)
        start = time.perf_counter()
        tokens = self._tokenize(frames, query)
        decision = self.model.answer(tokens, query)
        phase = int(choose(decision.logits_BP))
        seconds = time.perf_counter() - start
        self.seconds.append(seconds)
        return Look(junction.time_s, frames, tokens, query, decision, phase, seconds)

    def _sense(self, junction: Junction) -> tuple[Frames, DecisionQuery]:
        plan = junction.plan
        if plan.signal not in self._sites:
            self._sites[plan.signal] = Site(plan, self.modalities, self.faults, self.weather, self._rng)
        return self._sites[plan.signal].sense(junction)

    def _tokenize(self, frames: Frames, query: DecisionQuery) -> dict[str, TokenBatch]:
        return self.processor.tokenize(frames, query, self._without)

    def _without(self, modality: str, problem: IotlamError) -> None:
        """Lights must not stop because a sensor failed: say so once and go on with the others."""
        if modality not in self.problems:
            logging.getLogger(__name__).warning("going on without %s: %s", modality, problem)
        self.problems[modality] = problem
