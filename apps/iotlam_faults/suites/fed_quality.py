"""Suite `fed-quality`: what federated rounds learn beside one model on all data, and beside how others aggregate.

Devices hold recordings of CWRU: drive end and fan end, one class of bearing each, or all that is there dealt out. In
each split one bearing of each fault and end is kept from all of them; a score is the area under the curve of each fault
on these, averaged. The model has learnt nothing of faults before: its decoder is the shipped one. What devices of
unlike sensors gain from modules of their own is measured on simulated machines (`fed_distillation`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from iotlam.bench.kept import run_kept
from iotlam.bench.statistics import mean_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.federated import aggregation
from iotlam.federated.adapter import RoundModel
from iotlam.federated.central import central
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.rounds import Run
from iotlam.model import IotlamModel
from iotlam.training.shards import PRESENT, Sample, Shard
from iotlam_faults.federated import Source, bearings, task, told_apart, unlearnt
from iotlam_faults.query import FAULTS
from iotlam_faults.suites import fed_distillation
from iotlam_faults.suites.attacks import ATTACKS

SEEDS = 5
RANKS = (2, 2, 4, 4, 8, 8, 16, 32)
"""Of the eight devices, dealt anew in each split."""

ROUNDS, STEPS, LEARNING_RATE = 12, 10, 2e-3
WINDOWS = 40
"""Of a bearing, at most."""

ENDS, WORKERS = ("DE", "FE"), 2
SOUND = "sound"
ONE_CLASS, ALIKE, ATTACKED = "one class each", "alike", "attacked"
CENTRAL, ALONE, CLEAN = "central", "alone", "clean"
MODES = tuple(aggregation.MODES)
ROUNDED = "zero_pad_8_bit"
"""Zero-padding whose changes travel in eight bits, as ours do."""
RULE, HONEST, ATTACKERS = "multi_krum", 7, 3


Windows = Mapping[tuple[str, str], list[list[Sample]]]
"""Of each bearing, by end of the machine and fault."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One measurement.

    Attributes:
        setting: who holds what.
        method: a mode of aggregation, one model on all data (`central`), each device by itself (`alone`), or an attack.
        seed: of split, ranks and training.
        base: folder of the model that devices begin with.
        windows: folder of windows by end of the machine, fault and bearing.
        rounds: how many.
    """

    setting: str
    method: str
    seed: int
    base: Path
    windows: Path
    rounds: int


@dataclass(frozen=True, slots=True)
class Plant:
    """Devices and what they hold.

    Attributes:
        learnt: windows to learn from, by device.
        ranks: by device.
        test: windows of bearings that no device has.
    """

    learnt: Mapping[str, Sequence[Sample]]
    ranks: Mapping[str, int]
    test: Sequence[Sample]


def quality(quick: bool, progress: Progress) -> SuiteResult:
    """Eight devices with one class of bearing each, eight with alike data, ten of which three attack; and own modules.

    Args:
        quick: one split and few rounds, to see that it works.
        progress: draws the progress of a piece of work.

    Raises:
        BadInput: if CWRU's records are not here.
    """
    start = time.monotonic()
    seeds, rounds = (1, 2) if quick else (SEEDS, ROUNDS)
    with TemporaryDirectory() as folder:
        base, windows = unlearnt(Path(folder) / "base"), Path(folder) / "windows"
        _keep_windows(windows)
        todo = {
            f"{setting}, {method}, seed {seed}, {rounds} rounds": Piece(setting, method, seed, base, windows, rounds)
            for seed in range(seeds)
            for setting, methods in (
                (ONE_CLASS, (CENTRAL, ALONE, *MODES, ROUNDED)),
                (ALIKE, (CENTRAL, *MODES[:2])),
                (ATTACKED, (CLEAN, *ATTACKS)),
            )
            for method in methods
        }
        with progress("Trainings", len(todo)) as step:
            rows = run_kept("fed-quality", measured, todo, WORKERS, step)
    distilled = fed_distillation.measure(quick, progress)
    found = figures(rows) | fed_distillation.figures(distilled)
    return SuiteResult("fed-quality", rows + distilled, found, time.monotonic() - start)


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """Gaps in points of AUROC, paired by split, after equal rounds; shares and bytes.

    Zero-padding sends 32 bits, as the source paper has it: at equal bytes it has done a quarter of our rounds. What it
    has come to at eight bits stands beside.
    """
    apart, alike = (_scores(rows, setting) for setting in (ONE_CLASS, ALIKE))
    above = 100 * (apart["product_svd"] - apart["zero_pad"])
    on_budget = {
        method: 100 * (apart["product_svd"] - np.array(_on_budget(rows, method))) for method in ("zero_pad", ROUNDED)
    }
    sent, seeds = _bytes_to_target(rows), len(above)
    gaps = {name: 100 * (found[CENTRAL] - found["product_svd"]) for name, found in (("one", apart), ("alike", alike))}
    ours = [row for row in rows if (row["setting"], row["method"]) == (ONE_CLASS, "product_svd")]
    tiers = {mode: _tiers(rows, mode) for mode in MODES}
    best_first = sorted(tiers, key=lambda mode: -tiers[mode].mean())
    hit = _scores(rows, ATTACKED)
    kept = {name: float((hit[name] / hit[CLEAN]).mean()) for name in ATTACKS}
    worst = min(kept, key=lambda name: kept[name])
    others = ", ".join(f"{name} {100 * float(score.mean()):.1f}" for name, score in apart.items())
    return {
        "gap_to_central_one_class_per_client_points": _mean(gaps["one"], most=2.0, anchor=others),
        "gap_to_central_alike_clients_points": _mean(gaps["alike"], most=0.5),
        "above_zero_pad_points": _mean(above, least=3.0),
        "above_zero_pad_points_lower95": figure(_low(above), seeds, least=0.0),
        **{f"above_{method}_at_equal_bytes_points": _mean(gain) for method, gain in on_budget.items()},
        "weakest_tier_over_strongest": _mean(
            tiers["product_svd"],
            least=0.98,
            anchor=", ".join(f"{mode} {tiers[mode].mean():.4f}" for mode in best_first),
        ),
        "uplink_share_of_full_model": _mean([row["up_share"] for row in ours], most=0.03),
        "bytes_to_target_over_zero_pad": figure(
            float(np.median(sent)),
            seeds,
            most=0.25,
            anchor=f"reached in {int(np.isfinite(sent).sum())} of {seeds} splits",
        ),
        "byzantine_30pct_retained": figure(
            kept[worst], seeds, least=0.95, anchor=", ".join(f"{name} {share:.3f}" for name, share in kept.items())
        ),
        **{f"auroc_{name}": _mean(score) for name, score in apart.items()},
        **{f"auroc_alike_{name}": _mean(score) for name, score in alike.items()},
    }


def measured(piece: Piece) -> Json:
    """Train, and score after each round."""
    torch.set_num_threads(1)
    work = replace(task(None), base=piece.base)
    found = _kept_windows(piece.windows)
    plant = (
        _attackable(found, piece.seed)
        if piece.setting == ATTACKED
        else _plant(found, piece.seed, piece.setting == ALIKE)
    )
    facts: Json = {"setting": piece.setting, "method": piece.method, "seed": piece.seed}
    if piece.method == CENTRAL:
        return facts | {"curve": _central(work, plant, piece)}
    if piece.method == ALONE:
        alone = [_central(work, replace(plant, learnt={name: plant.learnt[name]}), piece) for name in plant.learnt]
        return facts | {"curve": np.mean(alone, axis=0).tolist()}
    return facts | _federated(work, plant, piece)


def _federated(work: Task, plant: Plant, piece: Piece) -> Json:
    attack = ATTACKS.get(piece.method)
    attackers = list(plant.learnt)[:ATTACKERS] if attack else []
    mode = MODES[0] if piece.setting == ATTACKED else "zero_pad" if piece.method == ROUNDED else piece.method
    with TemporaryDirectory() as folder:
        models: dict[int, RoundModel] = {}
        devices = {}
        for name, learnt in plant.learnt.items():
            seen = attack.learns(learnt) if attack and name in attackers else learnt
            devices[name] = Local(name, work, LocalData(seen, []), Path(folder) / f"{name}.safetensors", models)
        config = RunConfig(
            tuple(Enrolled(name, plant.ranks[name], one.examples) for name, one in devices.items()),
            mode=mode,
            rule=RULE if attack else "mean",
            attackers=len(attackers),
            rounds=piece.rounds,
            steps=STEPS,
            learning_rate=LEARNING_RATE,
            eight_bits=piece.method != "zero_pad",  # as the source paper sends them
            seed=piece.seed,
        )
        run, curve = Run(Path(folder) / "run", work.base, config), []
        while not run.finished:
            orders = run.orders()
            answers = {order.device: devices[order.device].work(order, arrays) for order, arrays in orders}
            for device, sent in {**answers, **(attack.sends(orders, answers, attackers) if attack else {})}.items():
                if (verdict := run.take(device, run.number, *sent)) != "taken":
                    raise RuntimeError(f"{device}: {verdict}")
            run.close({})
            curve.append(told_apart(run.model(), plant.test))
        run.leave()
        full = 4 * sum(parameter.numel() for parameter in run.model(1).parameters())
        up = [outcome.up_bytes for outcome in run.outcomes]
        return {
            "curve": curve,
            "up_bytes": up,
            "up_share": float(np.mean(up)) / len(devices) / full,
            "weakest": told_apart(run.held(min(RANKS)), plant.test),
            "strongest": told_apart(run.held(max(RANKS)), plant.test),
        }


def _central(work: Task, plant: Plant, piece: Piece) -> list[float]:
    """One model on all data, at the greatest rank; as many windows a step as all devices learn from together."""
    pool = [sample for learnt in plant.learnt.values() for sample in learnt]
    learning = replace(work.learning, batch=work.learning.batch * len(plant.learnt), seed=piece.seed)
    learning = replace(learning, steps=piece.rounds * STEPS, learning_rate=LEARNING_RATE)
    curve: list[float] = []

    def on_step(step: int, model: IotlamModel) -> None:
        if step % STEPS == 0:
            curve.append(told_apart(model.eval(), plant.test))

    central(replace(work, learning=learning), pool, max(RANKS), on_step)
    return curve


def _plant(windows: Windows, seed: int, alike: bool) -> Plant:
    """Eight devices: four classes at either end of the machine, or all of it dealt out."""
    rng = np.random.default_rng((seed, 81))
    learnt: dict[str, list[Sample]] = {}
    test: list[Sample] = []
    for (end, kind), found in sorted(windows.items()):
        kept = int(rng.integers(len(found))) if kind != SOUND else -1  # of sound ones each end has one
        test += found[kept] if kept >= 0 else []
        learnt[f"{end} {kind}"] = [s for place, bearing in enumerate(found) if place != kept for s in bearing]
    if alike:
        learnt = _dealt([sample for samples in learnt.values() for sample in samples], len(learnt), rng)
    return Plant(learnt, dict(zip(learnt, rng.permutation(RANKS).tolist(), strict=True)), test)


def _attackable(windows: Windows, seed: int) -> Plant:
    """Ten devices with alike data, the first of which attack."""
    plant = _plant(windows, seed, alike=True)
    rng = np.random.default_rng((seed, 82))
    learnt = _dealt([sample for samples in plant.learnt.values() for sample in samples], HONEST + ATTACKERS, rng)
    ranks = rng.permutation([*RANKS, *RANKS[2:4]]).tolist()
    return Plant(learnt, dict(zip(learnt, ranks, strict=True)), plant.test)


def _dealt(pool: Sequence[Sample], count: int, rng: np.random.Generator) -> dict[str, list[Sample]]:
    order = rng.permutation(len(pool))
    return {f"device {place}": [pool[row] for row in order[place::count]] for place in range(count)}


def _keep_windows(folder: Path) -> None:
    """Write the windows of each of CWRU's bearings, by end of the machine and fault, once for all trainings."""
    for end in ENDS:
        for number, bearing in enumerate(bearings(Source("set", "cwru", end))):
            rows = np.linspace(0, len(bearing) - 1, min(WINDOWS, len(bearing))).round().astype(int)
            present_P = bearing[0].targets[PRESENT] > 0.5
            kind = FAULTS[int(present_P.argmax())] if present_P.any() else SOUND
            Shard.pack([bearing[row] for row in rows]).save(folder / end / kind / f"{number:03d}.safetensors")


