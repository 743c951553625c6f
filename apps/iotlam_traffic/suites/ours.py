"""Suite `traffic-ours`: one set of weights on every map of RESCO, beside every rival on the same seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam_street.plan import read_plans
from iotlam_traffic.evaluate import OURS, Outcome, Trial
from iotlam_traffic.lanes import LanePolicy
from iotlam_traffic.policy import load_policy
from iotlam_traffic.suites.episodes import run_all
from iotlam_traffic.suites.learning import Learnt, learn_to_beat, seconds_to_beat
from iotlam_traffic.suites.priority import measure_priority, priority_trials
from iotlam_traffic.suites.rules import RIVALS, Field, judged, train
from iotlam_traffic.suites.tuning import Gap, lora_against_full, median_gap

BOUNDS_S = {
    "cologne1": 14.8,
    "cologne3": 17.0,
    "cologne8": 18.0,
    "ingolstadt1": 12.2,
    "ingolstadt7": 25.0,
    "ingolstadt21": 48.0,
    "grid4x4": 28.0,
}
"""Median delay to reach on each map; arterial4x4 holds more traffic than it can pass, and has no bound but gridlock."""

BEAT = {"cologne1": (0.9, 60.0, 23), "ingolstadt1": (1.0, 240.0, 50)}
"""Where a policy on lane state learns from nothing: share of greedy's delay to reach, seconds for it, rounds of PPO."""

WITH_PRIORITY = ("cologne1", "ingolstadt1", "cologne8")
"""Where some vehicles ask for green."""

TUNING = Path("runs/tuning")
"""Where LoRA and full tuning keep their episodes and models."""

Table = Mapping[tuple[str, str, int], Outcome]
"""Outcomes by map, controller and seed."""


def ours(quick: bool, progress: Progress) -> SuiteResult:
    """Delay against the rivals, gridlocks, what sensors cost, decision time, learning time, LoRA, priority vehicles.

    Args:
        quick: two maps, two seeds, ten minutes and hardly any training, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    field = Field.of(quick)
    train(field, progress)
    table = _drive(field, progress)
    driven = _judged(field, table)
    trainings, tests = (1, 2) if quick else (5, 10)
    learnt = {
        name: learn_to_beat(name, share, 2 if quick else rounds, range(trainings), tests, progress)
        for name, (share, _, rounds) in BEAT.items()
    }
    gap = lora_against_full(
        TUNING / "quick" if quick else TUNING, *(2, 5, 1) if quick else (10, 600, 5), progress=progress
    )
    some = [scenario for scenario in field.scenarios if scenario.name in WITH_PRIORITY]
    favoured, priority = measure_priority(priority_trials(OURS, some, field.seeds), progress)
    metrics = {
        **_delays(field, table),
        **_against_rivals(field, table),
        "gridlocks_of_80": _gridlocks(driven),
        **_learning(learnt),
        "lora_share": figure(load_policy(None).trainable_share().ratio, 1, most=0.05, anchor="paper 0.05 (published)"),
        "lora_gap_to_full": _gap(gap),
        **priority,
    }
    return SuiteResult("traffic-ours", driven + _rows(learnt, gap) + favoured, metrics, time.monotonic() - start)


def _drive(field: Field, progress: Progress) -> Table:
    trials = [
        trial
        for scenario in field.scenarios
        for seed in field.seeds
        for trial in (
            Trial(OURS, scenario, seed),
            Trial(LanePolicy.name, scenario, seed),
            *field.trials(scenario, seed),
        )
    ]
    outcomes = run_all("Episodes", trials, progress)
    return {(one.trial.scenario.name, one.trial.controller, one.trial.seed): one for one in outcomes}


def _judged(field: Field, table: Table) -> list[Json]:
    """Rows of all episodes, with whether traffic broke down, map by map and seed by seed."""
    who = dict.fromkeys(controller for _, controller, _ in table)
    cases = [(scenario.name, seed) for scenario in field.scenarios for seed in field.seeds]
    return [row for name, seed in cases for row in judged([table[name, controller, seed] for controller in who])]


def _gridlocks(driven: Sequence[Json]) -> Metric:
    own = [row["gridlock"] for row in driven if row["controller"] == OURS]
    return figure(sum(own), len(own), most=0)


def _delays(field: Field, table: Table) -> dict[str, Metric]:
    """Our median and worst delay on each map, beside the best rival's median."""
    found = {}
    for scenario in field.scenarios:
        median, ci95 = median_ci95(_delay_s(table, scenario.name, OURS, field.seeds))
        rivals = {name: float(np.median(_delay_s(table, scenario.name, name, field.seeds))) for name in RIVALS}
        best = min(rivals, key=lambda name: rivals[name])
        found[f"delay_{scenario.name}_s"] = figure(
            median,
            len(field.seeds),
            most=BOUNDS_S.get(scenario.name),
            unit="s",
            anchor=f"{best} {rivals[best]:.2f} s",
            ci95=ci95,
        )
        worst = max(_delay_s(table, scenario.name, OURS, field.seeds))
        found[f"delay_{scenario.name}_worst_s"] = figure(worst, len(field.seeds), unit="s")
    return found


