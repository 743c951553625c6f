"""Suite `fed-radio`: who takes part in a round and how the band is split, against trying all, solvers and simple rules.

Fleets, channels and demands are drawn by `iotlam_edge`; a request is to train the model of machine faults at some rank.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from scipy.optimize import minimize

from iotlam.bench.statistics import mean_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.federated.radio import Requests, Work, requests, seconds, split
from iotlam.federated.selection import Choice, Indices, cheapest, select
from iotlam_edge.channels import channels
from iotlam_edge.fleet import Fleet, draw_fleet
from iotlam_faults.federated import STEP_FLOPS

BAND_HZ, SERVER_W = 5e6, 1.0
"""A private band of 5 MHz, and what a small base station transmits to one device."""

DRAWS, SMALL, LARGE, LARGE_DRAWS, LATENCY_DRAWS, FLEETS, ROUNDS = 1000, 10, 100, 30, 40, 10, 40

WITH_RANKS = 8
"""Devices up to which a small fleet asks for several ranks: of ten that do, too many sets would have to be tried."""

VALUES = 29_280
"""Numbers of the shipped model's adapter for each unit of rank: four bytes each on the way down, one on the way up."""

OTHERS = 140_000
"""Weights outside the decoder."""

FLOPS = 10 * STEP_FLOPS
"""Of a device's training in a round."""

RANKS, OPTIONS = (2, 4, 8, 16, 32), 3
"""Ranks, of which a device asks for so many, as a run's planner has it."""


def radio(quick: bool, progress: Progress) -> SuiteResult:
    """Gap to the best set, certified gap, time of a decision, and rounds against equal parts for a random set.

    Args:
        quick: few draws, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    draws, large, latency, fleets = (20, 3, 3, 2) if quick else (DRAWS, LARGE_DRAWS, LATENCY_DRAWS, FLEETS)
    rows: list[Json] = []
    for title, count, measure in (
        ("Small fleets, all sets tried", draws, _small),
        ("Fleets of a hundred", large, _large),
        ("Splits against a solver", latency, _latency),
        ("Rounds over fading channels", fleets * ROUNDS, _round),
    ):
        with progress(title, count) as step:
            for number in range(count):
                rows.append(measure(number))
                step(1)
    return SuiteResult("fed-radio", rows, figures(rows), time.monotonic() - start)


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """The worst gaps, the median time and the ratio of slow rounds."""
    small, large, latency, rounds = (_of(rows, kind) for kind in ("small", "large", "latency", "round"))
    rivals = ("random_s", "random_least_ranks_s", "equal_s")
    times = {who: _times_as_long(rounds, who) for who in rivals}
    over, ci95 = mean_ci95(times["random_s"])
    others = [
        f"{who} {np.mean(times[name]):.2f} times as long"
        for who, name in (
            ("the same devices, equal parts:", "equal_s"),
            ("random at least ranks:", "random_least_ranks_s"),
        )
    ]
    return {
        "gap_to_exhaustive_max": figure(max(row["gap"] for row in small), len(small), most=1e-9),
        "certified_gap_n100": figure(max(row["gap"] for row in large), len(large), most=0.01),
        "decision_ms": figure(median(row["ms"] for row in large), len(large), most=50, unit="ms"),
        "decision_worst_ms": figure(max(row["ms"] for row in large), len(large), unit="ms"),
        "p95_round_speedup_over_equal_random": figure(
            over, len(times["random_s"]), least=2.0, ci95=ci95, anchor="; ".join(others)
        ),
        "two_way_latency_relative_error": figure(
            max(row["error"] for row in latency), len(latency), most=1e-6, anchor="SLSQP"
        ),
        "devices_of_a_round": figure(median(row["devices"] for row in rounds), len(rounds)),
    }


def _times_as_long(rounds: Sequence[Json], rival: str) -> list[float]:
    """A rival's 95th percentile of round times over ours, by fleet."""
    found = []
    for fleet in sorted({row["fleet"] for row in rounds}):
        slow = [np.percentile([row[who] for row in rounds if row["fleet"] == fleet], 95) for who in (rival, "ours_s")]
        found.append(float(slow[0] / slow[1]))
    return found


def _of(rows: Sequence[Json], kind: str) -> list[Json]:
    return [row for row in rows if row["kind"] == kind]


def _asked(fleet: Fleet, seed: int, number: int, options: int) -> tuple[Requests, Indices]:
    """Each device asks for some ranks, up to the greatest that it can train."""
    found = channels(fleet.devices, seed, number)
    works, devices, states, whose = [], [], [], []
    for place, (device, state) in enumerate(zip(fleet.devices, found, strict=True)):
        ranks = [rank for rank in RANKS if rank <= fleet.ranks[device.name]][-options:]
        for rank in ranks:
            values = VALUES * rank + OTHERS
            works.append(Work(32.0 * values, device.compute_s(FLOPS), 8.0 * values))
            devices.append(device)
            states.append(state)
            whose.append(place)
    return requests(works, devices, states, SERVER_W), np.array(whose, dtype=np.intp)


