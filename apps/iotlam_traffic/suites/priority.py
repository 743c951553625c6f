"""Priority vehicles: what asking for green spares them and costs the others; rows of the suite `traffic-ours`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, figure
from iotlam.contracts import Json
from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripGroup
from iotlam_street.scenarios import Scenario
from iotlam_traffic.evaluate import Outcome, Trial
from iotlam_traffic.race import race

PRIORITY_SHARE = 0.01
"""Share of the vehicles that have priority."""

PUBLISHED = "VLMLight {} (published)"


def priority_trials(
    controller: str, scenarios: Sequence[Scenario], seeds: Sequence[int], weights: Path | None = None
) -> list[Trial]:
    """Every map and seed twice: priority vehicles are as all others, then they are favoured."""
    marked = [replace(scenario, priority_share=PRIORITY_SHARE) for scenario in scenarios]
    return [
        Trial(controller, scenario, seed, weights, rules=SignalRules(priority=favoured))
        for scenario in marked
        for seed in seeds
        for favoured in (False, True)
    ]


def measure_priority(
    trials: Sequence[Trial], progress: Progress, workers: int = 2
) -> tuple[list[Json], dict[str, Metric]]:
    """Run the trials of `priority_trials`; returns a row for each, and the figures."""
    with progress("Episodes with priority vehicles", len(trials)) as step:
        outcomes = race(trials, workers, lambda _: step(1))
    rows = [{**one.as_json(), "favoured": one.trial.rules.priority} for one in outcomes]
    return rows, priority_figures(list(zip(outcomes[::2], outcomes[1::2], strict=True)))


def priority_figures(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Metric]:
    """Figures of pairs on the same map and seed, without favour and with it.

    The change of waiting is that of the sum over all priority vehicles, who are a few in each episode; the cost is the
    median over the pairs of the relative change of the other vehicles' mean delay.
    """
    groups = [[(one.trips.priority, one.trips.others) for one in pair] for pair in pairs]
    before = [(first, rest) for (first, rest), _ in groups if first and rest]
    after = [(first, rest) for _, (first, rest) in groups if first and rest]
    change = _waited_s(after) / max(_waited_s(before), 1e-9) - 1.0
    cost, ci95 = median_ci95([on.delay_s / off.delay_s - 1.0 for (_, off), (_, on) in zip(before, after, strict=True)])
    vehicles = sum(first.count for first, _ in before)
    return {
        "priority_wait_change": figure(change, vehicles, most=-0.80, anchor=PUBLISHED.format("-0.65")),
        "priority_cost_to_others": figure(cost, len(pairs), most=0.005, anchor=PUBLISHED.format("< 0.01"), ci95=ci95),
    }


def _waited_s(groups: Sequence[tuple[TripGroup, TripGroup]]) -> float:
    return sum(first.count * first.waiting_s for first, _ in groups)