def _against_rivals(field: Field, table: Table) -> dict[str, Metric]:
    maps, seeds = [scenario.name for scenario in field.scenarios], field.seeds
    below = {name: _seeds_below(table, name, seeds) for name in maps if name in BOUNDS_S}
    cost = {name: _over_lanes(table, name, seeds) for name in maps}
    worst = max(cost, key=lambda name: cost[name])
    alone = [scenario.name for scenario in field.scenarios if len(read_plans(scenario.net)) == 1]
    decision_ms = [ms for name in alone for seed in seeds for ms in table[name, OURS, seed].decision_ms]
    return {
        "seeds_below_every_rival_min": figure(min(below.values()), len(seeds), least=9),
        "sensors_over_lane_state": figure(cost[worst], len(seeds), most=1.05, anchor=f"lane state, {worst}"),
        "decision_p95_ms": figure(
            float(np.percentile(decision_ms, 95)),
            len(decision_ms),
            most=50,
            unit="ms",
            anchor="VLMLight 11500 ms (published)",
        ),
    }


def _learning(learnt: Mapping[str, Sequence[Learnt]]) -> dict[str, Metric]:
    (cologne1, ingolstadt1), runs = learnt.values(), min(map(len, learnt.values()))
    return {
        "train_to_beat_greedy_by_10pct_cologne1_s": figure(
            seconds_to_beat(cologne1), runs, most=BEAT["cologne1"][1], unit="s", anchor="RESCO IDQN 812 s (published)"
        ),
        "train_to_beat_greedy_ingolstadt1_s": figure(
            seconds_to_beat(ingolstadt1),
            runs,
            most=BEAT["ingolstadt1"][1],
            unit="s",
            anchor="RESCO IDQN 911 s (published)",
        ),
        "train_seeds_that_succeed": figure(
            min(sum(one.beaten for one in runs) for runs in learnt.values()), runs, least=5
        ),
    }


def _gap(gap: Gap) -> Metric:
    _, ci95 = median_ci95(gap.ratios)
    interval = (ci95[0] - 1.0, ci95[1] - 1.0)
    return figure(median_gap(gap), len(gap.ratios), most=0.01, anchor="full tuning 0", ci95=interval)


def _rows(learnt: Mapping[str, Sequence[Learnt]], gap: Gap) -> list[Json]:
    trained = [
        {"learnt_on": one.map, "seed": one.seed, "seconds": round(one.seconds, 1), "over_greedy": one.over_greedy}
        for runs in learnt.values()
        for one in runs
    ]
    tuned = [
        {"tuning": tuning, "scenario": name, "seed": seed, "delay_s": round(delay_s, 3)}
        for (tuning, name, seed), delay_s in gap.delay_s.items()
    ]
    return [*trained, *tuned]


def _delay_s(table: Table, name: str, controller: str, seeds: Sequence[int]) -> list[float]:
    return [table[name, controller, seed].trips.delay_s for seed in seeds]


def _seeds_below(table: Table, name: str, seeds: Sequence[int]) -> int:
    """On how many seeds our delay is below every rival's."""
    ours_s = _delay_s(table, name, OURS, seeds)
    rivals_s = [_delay_s(table, name, rival, seeds) for rival in RIVALS]
    return int((np.array(ours_s) < np.min(rivals_s, axis=0)).sum())


def _over_lanes(table: Table, name: str, seeds: Sequence[int]) -> float:
    """Median over the seeds of our delay over that of the policy on lane state."""
    ours_s, lanes_s = (_delay_s(table, name, who, seeds) for who in (OURS, LanePolicy.name))
    return float(np.median(np.divide(ours_s, lanes_s)))
