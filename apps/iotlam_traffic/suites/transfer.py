"""Suite `traffic-transfer`: trained on Cologne only, driven in Ingolstadt."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.evaluate import OURS, Outcome, Trial
from iotlam_traffic.lanes import LanePolicy
from iotlam_traffic.rules import RULES
from iotlam_traffic.suites.episodes import QUICK_SEEDS, quick_scenario, run_all
from iotlam_traffic.train import TEACHING, Run, TrainConfig
from iotlam_traffic.train_lanes import LaneRun, LaneRunConfig

COLOGNE = (*("cologne1",) * 5, *("cologne3",) * 3, *("cologne8",) * 3)
"""One round of episodes to learn from."""

INGOLSTADT = ("ingolstadt1", "ingolstadt7", "ingolstadt21")
WORK = Path("runs/transfer")
"""Where both trainings go on if they were stopped; hours the first time."""

LANES = LaneRunConfig(COLOGNE)
SENSORS = TrainConfig(COLOGNE, turns=4, revisit=1, rounds=0, imitation=replace(TEACHING, steps=2400))


def transfer(quick: bool, progress: Progress) -> SuiteResult:
    """Delay of policies that have never seen Ingolstadt, over that of the best untrained rival there.

    Args:
        quick: hardly any training, one map, two seeds, ten minutes, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    lanes, sensors = _train(quick)
    seeds = QUICK_SEEDS if quick else TEST_SEEDS
    scenarios = [quick_scenario(INGOLSTADT[0])] if quick else [find_scenario(name) for name in INGOLSTADT]
    weights = {OURS: sensors, LanePolicy.name: lanes, **dict.fromkeys(RULES)}
    trials = [
        Trial(name, each, seed, folder) for each in scenarios for seed in seeds for name, folder in weights.items()
    ]
    outcomes = run_all("Episodes in Ingolstadt", trials, progress)
    metrics = {}
    for scenario in scenarios:
        there = [one for one in outcomes if one.trial.scenario.name == scenario.name]
        metrics[f"{scenario.name}_over_best_rule"] = _over_best(there, OURS, most=1.0)
        metrics[f"{scenario.name}_lanes_over_best_rule"] = _over_best(there, LanePolicy.name)
    return SuiteResult("traffic-transfer", [one.as_json() for one in outcomes], metrics, time.monotonic() - start)


def _train(quick: bool) -> tuple[Path, Path]:
    """Train the lane policy, then the policy on sensors; returns their folders."""
    work, lanes, sensors = WORK, LANES, SENSORS
    if quick:
        work = WORK / "quick"
        lanes = replace(lanes, maps=("cologne1",), rounds=1, generations=0, span_s=300.0)
        little = replace(TEACHING, steps=4)
        sensors = replace(sensors, maps=("cologne1",), turns=2, revisit=0, rounds=0, span_s=300.0, imitation=little)
    teacher = LaneRun(work / "lanes", lanes).go().parent
    return teacher, Run(work / "sensors", replace(sensors, teacher=str(teacher))).go()


def _over_best(there: list[Outcome], name: str, most: float | None = None) -> Metric:
    """Median delay over the lowest median of an untrained rival."""
    median_s = {
        who: float(np.median([one.trips.delay_s for one in there if one.trial.controller == who]))
        for who in (name, *RULES)
    }
    best = min(RULES, key=lambda rule: median_s[rule])
    seeds = len({one.trial.seed for one in there})
    return figure(median_s[name] / median_s[best], seeds, most=most, anchor=f"{best} {median_s[best]:.2f} s")
