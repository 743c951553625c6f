"""Training the model of machine faults: simulated machines of every kind first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from iotlam.contracts import BadInput
from iotlam.fusion.sanity import auroc
from iotlam.model import OWN, IotlamModel, IotlamProcessor, save_pretrained
from iotlam.training.imitation import ImitationConfig, imitate, label_loss
from iotlam.training.parallel import run_parallel
from iotlam.training.progress import progress
from iotlam.training.run_folder import claim, log_metrics, options_of
from iotlam.training.seeds import seed_everything
from iotlam.training.shards import PRESENT, Shard
from iotlam.training.streams import Streams
from iotlam_faults.model import new_config
from iotlam_faults.query import FAULTS
from iotlam_faults.windows import ROI, simulated
from iotlam_faults.words import describe
from iotlam_machine.machine import random_machine

MACHINES = 8000
HELD_OUT_EVERY = 10
"""One machine in so many is kept from learning, to measure with."""

CHUNK = 25
"""Machines that one process simulates."""

SECONDS = (1, 2, 4)
"""Lengths of windows."""

FIRST_MACHINE = 1_000_000
"""Machines of run seed s begin at s times this."""

LEARNING = ImitationConfig(steps=3000, learning_rate=2e-3, drop=0.2, facts_weight=0.3)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        machines: how many are simulated, each of another kind.
        windows: of each machine.
        modalities: sensors to learn with.
        decoder: preset, folder or hub name of the frozen decoder.
        learning: how.
        workers: processes.
        seed: seed of everything.
    """

    machines: int = MACHINES
    windows: int = 1
    modalities: tuple[str, ...] = ("vibration_orders", "vibration_residual", "current")
    decoder: str = "nano"
    learning: ImitationConfig = LEARNING
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Simulation:
    """Machines that one process simulates, and where their shards go."""

    first: int
    count: int
    windows: int
    modalities: tuple[str, ...]
    folder: Path

    def path(self, machine: int) -> Path:
        """Shard of a machine."""
        return self.folder / f"{machine}.safetensors"


class Run:
    """A training run in its folder; what is complete is skipped when it is started again.

    Args:
        folder: the run's folder, which becomes the model's folder.
        config: what to do.

    Raises:
        BadInput: if a modality or decoder does not exist, or the folder holds a run with other options.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        torch.set_num_threads(1)
        seed_everything(config.seed)
        if config.machines < HELD_OUT_EVERY:
            fix = "simulate more"
            raise BadInput("--machines", expected=f"{HELD_OUT_EVERY} or more", got=str(config.machines), fix=fix)
        self._model = IotlamModel(new_config(config.modalities, config.decoder), config.seed)
        claim(folder, options_of(config, ("workers",)), OWN)  # last: a wrong option leaves the folder free

    def go(self) -> Path:
        """Do what is left of the run; returns the model's folder."""
        start, config = time.monotonic(), self.config
        shards = [Shard.load(path) for path in record_machines(self.folder, config)]
        held_out, learnt = shards[::HELD_OUT_EVERY], [s for i, s in enumerate(shards) if i % HELD_OUT_EVERY]
        with progress("Learning", total=config.learning.steps) as step:

            def on_step(number: int, loss: float) -> None:
                step(1, loss=loss)
                self._log("learning", step=number, loss=loss)

            imitate(self._model, learnt, config.learning, self.folder / "learning", on_step, config.workers, label_loss)
        self._log("held out", **told_apart(self._model, held_out))
        save_pretrained(
            self._model,
            self.folder,
            {"Task": "faults of a machine, any number of them", "Machines": config.machines, "Seed": config.seed},
        )
        self._log("run", seconds=time.monotonic() - start)
        return self.folder

    def _log(self, stage: str, **facts: object) -> None:
        log_metrics(self.folder, stage, **facts)


def record_machines(folder: Path, config: TrainConfig) -> list[Path]:
    """Shards of the simulated machines of a run, in its folder; those that are there are left."""
    first, where = FIRST_MACHINE * config.seed, folder / "machines" / "+".join(config.modalities)
    todo = [
        Simulation(first + at, min(CHUNK, config.machines - at), config.windows, config.modalities, where)
        for at in range(0, config.machines, CHUNK)
    ]
    with progress("Simulating machines", total=config.machines) as step:
        made = run_parallel(simulate_machines, todo, config.workers, lambda paths: step(len(paths)))
    return [path for paths in made for path in paths]


def streams(folder: Path, seed: int, machines: int = MACHINES) -> Streams:
    """Streams of vibration to pretrain a decoder on, with words: the machines that `iotlam faults train` starts with.

    Args:
        folder: where they are kept.
        seed: the run's seed.
        machines: how many, the first ones.
    """
    sensors = ("vibration_orders",)
    return Streams(record_machines(folder, TrainConfig(machines, modalities=sensors, seed=seed)), describe, sensors)


def simulate_machines(todo: Simulation) -> list[Path]:
    """Write the shards of some machines; those that are there are left."""
    torch.set_num_threads(1)
    paths = [todo.path(machine) for machine in range(todo.first, todo.first + todo.count)]
    processor: IotlamProcessor | None = None
    for machine, path in enumerate(paths, todo.first):
        if path.exists():
            continue
        processor = processor or IotlamProcessor(todo.modalities, ROI)
        seconds = SECONDS[machine % len(SECONDS)]
        kind = random_machine(machine)
        windows = [simulated(processor, kind, seconds, machine * todo.windows + w) for w in range(todo.windows)]
        Shard.pack(windows).save(path)
    return paths


@torch.no_grad()
def told_apart(model: IotlamModel, shards: Sequence[Shard]) -> dict[str, float]:
    """Area under the curve of each fault; 0.5 where all machines have it, or none."""
    scores, present = [], []
    for shard in shards:
        for index in range(len(shard)):
            sample = shard[index]
            scores.append(model.answer(sample.tokens, sample.query).logits_BP[0].numpy())
            present.append(sample.targets[PRESENT] > 0.5)
    scores_NP, present_NP = np.stack(scores), np.stack(present)
    found_P = [auroc(score_N, present_N) for score_N, present_N in zip(scores_NP.T, present_NP.T, strict=True)]
    return dict(zip(FAULTS, np.nan_to_num(found_P, nan=0.5).tolist(), strict=True))
