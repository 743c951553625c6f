"""Suite `traffic-speed`: what an environment adds to SUMO, and whether anything breaks it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.training.parallel import run_parallel
from iotlam.training.progress import Step
from iotlam_street.env import StreetEnv, StreetParallelEnv
from iotlam_street.scenarios import RESCO, Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_street.sumo import Engine, load_libsumo
from iotlam_traffic.rules import Greedy
from iotlam_traffic.suites.any_net import NetRun, listen, run_net
from iotlam_traffic.suites.sensing import occlusion_errors, three_sensors_ms

SEED = 101
MAPS = ("cologne1", "cologne8", "grid4x4")
"""Where the overhead is measured: one signal, eight of a town, sixteen of a grid; the figure is the middle one's."""

REPEATABLE = ("cologne1", "cologne3", "ingolstadt1")
RANDOM_NETS = 20
RESETS = 1000

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Replay:
    """An episode whose decisions are known beforehand.

    Attributes:
        scenario: net, demand and hour.
        phases: of each decision, the phase of every signal.
        shown: what each signal was told in its course, and when.
    """

    scenario: Scenario
    phases: list[list[int]]
    shown: list[tuple[float, str, str]]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of an episode; vehicles that departed in it and that were on the road at its end."""

    cpu_s: float
    departed: int
    on_road: int


def traffic_speed(quick: bool, progress: Progress) -> SuiteResult:
    """Overhead, parallel processes, leaks, random nets, repeatability, and the sensors' time and truth.

    Args:
        quick: few and short runs, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    rows, metrics = _overhead(quick, progress)
    with progress("One process and two", None):
        metrics["two_processes_speedup"] = _speedup(quick)
    with progress("Resets", None):
        (growth_mb,) = _fresh(growth_mb_after, [20 if quick else RESETS])
    metrics["growth_after_1000_resets_mb"] = figure(growth_mb, 20 if quick else RESETS, most=5, unit="MB")
    for name, sources in (
        ("random_nets_run", list(range(1, 1 + (3 if quick else RANDOM_NETS)))),
        ("resco_nets_run", list(RESCO[:2] if quick else RESCO)),
    ):
        jobs = [NetRun(source, 60.0 if quick else 600.0) for source in sources]
        with progress(name.replace("_", " "), len(jobs)) as step:
            found = run_parallel(run_net, jobs, 2, partial(_count, step))
        metrics[name] = figure(sum(not row["error"] for row in found), len(jobs), least=len(jobs))
        rows += found
    metrics["same_seed_different_bytes"] = _repeatable(quick, progress)
    with progress("Sensors", None):
        metrics |= _sensors(quick)
    return SuiteResult("traffic-speed", rows, metrics, time.monotonic() - start)


def _count(step: Step, done: object) -> None:
    step(1)


