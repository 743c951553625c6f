"""Suite `lora`: LoRA, full fine-tuning and simple rivals on a few labelled windows; and the adapter's hygiene."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from iotlam.bench.lora.arms import Arm, accuracies, arms, measure, sweep
from iotlam.bench.lora.hygiene import Hygiene, as_row, examine
from iotlam.bench.lora.windows import LABELLED, TEST, VALIDATION, Windows, balanced, draw_windows
from iotlam.bench.statistics import mean_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.decoder import PRESETS, decoder_folder, load_tokenizer
from iotlam.plugins import load_entry
from iotlam.training.shards import Shard
from iotlam.training.streams import Quantizer, load_quantizers

DECODER = "nano-street"
STREAMS, STREAMS_SEED, EPISODES = "traffic", 2, 24
"""Whose streams, and a seed and episodes that pretraining (seed 0) has not seen."""

WORK = Path("runs/bench-lora")
SWEEP_SEEDS, SEEDS = (0, 100), tuple(range(1, 31))
STEPS = 120
SMALL = ("mlp-codes", "mlp-measured", "neighbours", "ridge")


def lora(quick: bool, progress: Progress) -> SuiteResult:
    """Accuracy of every arm on the test windows, and differences that an adapter must not make.

    Args:
        quick: few episodes, windows and steps, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    with decoder_folder(DECODER) as folder:  # a decoder without a vocabulary is said before episodes are recorded
        tokenizer, quantizers = load_tokenizer(folder), load_quantizers(folder)
    paths = load_entry("iotlam.streams", STREAMS, "Streams")(WORK, STREAMS_SEED, 3 if quick else EPISODES).paths
    shards = [Shard.load(path) for path in paths]
    with progress("Drawing windows", None):
        parts = split(shards, tokenizer, quantizers, quick)
    competitors = arms(DECODER, DECODER, tokenizer.get_vocab_size())
    rows = race(competitors, parts, quick, progress)
    with progress("Adapter hygiene", None):
        hygiene = [examine(decoder, shards[0]) for decoder in _decoders()]
    rows += [as_row(each) for each in hygiene]
    return SuiteResult("lora", rows, figures(rows, hygiene), time.monotonic() - start)


def split(
    shards: Sequence[Shard], tokenizer: Tokenizer, quantizers: Mapping[str, Quantizer], quick: bool
) -> tuple[Windows, Windows, Windows]:
    """Windows to label, to choose settings on and to test on, from a third of the episodes each."""
    raw = []
    for turn, per_state in enumerate((LABELLED * (len(SWEEP_SEEDS) + len(SEEDS)), VALIDATION, TEST)):
        rng = np.random.default_rng((STREAMS_SEED, turn))
        raw.append(draw_windows(shards[turn::3], quantizers, tokenizer, per_state // (8 if quick else 1), rng))
    pool, validation, test = (part.standardised(like=raw[0]) for part in raw)
    return pool, validation, test


def race(
    competitors: Sequence[Arm], parts: tuple[Windows, Windows, Windows], quick: bool, progress: Progress
) -> list[Json]:
    """Choose each arm's setting on validation, then fit it for each seed and test it once.

    `full-equal-cpu` is full fine-tuning in as many steps as take the CPU time that LoRA took.
    """
    pool, validation, test = parts
    steps, per_state, seeds = (6, LABELLED // 8, SEEDS[:2]) if quick else (STEPS, LABELLED, SEEDS)
    drawn = {seed: balanced(pool, per_state, seed) for seed in (*SWEEP_SEEDS, *seeds)}
    swept = {seed: drawn[seed] for seed in SWEEP_SEEDS}
    rows: list[Json] = []
    best: dict[str, float] = {}
    with progress("Choosing settings on validation", len(competitors)) as step:
        for arm in competitors:
            best[arm.name], tried = sweep(arm, swept, validation, steps)
            rows += tried
            step(1)
    with progress("Testing", len(seeds)) as step:
        for seed in seeds:
            tested = [measure(arm, best[arm.name], drawn[seed], test, steps, seed, "test") for arm in competitors]
            cpu_s = {row["arm"]: row["fit_cpu_s"] for row in tested}
            full = next(arm for arm in competitors if arm.name == "full")
            fewer = max(1, round(steps * min(cpu_s["lora"] / max(cpu_s["full"], 1e-6), 1.0)))
            same_cpu = replace(full, name="full-equal-cpu")
            tested.append(measure(same_cpu, best["full"], drawn[seed], test, fewer, seed, "test"))
            rows += tested
            step(1)
    return rows


def figures(rows: Sequence[Json], hygiene: Sequence[Hygiene]) -> dict[str, Metric]:
    """The metrics, from the rows alone."""
    mean = {arm: float(np.mean(accuracies(rows, arm))) for arm in {row["arm"] for row in rows if "arm" in row}}
    small = max(SMALL, key=mean.__getitem__)
    tuned = next(row for row in rows if row.get("arm") == "lora")
    share = max(tuned["tuned"] / tuned["parameters"], *(each.share for each in hygiene))
    gap, gap_ci95 = _ahead(rows, "full")
    return {
        "trainable_share_all_in": figure(share, 1 + len(hygiene), most=0.05, anchor="paper 0.05 (published)"),
        "gap_to_full_tuning_points_lower95": _points_above(gap_ci95[0], -1.0, rows, "full", gap_ci95),
        "above_random_decoder_points": _above(rows, "random-lora", 2.0),
        "above_small_mlp_points": _above(rows, small, 2.0),
        "above_head_only_points": _above(rows, "head-only", None),
        "above_full_tuning_at_equal_cpu_points": _above(rows, "full-equal-cpu", None),
        "gap_to_full_tuning_points": _points_above(gap, None, rows, "full", gap_ci95),
        "lora_accuracy_percent": _accuracy(rows),
        "start_difference": figure(max(each.start for each in hygiene), len(hygiene), most=0.0),
        "reload_difference": figure(max(each.reload for each in hygiene), len(hygiene), most=0.0),
        "merge_difference": figure(max(each.merge for each in hygiene), len(hygiene), most=2e-6),
        "modules_outside_decoder": figure(sum(each.outside for each in hygiene), len(hygiene), most=0),
        "base_weights_changed": figure(sum(each.base_changed for each in hygiene), len(hygiene), most=0),
    }


def _decoders() -> list[str]:
    """The decoder under test, and the presets whose weights are here."""
    others = (name for name in PRESETS if name != DECODER)
    return [DECODER, *filter(_present, others)]


def _present(preset: str) -> bool:
    with decoder_folder(preset) as folder:
        return folder.is_dir()


def _ahead(rows: Sequence[Json], rival: str) -> tuple[float, tuple[float, float]]:
    """Points by which LoRA leads a rival, paired by seed."""
    pairs = zip(accuracies(rows, "lora"), accuracies(rows, rival), strict=True)
    return mean_ci95([ours - theirs for ours, theirs in pairs])


def _above(rows: Sequence[Json], rival: str, least: float | None) -> Metric:
    value, ci95 = _ahead(rows, rival)
    return _points_above(value, least, rows, rival, ci95)


def _points_above(
    value: float, least: float | None, rows: Sequence[Json], rival: str, ci95: tuple[float, float]
) -> Metric:
    theirs = accuracies(rows, rival)
    return figure(value, len(theirs), least=least, unit="points", anchor=f"{rival} {np.mean(theirs):.1f} %", ci95=ci95)


def _accuracy(rows: Sequence[Json]) -> Metric:
    values = accuracies(rows, "lora")
    mean, ci95 = mean_ci95(values)
    return figure(mean, len(values), unit="%", ci95=ci95)
