"""Training the traffic policy: record a teacher, imitate it, visit where the student goes, then reinforce."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch.optim import AdamW

from iotlam.contracts import BadInput
from iotlam.model import IotlamConfig, IotlamModel, save_pretrained
from iotlam.plugins import registry
from iotlam.training.checkpoint import load_checkpoint, save_checkpoint
from iotlam.training.imitation import ImitationConfig, agreement, imitate
from iotlam.training.ppo import PpoConfig, improve
from iotlam.training.progress import progress
from iotlam.training.seeds import seed_everything
from iotlam.training.shards import Shard
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, Task, default_maps, tasks
from iotlam_traffic.query import PHASE_FEATURES
from iotlam_traffic.record import Recording, record_all

HELD_OUT_EVERY = 10
"""One episode in so many is kept from imitation, to measure agreement with the teacher."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        maps: RESCO maps or `.sumocfg` files to learn on.
        per_map: teacher episodes on each.
        random_junctions: teacher episodes on random junctions.
        modalities: sensors to learn with.
        decoder: preset, folder or hub name of the frozen decoder.
        imitation: how to imitate the teacher.
        revisit: episodes of each kind on which the student acts and the teacher says what it would have done
            (DAgger, Ross et al. 2011), after which imitation goes on.
        ppo: the knobs of reinforcement.
        rounds: rounds of reinforcement.
        round_per_map, round_random: episodes of each kind in a round.
        workers: recording processes.
        seed: seed of everything.
    """

    maps: tuple[str, ...] = field(default_factory=default_maps)
    per_map: int = 16
    random_junctions: int = 80
    modalities: tuple[str, ...] = ("lidar", "spectrum", "video")
    decoder: str = "nano"
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    revisit: int = 3
    ppo: PpoConfig = field(default_factory=PpoConfig)
    rounds: int = 20
    round_per_map: int = 1
    round_random: int = 4
    workers: int = 2
    seed: int = 0

    @property
    def first_seed(self) -> int:
        """First SUMO seed of the run, beyond every seed of evaluation."""
        return FIRST_TRAINING_SEED * (1 + self.seed)

    def tasks(self, per_map: int, random_junctions: int, offset: int) -> list[Task]:
        """Episodes of one kind; `offset` keeps the seeds of the stages apart."""
        return tasks(self.maps, per_map, random_junctions, self.first_seed + offset)


class Run:
    """A training run in its folder; every stage that is complete is skipped when it is started again.

    Args:
        folder: the run's folder, which becomes the model's folder.
        config: what to do.

    Raises:
        BadInput: if the folder holds a run with another configuration.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self._refuse_other_run()
        seed_everything(config.seed)
        torch.set_num_threads(1)

    def go(self) -> Path:
        """Do what is left of the run; returns the model's folder."""
        start = time.monotonic()
        model = self._new_model()  # first, so that a missing decoder is said before an hour of recording
        teacher = record_teacher(self.folder, self.config)
        model = self._imitate("imitation", model, teacher, self.config.imitation)
        if self.config.revisit:
            todo = self.config.tasks(self.config.revisit, self.config.revisit * 4, 300)
            teacher += self._record("revisit", todo, explore=0.03)
            steps = self.config.imitation.steps // 2
            again = replace(self.config.imitation, steps=steps, learning_rate=self.config.imitation.learning_rate / 2)
            model = self._imitate("imitation-again", model, teacher, again)
        self._reinforce(model)
        self._log("run", seconds=time.monotonic() - start)
        return self.folder

    def _refuse_other_run(self) -> None:
        path, mine = self.folder / "run.json", json.dumps(asdict(self.config), indent=2) + "\n"
        if path.exists() and path.read_text() != mine:
            raise BadInput(
                str(self.folder),
                expected="an empty folder or a run with the same options",
                got="a run with other options",
                fix="give another --out, or the same options to resume",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(mine)

    def _new_model(self) -> IotlamModel:
        specs = tuple(registry.load(name).spec for name in self.config.modalities)
        config = IotlamConfig(modalities=specs, n_features=len(PHASE_FEATURES), decoder=self.config.decoder)
        return IotlamModel(config, self.config.seed)

    def _record(self, stage: str, todo: Sequence[Task], explore: float = 0.0, draw: bool = False) -> list[Path]:
        """Episodes in which the policy saved so far acts."""
        folder = self.folder / "episodes" / stage
        wanted = [Recording(task, folder, self.config.modalities, self.folder, explore, draw) for task in todo]
        return _record(stage, wanted, self.config.workers)

    def _imitate(self, stage: str, model: IotlamModel, paths: Sequence[Path], config: ImitationConfig) -> IotlamModel:
        shards = [Shard.load(path) for path in paths]
        held_out, learnt = shards[::HELD_OUT_EVERY], [s for i, s in enumerate(shards) if i % HELD_OUT_EVERY]
        with progress(f"Learning, {stage}", total=config.steps) as step:

            def on_step(number: int, loss: float) -> None:
                step(1, loss=loss)
                self._log(stage, step=number, loss=loss)

            imitate(model, learnt, config, self.folder / stage, on_step)
        sees = {name: agreement(model, held_out, [name]) for name in self.config.modalities}
        self._log(stage, agreement=agreement(model, held_out, self.config.modalities), **sees)
        self._save(model, stage)
        return model

    def _reinforce(self, model: IotlamModel) -> None:
        config, folder = self.config, self.folder / "ppo"
        model.fusion.freeze_whitening()
        optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=config.ppo.learning_rate)
        first = int(load_checkpoint(folder, model, optimizer)["step"])
        for turn in range(first, config.rounds):
            stage = f"ppo-{turn + 1}"
            paths = self._record(
                stage, config.tasks(config.round_per_map, config.round_random, 500 + 50 * turn), draw=True
            )
            shards = [Shard.load(path) for path in paths]
            with progress(f"Reinforcing, round {turn + 1} of {config.rounds}") as step:
                facts = improve(
                    model, optimizer, shards, config.ppo, config.seed + turn, lambda loss: step(1, loss=loss)
                )
            reward = {path.stem: float(s.target("reward").mean()) for path, s in zip(paths, shards, strict=True)}
            self._log(stage, **facts, reward=reward)
            self._save(model, stage)
            save_checkpoint(folder, model, optimizer, turn + 1)
            shutil.rmtree(self.folder / "episodes" / stage, ignore_errors=True)

    def _save(self, model: IotlamModel, stage: str) -> None:
        config = self.config
        save_pretrained(
            model,
            self.folder,
            {
                "Task": "one junction, choice of its green phase every 10 s",
                "Maps": ", ".join(config.maps) + f", and {config.random_junctions} random junctions",
                "Stages": f"imitation of a rule that sees the simulator's state, then PPO; last stage: {stage}",
                "Seed": config.seed,
            },
        )

    def _log(self, stage: str, **facts: object) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"stage": stage, **facts}) + "\n")


def record_teacher(folder: Path, config: TrainConfig) -> list[Path]:
    """Record the episodes in which the teacher acts, one phase in ten at random; returns their shards."""
    todo = config.tasks(config.per_map, config.random_junctions, 0)
    where = folder / "episodes" / "teacher"
    return _record("teacher", [Recording(task, where, config.modalities, explore=0.1) for task in todo], config.workers)


def _record(stage: str, recordings: Sequence[Recording], workers: int) -> list[Path]:
    with progress(f"Recording, {stage}", total=len(recordings)) as step:
        return record_all(recordings, workers, lambda _: step(1))


def streams(folder: Path, seed: int) -> list[Path]:
    """Shards of sensor streams to pretrain a decoder on: the episodes that `iotlam traffic train` starts with.

    Args:
        folder: a run's folder; training there later finds the episodes recorded.
        seed: the run's seed.
    """
    return record_teacher(folder, TrainConfig(seed=seed))
