"""LoRA beside tuning every weight of the decoder: the same imitation, driven on nets that neither has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iotlam.bench.suite import Progress
from iotlam.model import IotlamModel, save_pretrained
from iotlam.training.imitation import ImitationConfig, agreement, imitate
from iotlam.training.ppo import PpoConfig
from iotlam.training.shards import Shard
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.curriculum import RANDOM, TEST_SEEDS, tasks
from iotlam_traffic.evaluate import OURS, Trial, run_trials
from iotlam_traffic.lanes import SHIPPED
from iotlam_traffic.policy import new_config
from iotlam_traffic.record import Recording, record_all

SENSORS = ("lidar", "radar", "video")
LEARNT = ("cologne1", RANDOM, RANDOM)
UNSEEN = ("ingolstadt1", "cologne3")
RATES = {"lora": (1e-3,), "full": (1e-3, 3e-4, 1e-4)}
"""Learning rates; of several, the one that agrees most with the teacher on episodes kept from training."""

SEED = 300_000
"""First SUMO seed of the episodes, and kept from every shipped policy's training."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What tuning by LoRA costs.

    Attributes:
        delay_s: by (tuning, map, seed).
        ratios: delay under LoRA over delay under full tuning, by map and seed.
        agreement: by tuning, share of decisions kept from training on which it agrees with the teacher.
    """

    delay_s: dict[tuple[str, str, int], float]
    ratios: list[float]
    agreement: dict[str, float]


def lora_against_full(folder: Path, turns: int, steps: int, tests: int, progress: Progress) -> Gap:
    """Record, tune both ways, drive the unseen maps.

    Args:
        folder: where episodes and models go; what is complete there is kept.
        turns: rounds of episodes to learn from.
        steps: of imitation.
        tests: test seeds.
        progress: draws the progress of a piece of work.
    """
    shards = _episodes(folder, turns, progress)
    agreed = {name: _tune(folder, name, shards, steps, progress) for name in RATES}
    trials = [
        Trial(OURS, find_scenario(map_name), seed, folder / name)
        for name in RATES
        for map_name in UNSEEN
        for seed in TEST_SEEDS[:tests]
    ]
    with progress("Unseen nets under LoRA and full tuning", len(trials)) as step:
        outcomes = run_trials(trials, 2, lambda _: step(1))
    keys = [(name, map_name, seed) for name in RATES for map_name in UNSEEN for seed in TEST_SEEDS[:tests]]
    delay_s = {key: outcome.trips.delay_s for key, outcome in zip(keys, outcomes, strict=True)}
    pairs = [(map_name, seed) for map_name in UNSEEN for seed in TEST_SEEDS[:tests]]
    ratios = [delay_s["lora", *pair] / delay_s["full", *pair] for pair in pairs]
    return Gap(delay_s, ratios, agreed)


def _episodes(folder: Path, turns: int, progress: Progress) -> list[Shard]:
    where, gamma = folder / "episodes", PpoConfig().gamma
    wanted = [Recording(task, where, SENSORS, gamma, SHIPPED, explore=0.1) for task in tasks(LEARNT, turns, SEED)]
    with progress("Recording", len(wanted)) as step:
        return [Shard.load(path) for path in record_all(wanted, 2, lambda _: step(1))]


def _tune(folder: Path, name: str, shards: Sequence[Shard], steps: int, progress: Progress) -> float:
    """Tune at each rate, save the best in the folder of that name; returns its agreement."""
    held_out, learnt = shards[::6], [shard for index, shard in enumerate(shards) if index % 6]
    best, best_agreement = None, -1.0
    for rate in RATES[name]:
        model = IotlamModel(new_config(SENSORS))
        if name == "full":
            model.decoder.requires_grad_(True)
        config = ImitationConfig(steps=steps, learning_rate=rate, temperature=1.0)
        with progress(f"Tuning, {name}, rate {rate:g}", steps) as step:

            def on_step(_: int, loss: float) -> None:
                step(1, loss=loss)

            imitate(model, learnt, config, folder / f"{name}-{rate:g}", on_step, workers=2)
        agreed = agreement(model, held_out, SENSORS)
        if agreed > best_agreement:
            best, best_agreement = model, agreed
    assert best is not None
    _save(best, folder / name, merge=name == "full")
    return best_agreement


def _save(model: IotlamModel, folder: Path, merge: bool) -> None:
    """A folder that `from_pretrained` reads; a fully tuned decoder becomes a decoder of its own."""
    if merge:
        decoder = folder / "decoder"
        own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("decoder.")}
        merged = model.decoder.merge_and_unload()
        merged.save_pretrained(decoder)
        model = IotlamModel(model.config.changed(decoder=str(decoder), decoder_sha256=""))
        model.load_state_dict(own, strict=False)
    save_pretrained(model, folder)


def median_gap(gap: Gap) -> float:
    """Median over maps and seeds of the delay under LoRA over that under full tuning, minus 1."""
    return float(np.median(gap.ratios)) - 1.0
