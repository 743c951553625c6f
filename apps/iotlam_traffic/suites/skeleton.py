"""Suite `skeleton`: the thinnest whole path, measured beside its rivals on cologne1."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.model import from_pretrained, save_pretrained
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_traffic.controller import SensorController
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.demo import demo_scenario
from iotlam_traffic.evaluate import OURS, Outcome, Trial, run_trial, run_trials
from iotlam_traffic.policy import load_policy
from iotlam_traffic.rules import RULES


def skeleton(quick: bool, progress: Progress) -> SuiteResult:
    """Delay against the rules, time of a decision, time of the demo, trainable share, reload.

    Args:
        quick: two seeds and ten minutes of traffic, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    scenario, seeds = demo_scenario(quick), TEST_SEEDS[: 2 if quick else 5]
    outcomes = _race(scenario, seeds, progress)
    with progress("A decision alone, then the demo", 2) as step:
        alone = run_trial(Trial(OURS, scenario, seeds[0]))
        step(1)
        demo_s = _demo_seconds(quick)
        step(1)
    with progress("Reload", None):
        different, compared = _reload_differences(scenario, seeds[0])
    share = load_policy(None).trainable_share()
    metrics = {
        "delay_over_fixed": _ratio(outcomes, "fixed", 0.60),
        "delay_over_greedy": _ratio(outcomes, "greedy", 1.10),
        "decision_p95_ms": _p95(alone.decision_ms),
        "demo_s": figure(demo_s, 1, most=180, unit="s"),
        "reload_decisions_different": figure(different, compared, most=0),
        "trainable_share": figure(share.ratio, 1, anchor="paper 0.05 (published)"),
    }
    return SuiteResult("skeleton", [o.as_json() for o in outcomes], metrics, time.monotonic() - start)


def _race(scenario: Scenario, seeds: Sequence[int], progress: Progress) -> list[Outcome]:
    trials = [Trial(name, scenario, seed) for seed in seeds for name in (OURS, *RULES)]
    with progress(f"Episodes on {scenario.name}", len(trials)) as step:
        return run_trials(trials, 2, lambda _: step(1))


def _ratio(outcomes: Sequence[Outcome], rival: str, bound: float) -> Metric:
    """Median over the seeds of our delay over the rival's on the same seed."""
    delay = {(o.trial.controller, o.trial.seed): o.trips.delay_s for o in outcomes}
    seeds = sorted({o.trial.seed for o in outcomes})
    median, ci95 = median_ci95([delay[OURS, seed] / delay[rival, seed] for seed in seeds])
    anchor = f"{rival} {np.median([delay[rival, seed] for seed in seeds]):.2f} s"
    return figure(median, len(seeds), most=bound, anchor=anchor, ci95=ci95)


def _p95(decision_ms: Sequence[float]) -> Metric:
    value = float(np.percentile(decision_ms, 95))
    return figure(value, len(decision_ms), most=80, unit="ms", anchor="VLMLight 11500 ms (published)")


def _demo_seconds(quick: bool) -> float:
    """Wall time of the command as a user gives it, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from iotlam.cli.main import run; run()", "demo", "traffic", "--out", folder]
        start = time.monotonic()
        subprocess.run([*command, *(["--quick"] if quick else [])], check=True, capture_output=True)
        return time.monotonic() - start


def _reload_differences(scenario: Scenario, seed: int) -> tuple[int, int]:
    """Decisions of a saved and reloaded policy that differ in choice or in any score, of how many."""
    model = load_policy(None)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, Path(folder) / "policy")
        again = from_pretrained(Path(folder) / "policy")
    controller, different = SensorController(model, seed=seed), []
    with Street(scenario, seed) as street:
        while not street.done:
            look = controller.look(street.junctions[0])
            reloaded = again.answer(look.tokens, look.query)
            different.append(not reloaded.logits_BP.equal(look.decision.logits_BP))
            street.advance([look.phase])
    return sum(different), len(different)
