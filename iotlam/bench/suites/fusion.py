"""Suite `fusion`: the gate's arithmetic, planted evidence, three kinds of information, missing and broken sensors."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from iotlam.bench.fusion import channel
from iotlam.bench.fusion.data import KINDS
from iotlam.bench.fusion.kinds import OURS, RIVALS, UNPRICED, measure_kinds
from iotlam.bench.fusion.planted import OURS as BITS
from iotlam.bench.fusion.planted import SAMPLE, measure_planted, retrained
from iotlam.bench.fusion.robustness import measure_robustness
from iotlam.bench.fusion.scenes import FAULTS, SUBSETS
from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json

SEEDS = range(30, 35)  # worlds below 30 and from 100 on were for developing


def fusion(quick: bool, progress: Progress) -> SuiteResult:
    """All figures of the fusion.

    Args:
        quick: one seed and short training, to see that it works; its figures of quality mean nothing.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    seeds, scale, samples = (SEEDS[:1], 0.02, 10**5) if quick else (SEEDS, 1.0, 10**6)

    def steps(count: int) -> int:
        return max(int(count * scale), 10)

    metrics = _channel(samples)
    rows: list[Json] = []
    with progress("Planted evidence", len(seeds) + 1) as step:
        for seed in seeds:
            rows.append(measure_planted(seed, steps(500)))
            step(1)
        rows.append(retrained(seeds[0], steps(300)))
        step(1)
    with progress("Unique, shared, synergy", len(seeds) * (len(RIVALS) + 3)) as step:
        for seed in seeds:
            rows += measure_kinds(seed, steps(500), step)
    with progress("Missing and broken sensors", len(seeds) * (len(SUBSETS) + len(FAULTS) + 1)) as step:
        for seed in seeds:
            rows += measure_robustness(seed, steps(2500), steps(250), step)
    metrics |= _planted(rows) | _kinds(rows) | _retained(rows)
    return SuiteResult("fusion", rows, metrics, time.monotonic() - start)


def _channel(samples: int) -> dict[str, Metric]:
    error, monte_carlo = channel.closed_form_error(), channel.monte_carlo_errors(samples)
    (change, m2ib), (gap, iba) = channel.rescaling_change(), channel.bound_gaps()
    return {
        "kl_closed_form_error": figure(error.value, error.tried, most=1e-5, unit="nats"),
        "kl_monte_carlo_standard_errors": figure(max(monte_carlo), len(monte_carlo), most=3.0, unit="s.e."),
        "kl_affine_rescaling_change": figure(
            change.value, change.tried, most=1e-5, anchor=f"M2IB's formula, x{m2ib:.1f} under x10"
        ),
        "bound_gap_nats_per_dim": figure(
            gap.value, gap.tried, most=1e-3, unit="nats", anchor=f"IBA {iba:.4f} nats at .5"
        ),
    }


def _planted(rows: Sequence[Json]) -> dict[str, Metric]:
    found = [row for row in rows if row["experiment"] == "planted"]
    names = [name for name in found[0]["auroc"] if name not in (BITS, SAMPLE)]
    best = max(names, key=lambda name: float(np.median([row["auroc"][name] for row in found])))
    ours, theirs = ([row["auroc"][name] for row in found] for name in (BITS, best))
    anchor = f"{best} {np.median(theirs):.3f}"
    return {
        "planted_auroc": _median(ours, least=0.98, anchor=anchor),
        "planted_auroc_above_best_rival": _median(
            [a - b for a, b in zip(ours, theirs, strict=True)], least=0.05, anchor=anchor
        ),
        "noise_modality_bits_per_token": _median(
            [row["noise_bits_per_token"] for row in found], most=0.05, unit="bits"
        ),
        "zero_bit_replacement_output_change": _median([row["zero_bit_change"] for row in found], most=0.01),
    }


def _kinds(rows: Sequence[Json]) -> dict[str, Metric]:
    by_network = {name: [r for r in rows if r.get("network") == name] for name in (OURS, UNPRICED, *RIVALS)}
    metrics = {}
    for kind in KINDS:
        points = {n: [r["points_below_bayes"][kind] for r in found] for n, found in by_network.items()}
        best = min(RIVALS, key=lambda name: float(np.median(points[name])))
        anchor = f"{best} {np.median(points[best]):.2f} points"
        metrics[f"bayes_gap_points_{kind}"] = _median(points[OURS], most=1.0, anchor=anchor, unit="points")
    ours, unpriced = ([r["bits_per_token"] for r in by_network[name]] for name in (OURS, UNPRICED))
    anchor = f"without a price on bits {np.median(unpriced):.1f} bits per token"
    ratios = [a / b for a, b in zip(ours, unpriced, strict=True)]
    return metrics | {"bits_against_concatenation": _median(ratios, most=0.5, anchor=anchor)}


def _retained(rows: Sequence[Json]) -> dict[str, Metric]:
    metrics = {}
    for kind in ("missing", "corrupt"):
        found = [r for r in rows if r["experiment"] == kind]
        ratio = {(r["seed"], r["case"]): r["accuracy"] / r["specialist"] for r in found}
        seeds = sorted({seed for seed, _ in ratio})
        worst = [min((value, case) for (s, case), value in ratio.items() if s == seed) for seed in seeds]
        accuracy = min(found, key=lambda r: ratio[r["seed"], r["case"]])
        anchor = f"specialist for {accuracy['case']} {accuracy['specialist']:.3f}"
        metrics[f"{kind}_modality_retained_min"] = _median([v for v, _ in worst], least=0.97, anchor=anchor)
    return metrics


def _median(
    values: Sequence[float], *, most: float | None = None, least: float | None = None, anchor: str = "", unit: str = ""
) -> Metric:
    value, ci95 = median_ci95(values)
    return figure(value, len(values), most=most, least=least, anchor=anchor, unit=unit, ci95=ci95)