def _choice(count: int, seed: int, options: int) -> Choice:
    """A fleet and what its devices' rounds are worth: from hardly anything to more than any round costs."""
    rng = np.random.default_rng((seed, 71))
    asked, device_R = _asked(draw_fleet(count, seed), seed, 0, options)
    scale = float(np.median(asked.least_s)) * 10 ** rng.uniform(-1.5, 1.5)
    worth_N = scale * rng.uniform(0.2, 3.0, count)
    place_R = np.concatenate([np.arange(1, 1 + size) for size in np.unique(device_R, return_counts=True)[1]])
    return Choice(asked, device_R, worth_N[device_R] * np.sqrt(place_R))


def _sizes(seed: int) -> tuple[int, int]:
    """Devices of a small fleet, and ranks that each may ask for: every count meets every number of them in turn."""
    turn, place = divmod(seed, SMALL - 1)
    count = 2 + place
    return count, 1 if count > WITH_RANKS else 1 + turn % OPTIONS


def _small(seed: int) -> Json:
    count, options = _sizes(seed)
    choice = _choice(count, seed, options)
    best = cheapest(choice, BAND_HZ)
    return {"kind": "small", "seed": seed, "devices": count, "gap": select(choice, BAND_HZ).cost_s / best.cost_s - 1}


def _large(seed: int) -> Json:
    choice = _choice(LARGE, 10_000 + seed, options=OPTIONS)
    start = time.process_time()
    found = select(choice, BAND_HZ)
    return {
        "kind": "large",
        "seed": seed,
        "granted": len(found.granted),
        "gap": found.gap,
        "ms": (time.process_time() - start) * 1e3,
    }


def _latency(seed: int) -> Json:
    """Two-way latency of a fixed set against a general solver that starts from equal parts, and from ours."""
    count = 1 + seed % 5
    asked, _ = _asked(draw_fleet(count, 20_000 + seed), seed, 0, options=1)
    ours = split(asked, BAND_HZ)
    found = [_solved(asked, start, ours.round_s) for start in (np.zeros(2 * count), _logits(ours.down_hz, ours.up_hz))]
    return {"kind": "latency", "seed": seed, "devices": count, "error": max(ours.round_s / min(found) - 1, 0.0)}


def _logits(down_hz: np.ndarray, up_hz: np.ndarray) -> np.ndarray:
    logits: np.ndarray = np.log(np.concatenate([down_hz, up_hz]) / BAND_HZ)
    return logits


def _solved(asked: Requests, first: np.ndarray, unit_s: float) -> float:
    """The shortest round that SLSQP finds."""

    def times_s(logits: np.ndarray) -> np.ndarray:
        part = np.exp(logits - logits.max())
        hz = BAND_HZ * part / part.sum()
        found: np.ndarray = seconds(asked, hz[: len(asked)], hz[len(asked) :])
        return found

    start = np.append(first, times_s(first).max() / unit_s)
    room = {"type": "ineq", "fun": lambda x: x[-1] - times_s(x[:-1]) / unit_s}
    solved = minimize(
        lambda x: x[-1], start, method="SLSQP", constraints=room, options={"maxiter": 1000, "ftol": 1e-15}
    )
    return float(times_s(solved.x[:-1]).max())


def _round(number: int) -> Json:
    """One round of twenty devices: ours, and equal parts of the band for as many devices drawn at random.

    Those train at the greatest rank that they can, or at the least that they ask for.
    """
    seed = 1 + number // ROUNDS
    fleet = draw_fleet(20, seed)
    asked, device_R = _asked(fleet, seed, number, OPTIONS)
    found = select(Choice(asked, device_R, _worth(asked, device_R)), BAND_HZ)
    rng = np.random.default_rng((number, 73))
    drawn = rng.choice(len(fleet.devices), len(found.granted), replace=False)
    least, greatest = (np.array([np.flatnonzero(device_R == one)[place] for one in drawn]) for place in (0, -1))
    return {
        "kind": "round",
        "number": number,
        "fleet": seed,
        "devices": len(found.granted),
        "ours_s": found.split.round_s,
        "random_s": _equal_s(asked, greatest),
        "random_least_ranks_s": _equal_s(asked, least),
        "equal_s": _equal_s(asked, found.granted),
    }


def _worth(asked: Requests, device_R: Indices) -> np.ndarray:
    """Each device is worth a fifth of what a typical round takes, its smaller ranks a part of that."""
    typical_s = float(np.median(asked.least_s)) * 4
    place_R = np.concatenate([np.arange(1, 1 + size) / size for size in np.unique(device_R, return_counts=True)[1]])
    worth_R: np.ndarray = typical_s / 5 * np.sqrt(place_R)
    return worth_R


def _equal_s(asked: Requests, members: Indices) -> float:
    part_hz = BAND_HZ / (2 * len(members))
    return float(seconds(asked[members], part_hz, part_hz).max())
