"""How long a policy on lane state takes to beat greedy, from random weights."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iotlam.bench.suite import Progress
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.evaluate import Trial, run_trials
from iotlam_traffic.lane_ppo import LANE_PPO
from iotlam_traffic.lanes import LanePolicy
from iotlam_traffic.train_lanes import LaneRun, LaneRunConfig

PPO = replace(LANE_PPO, gamma=0.9, batch=128, learning_rate=2e-3)
"""One small map gives few decisions a round, from which much must be learnt; and it has no neighbours to wait for."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one training came to.

    Attributes:
        map: where it learnt and was tested.
        seed: of the training.
        seconds: wall time of the training.
        over_greedy: median over the test seeds of the policy's delay over greedy's.
        share: what that must be at most to count as beaten.
    """

    map: str
    seed: int
    seconds: float
    over_greedy: float
    share: float

    @property
    def beaten(self) -> bool:
        """Whether greedy was beaten by as much as asked."""
        return self.over_greedy <= self.share


def learn_to_beat(
    name: str, share: float, rounds: int, trainings: Sequence[int], tests: int, progress: Progress
) -> list[Learnt]:
    """Train from nothing, so many rounds of four episodes, then drive the test seeds beside greedy."""
    learnt = []
    with progress(f"Learning to beat greedy on {name}", len(trainings)) as step:
        for seed in trainings:
            with tempfile.TemporaryDirectory() as folder:
                start = time.monotonic()
                LaneRun(Path(folder), LaneRunConfig((name,) * 4, rounds, generations=0, ppo=PPO, seed=seed)).go()
                seconds = time.monotonic() - start
                learnt.append(Learnt(name, seed, seconds, _over_greedy(name, Path(folder), tests), share))
            step(1)
    return learnt


def seconds_to_beat(learnt: Sequence[Learnt]) -> float:
    """The longest training; infinite if one failed."""
    return max(one.seconds for one in learnt) if all(one.beaten for one in learnt) else math.inf


def _over_greedy(name: str, weights: Path, tests: int) -> float:
    scenario, seeds = find_scenario(name), TEST_SEEDS[:tests]
    trials = [Trial(LanePolicy.name, scenario, seed, weights) for seed in seeds]
    trials += [Trial("greedy", scenario, seed) for seed in seeds]
    delay_s = [outcome.trips.delay_s for outcome in run_trials(trials, 2, lambda _: None)]
    return float(np.median(np.divide(delay_s[:tests], delay_s[tests:])))
