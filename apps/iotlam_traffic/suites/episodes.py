"""What the suites of traffic do alike: races under a progress bar, and short ones to see that all works."""

from __future__ import annotations

from collections.abc import Sequence

from iotlam.bench.suite import Progress
from iotlam_street.scenarios import Scenario, between, find_scenario
from iotlam_traffic.evaluate import Outcome, Trial
from iotlam_traffic.race import race

WORKERS = 2
QUICK_S, QUICK_SEEDS = 600.0, (101, 102)
"""A quick run keeps away from the seeds of the test."""


def run_all(title: str, trials: Sequence[Trial], progress: Progress) -> list[Outcome]:
    """Outcomes in the order of the trials; those that this very code has measured before are read."""
    with progress(title, len(trials)) as step:
        return race(trials, WORKERS, lambda _: step(1))


def quick_scenario(name: str) -> Scenario:
    """The first ten minutes of a map."""
    whole = find_scenario(name)
    return between(whole, whole.begin_s, whole.begin_s + QUICK_S)
