"""Suite `traffic-faults`: what failing sensors and bad weather cost the policy that drives by them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam_street.faults import SensorFaults
from iotlam_street.scenarios import find_scenario
from iotlam_street.weather import CLEAR, WEATHERS, Weather
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.evaluate import OURS, Outcome, Trial
from iotlam_traffic.suites.episodes import QUICK_SEEDS, quick_scenario, run_all

RIVAL, WHOLE = "actuated", "none"
MAPS = ("cologne1", "ingolstadt1")
"""Where sensors fail."""

SENSORS = ("lidar", "radar", "video")


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong in a trial: faults of the sensors, or weather in their way."""

    faults: SensorFaults = SensorFaults()
    weather: Weather = CLEAR


ONE_DEAD = {f"{name} dead": Case(SensorFaults(dead=(name,))) for name in SENSORS}
TWO_DEAD = {f"{name} alone": Case(SensorFaults(dead=tuple(s for s in SENSORS if s != name))) for name in SENSORS}
CASES = {
    WHOLE: Case(),
    **ONE_DEAD,
    "half the frames lost": Case(SensorFaults(lost=0.5)),
    "sigma 30 m": Case(SensorFaults(sigma_m=30.0)),
    "detection 72 %": Case(SensorFaults(detection=0.72)),
    **TWO_DEAD,
    **{name: Case(weather=weather) for name, weather in WEATHERS.items() if weather != CLEAR},
}
"""What is tried, by the name it has in the rows."""

Delays = Mapping[tuple[str, str, int], float]
"""Seconds by map, case (or `actuated`) and seed."""


def faults(quick: bool, progress: Progress) -> SuiteResult:
    """Delay with each fault, as a ratio to that of the same policy on the same map and seed without it.

    Args:
        quick: one seed, ten minutes of traffic, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    scenarios = [quick_scenario(name) if quick else find_scenario(name) for name in MAPS]
    seeds = QUICK_SEEDS[:1] if quick else TEST_SEEDS
    entries = {name: (OURS, case) for name, case in CASES.items()} | {RIVAL: (RIVAL, Case())}
    trials = {
        (name, scenario, seed): Trial(who, scenario, seed, faults=case.faults, weather=case.weather)
        for scenario in scenarios
        for seed in seeds
        for name, (who, case) in entries.items()
    }
    outcomes = run_all("Episodes with failing sensors", list(trials.values()), progress)
    rows = [row_of(name, outcome) for (name, _, _), outcome in zip(trials, outcomes, strict=True)]
    return SuiteResult("traffic-faults", rows, figures(rows), time.monotonic() - start)


def row_of(case: str, outcome: Outcome) -> Json:
    """One episode as a row."""
    return {"fault": case, **outcome.as_json()}


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """The targets, and what each case costs on its worse map."""
    delays = {(row["scenario"], row["fault"], row["seed"]): row["delay_s"] for row in rows}
    found = {
        "one_modality_dead": _loss(delays, list(ONE_DEAD), 0.03),
        "half_frames_lost": _loss(delays, ["half the frames lost"], 0.05),
        "sigma_30_m": _loss(delays, ["sigma 30 m"], 0.01, "CoordLight 0.0234 (published, travel time)"),
        "detection_72_pct": _loss(delays, ["detection 72 %"], 0.03),
        "two_dead_over_actuated": _over_rival(delays),
    }
    others = [name for name, case in CASES.items() if case.weather != CLEAR]
    return found | {f"{name}_loss".replace(" ", "_"): _loss(delays, [name], None) for name in [*ONE_DEAD, *others]}


def _loss(delays: Delays, cases: Sequence[str], most: float | None, anchor: str = "") -> Metric:
    """Relative loss of delay: the worst case on the worse map, each the median over the seeds."""
    worst, ci95, count = _worst(
        [_ratios(delays, map_name, case, WHOLE) for map_name in _maps(delays) for case in cases]
    )
    return figure(worst - 1.0, count, most=most, anchor=anchor, ci95=(ci95[0] - 1.0, ci95[1] - 1.0))


def _over_rival(delays: Delays) -> Metric:
    """Delay with the worst sensor alone over the rival's, on the worse map."""
    ratios = [_ratios(delays, map_name, case, RIVAL) for map_name in _maps(delays) for case in TWO_DEAD]
    worst, ci95, count = _worst(ratios)
    return figure(worst, count, most=1.0, anchor=RIVAL, ci95=ci95)


def _worst(groups: Sequence[Sequence[float]]) -> tuple[float, tuple[float, float], int]:
    """Median, interval and size of the group of greatest median."""
    (median, ci95), group = max(((median_ci95(group), group) for group in groups), key=lambda each: each[0][0])
    return median, ci95, len(group)


def _ratios(delays: Delays, map_name: str, case: str, reference: str) -> list[float]:
    """Over the seeds of a map: delay in one case over that in another."""
    seeds = sorted({seed for name, _, seed in delays if name == map_name})
    return [delays[map_name, case, seed] / delays[map_name, reference, seed] for seed in seeds]


def _maps(delays: Delays) -> list[str]:
    return list(dict.fromkeys(name for name, _, _ in delays))
