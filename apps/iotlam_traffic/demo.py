"""`iotlam demo traffic`: ours beside the rules on cologne1, ending in a page."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from iotlam.contracts import Json
from iotlam_street.scenarios import Scenario, between, find_scenario
from iotlam_traffic.evaluate import OURS, Trial
from iotlam_traffic.rules import RULES
from iotlam_traffic.show import show_runs

DEMO_MAP = "cologne1"
PAGE = "index.html"
QUICK_S = 600.0


def demo_scenario(quick: bool) -> Scenario:
    """The demo's hour of traffic, or its first ten minutes."""
    scenario = find_scenario(DEMO_MAP)
    return between(scenario, scenario.begin_s, scenario.begin_s + QUICK_S) if quick else scenario


def demo(out: Path, seed: int = 1, quick: bool = False) -> Json:
    """Run the demo; returns the table's rows, the page and the seconds it took.

    Args:
        out: folder of the page.
        seed: seed of SUMO and of the sensors' noise.
        quick: ten minutes of traffic instead of the hour.
    """
    start = time.monotonic()
    scenario = demo_scenario(quick)
    typer.echo(f"{DEMO_MAP}, {scenario.duration_s / 60:.0f} minutes of traffic, {1 + len(RULES)} controllers", err=True)
    result = show_runs([Trial(name, scenario, seed) for name in (OURS, *RULES)], out / PAGE, quick)
    for row in result["trips"]:
        typer.echo(f"{row['controller']:>14}  delay {row['delay_s']:6.2f} s per vehicle", err=True)
    seconds = time.monotonic() - start
    typer.echo(f"page: {result['page']}  ({seconds:.0f} s)", err=True)
    return {**result, "seconds": round(seconds, 1)}