def _fresh(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """One after the other, each in a process of its own."""
    return run_parallel(work, items, 1, lambda _: None)


# --- overhead


def _overhead(quick: bool, progress: Progress) -> tuple[list[Json], dict[str, Metric]]:
    """Of each map, an episode in the environment over one in a bare loop that shows the same lights."""
    pairs, rows = (1 if quick else 7), []
    ratios: dict[str, list[float]] = {name: [] for name in MAPS}
    with progress("Episodes and bare loops", pairs * len(MAPS)) as step:
        for name in MAPS:
            scenario = find_scenario(name)
            scenario = replace(scenario, end_s=scenario.begin_s + 300.0) if quick else scenario
            (replay,) = _fresh(record, [scenario])
            for pair in range(pairs):
                order = (drive_env, drive_bare) if pair % 2 else (drive_bare, drive_env)
                cost = {drive: _fresh(drive, [replay])[0] for drive in order}
                ours, bare = cost[drive_env], cost[drive_bare]
                ratios[name].append(ours.cpu_s / bare.cpu_s)
                rows.append(
                    {"map": name, "env_cpu_s": ours.cpu_s, "bare_cpu_s": bare.cpu_s}
                    | {"departed": ours.departed, "bare_departed": bare.departed}
                    | {"on_road": ours.on_road, "bare_on_road": bare.on_road}
                )
                step(1)
    metrics = {}
    for name, of_map in ratios.items():
        median, ci95 = median_ci95(of_map)
        metrics[f"episode_cpu_over_bare_libsumo_{name}"] = figure(median, pairs, ci95=ci95)
    middle = sorted(metrics.values(), key=lambda metric: metric.value)[len(metrics) // 2]
    anchor = "sumo-rl on libsumo 1.27, fixed lights (measured elsewhere)"
    metrics["episode_cpu_over_bare_libsumo"] = figure(middle.value, pairs, most=1.10, anchor=anchor, ci95=middle.ci95)
    return rows, metrics


def record(scenario: Scenario) -> Replay:
    """Drive greedily once, and keep the decisions and what the signals were told."""
    replay, greedy = Replay(scenario, [], []), Greedy()
    with Street(scenario, SEED) as street:
        listen(street, lambda *told: replay.shown.append(told))
        while not street.done:
            replay.phases.append(greedy.choose(street.junctions))
            street.advance(replay.phases[-1])
    return replay


def drive_env(replay: Replay) -> Cost:
    """The decisions in the environment: observations, allowed phases, rewards, trip metrics.

    Nets are read and SUMO is imported when an environment is made; that is no part of an episode.
    """
    env = StreetParallelEnv(replay.scenario)
    load_libsumo()
    actions = [dict(zip(env.possible_agents, map(np.int64, phases), strict=True)) for phases in replay.phases]
    start = time.process_time()
    env.reset(seed=SEED)
    for action in actions:
        *_, infos = env.step(action)
    cpu_s = time.process_time() - start
    trips = infos[env.possible_agents[0]]["trips"]
    return Cost(cpu_s, trips.vehicles - trips.never_departed, trips.unfinished)


def drive_bare(replay: Replay) -> Cost:
    """The same lights in a loop of one call a second, which asks nothing."""
    libsumo, scenario = load_libsumo(), replay.scenario
    told: dict[float, list[tuple[str, str]]] = {}
    for time_s, signal, state in replay.shown:
        told.setdefault(time_s, []).append((signal, state))
    start = time.process_time()
    libsumo.start(["sumo", *bare_arguments(scenario)])
    show, step, now_s = libsumo.trafficlight.setRedYellowGreenState, libsumo.simulationStep, scenario.begin_s
    while now_s < scenario.end_s:
        for signal, state in told.get(now_s, ()):
            show(signal, state)
        step()
        now_s += 1.0
    departed, on_road = (
        int(libsumo.simulation.getParameter("", f"stats.vehicles.{what}")) for what in ("inserted", "running")
    )
    libsumo.close()
    return Cost(time.process_time() - start, departed, on_road)


def bare_arguments(scenario: Scenario) -> list[str]:
    """What SUMO needs to run a scenario as we do, and no output."""
    files = ["-n", str(scenario.net), "-r", ",".join(map(str, scenario.routes))]
    span = ["-b", str(scenario.begin_s), "-e", str(scenario.end_s), "--seed", str(SEED)]
    return [*files, *span, "--time-to-teleport", "-1", "--no-step-log", "--no-warnings", "--duration-log.disable"]


# --- processes and leaks


def _speedup(quick: bool) -> Metric:
    """Wall time of four episodes one after the other over that of two at a time, median of repeats."""
    scenario = find_scenario("cologne1" if quick else "cologne8")
    (replay,) = _fresh(record, [replace(scenario, end_s=scenario.begin_s + 300.0) if quick else scenario])
    ratios = []
    for _ in range(1 if quick else 5):
        wall_s = []
        for workers in (1, 2):
            start = time.monotonic()
            run_parallel(drive_env, [replay] * 4, workers, lambda _: None)
            wall_s.append(time.monotonic() - start)
        ratios.append(wall_s[0] / wall_s[1])
    median, ci95 = median_ci95(ratios)
    return figure(median, len(ratios), least=1.9, ci95=ci95)


def growth_mb_after(resets: int) -> float:
    """Growth of the process over so many resets of an environment, each with a first step; MB."""
    scenario = find_scenario("cologne1")
    env = StreetEnv(replace(scenario, end_s=scenario.begin_s + 30.0))
    for turn in range(resets + 10):
        if turn == 10:  # caches are filled
            before_mb = _resident_mb()
        env.reset(seed=SEED)
        env.step(np.int64(1))
    env.close()
    return _resident_mb() - before_mb


def _resident_mb() -> float:
    """Resident memory of this process; its peak where the system does not tell the present size."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().partition("VmRSS:")[2].split()[0]) / 1024.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024.0)


# --- repeatability and sensors


def _repeatable(quick: bool, progress: Progress) -> Metric:
    """Bytes of the list of trips that differ between two runs of one seed, and between libsumo and TraCI."""
    different = compared = 0
    maps = REPEATABLE[:1] if quick else REPEATABLE
    with progress("Same seed", 3 * len(maps)) as step:
        for name in maps:
            scenario = find_scenario(name)
            scenario = replace(scenario, end_s=scenario.begin_s + (120.0 if quick else 1200.0))
            jobs: list[tuple[Scenario, Engine]] = [(scenario, "libsumo"), (scenario, "libsumo"), (scenario, "traci")]
            first, *others = run_parallel(list_of_trips, jobs, 1, lambda _: step(1))
            compared += len(first) * len(others)
            different += sum(bytes_different(first, other) for other in others)
    return figure(different, compared, most=0)


def list_of_trips(job: tuple[Scenario, Engine]) -> bytes:
    """SUMO's list of trips of a greedy episode, less its header, which names the program and the time of day."""
    (scenario, engine), greedy = job, Greedy()
    with tempfile.TemporaryDirectory() as folder, Street(scenario, SEED, engine=engine, list_trips=True) as street:
        while not street.done:
            street.advance(greedy.choose(street.junctions))
        street.finish(Path(folder) / "trips.xml")
        return (Path(folder) / "trips.xml").read_bytes().partition(b"<tripinfos")[2]


def bytes_different(one: bytes, other: bytes) -> int:
    """Places at which two texts differ; what one has beyond the other counts."""
    both = min(len(one), len(other))
    differ = np.frombuffer(one, np.uint8, both) != np.frombuffer(other, np.uint8, both)
    return int(differ.sum()) + max(len(one), len(other)) - both


def _sensors(quick: bool) -> dict[str, Metric]:
    """Time of three sensors for one decision, and what they see through other things."""
    values, scenes = three_sensors_ms(quick), 100 if quick else 10_000
    median, ci95 = median_ci95(values)
    anchor = "plain numpy 12.5 ms for two sensors"
    return {
        "three_sensors_ms": figure(median, len(values), most=5, unit="ms", anchor=anchor, ci95=ci95),
        "occlusion_errors": figure(occlusion_errors(scenes), scenes, most=0),
    }
