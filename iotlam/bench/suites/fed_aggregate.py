"""Suite `fed-aggregate`: how exact the aggregate of unequal adapters is, mode by mode, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.federated.aggregation import MODES, Mode, ProductSvd, Update, fresh_a
from iotlam.federated.factors import Factors, total

SETS = 200
"""Random sets of ranks."""

RANKS = (4, 8, 16, 32, 64)
EXACT = ("product_svd", "stack", "residual", "freeze_a", "alternate")

WIDE, LAYERS, CLIENTS, CLIENT_RANKS, ROUNDS = 768, 24, 20, (4, 8, 16, 32), 3


def aggregate(quick: bool, progress: Progress) -> SuiteResult:
    """Errors on random sets of ranks, and the time of a round of 20 clients on 24 layers of 768 x 768.

    Args:
        quick: few sets and layers, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    count = 10 if quick else SETS
    with progress("Sets of ranks", count) as step:
        rows = []
        for seed in range(count):
            rows += [_errors(name, seed) for name in MODES]
            step(1)
    timed = _timed(2 if quick else LAYERS, progress)
    return SuiteResult("fed-aggregate", rows + timed, figures(rows, timed), time.monotonic() - start)


def figures(rows: Sequence[Json], timed: Sequence[Json]) -> dict[str, Metric]:
    """The worst errors, and the median time of a layer."""
    worst = {name: max(row["error"] for row in rows if row["mode"] == name) for name in MODES}
    typical = {name: median(row["error"] for row in rows if row["mode"] == name) for name in MODES}
    sets = len(rows) // len(MODES)
    over = [row["over_optimum"] for row in rows if row["mode"] == "product_svd"]
    rivals = [f"{name} {typical[name]:.2g}" for name in ("zero_pad", "zero_pad_sparsity", "product_mean", "fold")]
    lost = [row["lost"] for row in rows if row["mode"] == "product_svd"]
    found = {
        "aggregate_error": figure(worst["product_svd"], sets, most=1e-6, anchor=f"medians: {', '.join(rivals)}"),
        "lost_by_what_is_kept_median": figure(median(lost), sets),
        "lost_by_what_is_kept_worst": figure(max(lost), sets),
        "truncation_over_optimum": figure(max(over), sets, most=1.0001, anchor="Eckart-Young 1"),
        "layer_ms": figure(
            median(row["product_ms"] for row in timed),
            len(timed),
            most=50,
            unit="ms",
            anchor=f"full decomposition {median(row['dense_ms'] for row in timed):.0f} ms",
        ),
        "lost_of_twenty_clients": figure(max(row["lost"] for row in timed), len(timed)),
    }
    return found | {f"aggregate_error_{name}": figure(worst[name], sets) for name in EXACT[1:]}


def _errors(name: str, seed: int) -> Json:
    """Two rounds of one set of ranks; the second begins with what the first has left."""
    rng = np.random.default_rng((seed, 61))
    ranks = rng.choice(RANKS, size=rng.integers(3, 11)).tolist()
    shape = tuple(rng.choice((96, 160, 256), size=2).tolist())
    share_N = rng.dirichlet(np.ones(len(ranks)))
    mode, error, lost = _mode(name, shape, max(ranks), seed), 0.0, 0.0
    for number in range(2):
        before = _dense(mode.whole())
        updates = _updates(mode, ranks, share_N.tolist(), number, seed)
        wanted = before + sum(update.weight * _moved(update) for update in updates)
        if isinstance(mode, ProductSvd):  # before it is cut to what is kept
            whole = mode.added(updates)
            found = (whole.u_OR * whole.s_R) @ whole.v_RI
        mode.merge(updates, number)
        if not isinstance(mode, ProductSvd):
            found = _dense(mode.whole())
        error = max(error, _apart(found, wanted))
        lost = max(lost, _apart(_dense(mode.whole()), wanted))
    row: Json = {"mode": name, "set": seed, "devices": len(ranks), "error": error, "lost": lost}
    return row | {"over_optimum": _over(mode, ranks)}


def _over(mode: Mode, ranks: Sequence[int]) -> float:
    """How much farther than the nearest of its rank the worst device's part is from the whole."""
    whole = _dense(mode.whole())
    values = torch.linalg.svdvals(whole)
    worst = 1.0
    for rank in set(ranks):
        least = float(values[rank:].norm())
        given = mode.assign(0, rank, 2)
        missed = float((whole - _dense(total([given.frozen, given.start]))).norm())
        worst = max(worst, missed / least) if least > 1e-9 * float(values[0]) else worst
    return worst


def _timed(layers: int, progress: Progress) -> list[Json]:
    """Layers of a round in which the whole is as full as it gets, and a full decomposition of the same sum."""
    ranks, rows = [CLIENT_RANKS[client % len(CLIENT_RANKS)] for client in range(CLIENTS)], []
    with progress("Layers of 768 x 768", layers) as step:
        for layer in range(layers):
            mode = _mode("product_svd", (WIDE, WIDE), max(ranks), layer)
            for number in range(ROUNDS):
                updates = _updates(mode, ranks, [1 / CLIENTS] * CLIENTS, number, layer)
                exact = _dense(mode.whole()) + sum(update.weight * _moved(update) for update in updates)
                product_ms = _milliseconds(lambda m=mode, u=updates, n=number: m.merge(u, n))  # type: ignore[misc]
            lost = _apart(_dense(mode.whole()), exact)
            dense_ms = _milliseconds(lambda e=exact: torch.linalg.svd(e, full_matrices=False))  # type: ignore[misc]
            rows.append({"layer": layer, "product_ms": product_ms, "dense_ms": dense_ms, "lost": lost})
            step(1)
    return rows


def _milliseconds(work: Callable[[], object]) -> float:
    """CPU time, which other work on the machine changes little."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def _mode(name: str, shape: tuple[int, ...], most: int, seed: int) -> Mode:
    outputs, inputs = shape
    empty = Factors(torch.zeros(outputs, most, dtype=torch.float64), torch.zeros(most, inputs, dtype=torch.float64))
    return MODES[name](Factors(empty.b_OR, fresh_a(empty, seed, 0)), seed)


def _updates(mode: Mode, ranks: Sequence[int], shares: Sequence[float], number: int, seed: int) -> list[Update]:
    """What devices make of their parts: changes of which half is common to all, in float32 as they send it."""
    draw = torch.Generator().manual_seed(1000 * seed + number)
    most = max(ranks)
    outputs, inputs = mode.whole().shape
    common = torch.randn(outputs, most, generator=draw), torch.randn(most, inputs, generator=draw)
    updates = []
    for device, (rank, share) in enumerate(zip(ranks, shares, strict=True)):
        given = mode.assign(device, rank, number)
        b_OR, a_RI = given.start.b_OR.float(), given.start.a_RI.float()
        if "b" in given.trains:
            b_OR = b_OR + 0.1 * (common[0][:, :rank] + torch.randn(outputs, rank, generator=draw))
        if "a" in given.trains:
            a_RI = a_RI + 0.1 * (common[1][:rank] + torch.randn(rank, inputs, generator=draw))
        updates.append(Update(given, Factors(b_OR, a_RI), share))
    return updates


def _moved(update: Update) -> Tensor:
    return _dense(update.trained.double()) - _dense(update.assignment.start)


def _apart(found: Tensor, wanted: Tensor) -> float:
    """Relative distance (Frobenius)."""
    return float((found - wanted).norm() / wanted.norm())


def _dense(factors: Factors) -> Tensor:
    return factors.b_OR @ factors.a_RI