def _kept_windows(folder: Path) -> Windows:
    found: dict[tuple[str, str], list[list[Sample]]] = {}
    for path in sorted(folder.glob("*/*/*.safetensors")):
        shard = Shard.load(path)
        found.setdefault((path.parts[-3], path.parts[-2]), []).append([shard[row] for row in range(len(shard))])
    return found


def _scores(rows: Sequence[Json], setting: str) -> dict[str, np.ndarray]:
    """Scores after the last round, by method, in the order of the splits."""
    chosen = sorted((row for row in rows if row["setting"] == setting), key=lambda row: row["seed"])
    methods = dict.fromkeys(row["method"] for row in chosen)
    return {name: np.array([row["curve"][-1] for row in chosen if row["method"] == name]) for name in methods}


def _tiers(rows: Sequence[Json], mode: str) -> np.ndarray:
    """The score of what a device of the least rank is given over that of the greatest; by split."""
    return np.array(
        [row["weakest"] / row["strongest"] for row in rows if (row["setting"], row["method"]) == (ONE_CLASS, mode)]
    )


def _on_budget(rows: Sequence[Json], method: str) -> list[float]:
    """What a kind of zero-padding has come to when it has sent as many bytes as ours in all its rounds; by split."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        ours, theirs = (_row(rows, ONE_CLASS, name, seed) for name in ("product_svd", method))
        within = np.cumsum(theirs["up_bytes"]) <= sum(ours["up_bytes"])
        found.append(theirs["curve"][max(int(within.sum()) - 1, 0)])
    return found


def _bytes_to_target(rows: Sequence[Json]) -> list[float]:
    """Bytes that ours sends until it is as good as zero-padding at its end, over what that has sent; by split."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        ours, theirs = (_row(rows, ONE_CLASS, method, seed) for method in ("product_svd", "zero_pad"))
        target = theirs["curve"][-1]
        reached = next((place for place, score in enumerate(theirs["curve"]) if score >= target))
        there = [place for place, score in enumerate(ours["curve"]) if score >= target]
        sent = sum(ours["up_bytes"][: there[0] + 1]) if there else float("inf")
        found.append(sent / sum(theirs["up_bytes"][: reached + 1]))
    return found


def _row(rows: Sequence[Json], setting: str, method: str, seed: int) -> Json:
    (found,) = (row for row in rows if (row["setting"], row["method"], row["seed"]) == (setting, method, seed))
    return found


def _mean(values: Sequence[float] | np.ndarray, **bounds: object) -> Metric:
    values = [float(value) for value in values]
    ci95 = mean_ci95(values)[1] if len(values) > 1 else None
    return figure(float(np.mean(values)), len(values), ci95=ci95, **bounds)  # type: ignore[arg-type]


def _low(values: np.ndarray) -> float:
    return mean_ci95(values.tolist())[1][0] if len(values) > 1 else float(values.mean())
