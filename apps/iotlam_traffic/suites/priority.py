"""Priority vehicles: what asking for green spares them and costs the others; rows of the suite `traffic-ours`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, figure
from iotlam.contracts import Json
from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import Scenario
from iotlam_traffic.evaluate import Outcome, Trial
from iotlam_traffic.suites.episodes import run_all

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


def measure_priority(trials: Sequence[Trial], progress: Progress) -> tuple[list[Json], dict[str, Metric]]:
    """Run the trials of `priority_trials`; returns a row for each, and the figures."""
    outcomes = run_all("Episodes with priority vehicles", trials, progress)
    rows = [_row(outcome) for outcome in outcomes]
    return rows, priority_figures(list(zip(outcomes[::2], outcomes[1::2], strict=True)))


def _row(outcome: Outcome) -> Json:
    """One episode; who is in charge has a key of its own, since streets with priority vehicles are other streets."""
    facts = outcome.as_json()
    return {"in_charge": facts.pop("controller"), "favoured": outcome.trial.rules.priority, **facts}


def priority_figures(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Metric]:
    """Figures of pairs on the same map and seed, without favour and with it.

    Medians over the pairs of the relative change of the priority vehicles' mean waiting, and of the other vehicles'
    mean delay: a jam of one run, with favour or without, says nothing of it.
    """
    known = [pair for pair in pairs if pair[0].trips.priority and pair[0].trips.priority.waiting_s > 0.0]
    wait, wait_ci95 = median_ci95([_change(pair, "priority", "waiting_s") for pair in known])
    cost, cost_ci95 = median_ci95([_change(pair, "others", "delay_s") for pair in known])
    return {
        "priority_wait_change": figure(wait, len(known), most=-0.80, anchor=PUBLISHED.format("-0.65"), ci95=wait_ci95),
        "priority_cost_to_others": figure(
            cost, len(known), most=0.005, anchor=PUBLISHED.format("< 0.01"), ci95=cost_ci95
        ),
    }


def _change(pair: tuple[Outcome, Outcome], group: str, column: str) -> float:
    """How much more it is with favour, as a share of what it is without."""
    off, on = (float(getattr(getattr(one.trips, group), column)) for one in pair)
    return on / off - 1.0
