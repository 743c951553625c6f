"""When the rate is charged, and how fast gates learn: the two things that decide whether a gate shuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from iotlam.fusion.bottleneck import BottleneckGate

GATE_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """Weight of the rate over a training run: nothing, a linear ramp, then the peak.

    A gate that has to pay before the task has found its evidence shuts on everything, and a shut gate passes no
    gradient that would open it again.

    Attributes:
        peak: weight of the rate in the loss, per bit and token.
        steps: optimiser steps in all.
        free: share of the steps during which bits cost nothing.
        ramp: share of the steps over which the price rises to its peak.
    """

    peak: float
    steps: int
    free: float = 0.3
    ramp: float = 0.3

    def __call__(self, step: int) -> float:
        """Weight at `step`, counted from 0."""
        risen = (step - self.free * self.steps) / max(self.ramp * self.steps, 1.0)
        return self.peak * min(max(risen, 0.0), 1.0)


def parameter_groups(module: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Parameters that learn, for a torch optimiser: the rest, then those of the gates, `GATE_FACTOR` times as fast.

    A gate starts at alpha = 5 and is shut near alpha = -3: at the pace of ordinary weights that way is longer than
    many a training run.
    """
    gates = {
        id(parameter)
        for part in module.modules()
        if isinstance(part, BottleneckGate)
        for parameter in part.parameters()
    }
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learning if id(p) not in gates], "lr": learning_rate},
        {"params": [p for p in learning if id(p) in gates], "lr": GATE_FACTOR * learning_rate},
    ]
