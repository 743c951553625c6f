"""Training the traffic policy: record a teacher, imitate it, visit where the student goes, then reinforce."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from iotlam.contracts import BadInput
from iotlam.model import OWN, IotlamModel, save_pretrained
from iotlam.training.checkpoint import load_checkpoint, save_checkpoint
from iotlam.training.imitation import ImitationConfig, Loss, agreement, choice_loss, imitate, told_loss
from iotlam.training.ppo import PpoConfig, improve, policy_optimizer
from iotlam.training.progress import progress
from iotlam.training.run_folder import claim, log_metrics, options_of
from iotlam.training.seeds import seed_everything
from iotlam.training.shards import REWARD, Shard
from iotlam.training.streams import Streams
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, LEARNT_MAPS, Task, check_maps, tasks
from iotlam_traffic.lanes import SHIPPED as LANES
from iotlam_traffic.lanes import WEIGHTS, load_lanes
from iotlam_traffic.policy import new_config
from iotlam_traffic.record import Recording, episode_of, record_all
from iotlam_traffic.words import describe

HELD_OUT_EVERY = 10
"""One episode in so many is kept from imitation, to measure agreement with the teacher."""

REVISIT, REINFORCE, ROUND = 10_000, 20_000, 100
"""First seeds of the later stages, counted from the run's first, and seeds set aside for each of their rounds."""

TEACHING = ImitationConfig(steps=4000, learning_rate=2e-3, temperature=1.0)
"""How the teacher is imitated."""

RESUMABLE = ("workers", "rounds")
"""Options that may differ when a run is resumed: a round more of reinforcement changes nothing of what came before."""

WATCHED = 4
"""Junctions of a net that are recorded at most."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        maps: RESCO maps, `.sumocfg` files, or `random` for random junctions; each is one episode of a round, and may be
            named more than once.
        turns: rounds of episodes in which the teacher acts.
        span_s: length of an episode, cut from the map's hour at random; None for all of it: jams take their time.
        teacher: folder of the lane policy that teaches.
        modalities: sensors to learn with.
        decoder: preset, folder or hub name of the frozen decoder.
        imitation: how to imitate the teacher; half as many steps go before, of seeing what is on each lane.
        revisit: rounds of episodes in which the student acts, at every junction, and the teacher says what it would
            have done; imitation goes on after each, on all that has been recorded (DAgger, Ross et al. 2011).
        ppo: the knobs of reinforcement.
        rounds: rounds of reinforcement.
        workers: processes.
        seed: seed of everything.
    """

    maps: tuple[str, ...] = LEARNT_MAPS
    turns: int = 3
    span_s: float | None = None
    teacher: str = str(LANES)
    modalities: tuple[str, ...] = ("lidar", "radar", "video")
    decoder: str = "nano"
    imitation: ImitationConfig = TEACHING
    revisit: int = 3
    ppo: PpoConfig = field(default_factory=PpoConfig)
    rounds: int = 2
    workers: int = 2
    seed: int = 0

    @property
    def first_seed(self) -> int:
        """First SUMO seed of the run, beyond every seed of evaluation."""
        return FIRST_TRAINING_SEED * (1 + self.seed)

    def tasks(self, turns: int, offset: int) -> list[Task]:
        """So many rounds of episodes; `offset` keeps the seeds of the stages apart."""
        return tasks(self.maps, turns, self.first_seed + offset, self.span_s)


class Run:
    """A training run in its folder; what is complete is skipped when it is started again.

    Args:
        folder: the run's folder, which becomes the model's folder.
        config: what to do.

    Raises:
        BadInput: if a map, modality or decoder does not exist, or the folder holds a run with other options.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        torch.set_num_threads(1)
        seed_everything(config.seed)
        check_maps(config.maps)
        load_lanes(Path(config.teacher) / WEIGHTS)
        if config.turns * len(config.maps) < 2:
            raise BadInput(
                "Episodes", expected="two or more, one of them to measure with", got="fewer", fix="add maps or episodes"
            )
        self._model = IotlamModel(new_config(config.modalities, config.decoder), config.seed)
        claim(folder, options_of(config, RESUMABLE), OWN)  # last: a wrong option leaves the folder free

    def go(self) -> Path:
        """Do what is left of the run; returns the model's folder."""
        start, config = time.monotonic(), self.config
        shards = record_teacher(self.folder, config)
        rate, steps = config.imitation.learning_rate, config.imitation.steps
        # To see before to act. Bits are free: what no decision needs is left out later, when they have their price.
        telling = replace(config.imitation, steps=max(steps // 2, 1), learning_rate=1.5 * rate, free=1.0, ramp=0.0)
        self._learn("facts", shards, telling, told_loss)
        self._imitate("imitation-1", shards, config.imitation)
        # The gates know by then what the task needs: bits have their price from the start.
        rate, steps = rate / 2, max(steps // 3, 1)
        again = replace(config.imitation, steps=steps, learning_rate=rate, free=0.0, ramp=0.0)
        for turn in range(config.revisit):
            todo = config.tasks(1, REVISIT + ROUND * turn)
            shards = shards + self._record(f"revisit-{turn + 1}", todo, explore=0.03)
            self._imitate(f"imitation-{turn + 2}", shards, replace(again, seed=again.seed + turn + 1))
        self._reinforce()
        self._save("reinforcement" if config.rounds else "imitation")
        self._log("run", seconds=time.monotonic() - start)
        return self.folder

    def _record(self, stage: str, todo: Sequence[Task], explore: float = 0.0, draw: bool = False) -> list[Path]:
        """Episodes in which the policy acts as it is now, at every junction."""
        config, folder = self.config, _episodes(self.folder, self.config, stage)
        like = Recording(
            todo[0], folder, config.modalities, config.ppo.gamma, Path(config.teacher), self.folder, watched=WATCHED
        )
        wanted = [replace(like, task=task, explore=explore, draw=draw) for task in todo]
        if not all(recording.path.exists() for recording in wanted):
            self._save(stage)
        return _record(stage, wanted, config.workers)

    def _learn(self, stage: str, paths: Sequence[Path], config: ImitationConfig, least: Loss = choice_loss) -> int:
        learnt = [Shard.load(path) for path in split(paths)[1]]
        with progress(f"Learning, {stage}", total=config.steps) as step:

            def on_step(number: int, loss: float) -> None:
                step(1, loss=loss)
                self._log(stage, step=number, loss=loss)

            return imitate(self._model, learnt, config, self.folder / stage, on_step, self.config.workers, least)

    def _imitate(self, stage: str, paths: Sequence[Path], config: ImitationConfig) -> None:
        if self._learn(stage, paths, config):
            held_out, names = [Shard.load(path) for path in split(paths)[0]], self.config.modalities
            alone = {name: agreement(self._model, held_out, [name]) for name in names}
            self._log(stage, agreement=agreement(self._model, held_out, names), **alone)

    def _reinforce(self) -> None:
        config, folder = self.config, self.folder / "ppo"
        optimizer = policy_optimizer(self._model, config.ppo)
        recipe = f"{config.ppo}, decoder {self._model.base_sha256[:12]}"
        for turn in range(load_checkpoint(folder, self._model, optimizer, recipe), config.rounds):
            stage = f"ppo-{turn + 1}"
            todo = config.tasks(1, REINFORCE + ROUND * turn)
            paths = self._record(stage, todo, draw=True)
            shards = [Shard.load(path) for path in paths]
            with progress(f"Reinforcing, round {turn + 1} of {config.rounds}") as step:
                facts = improve(
                    self._model, optimizer, shards, config.ppo, (config.seed, turn), lambda loss: step(1, loss=loss)
                )
            reward = {path.stem: float(s.target(REWARD).mean()) for path, s in zip(paths, shards, strict=True)}
            self._log(stage, **facts, reward=reward)
            save_checkpoint(folder, self._model, optimizer, turn + 1, recipe)
            shutil.rmtree(_episodes(self.folder, config, stage), ignore_errors=True)

    def _save(self, stage: str) -> None:
        config = self.config
        save_pretrained(
            self._model,
            self.folder,
            {
                "Task": "one junction, choice of its green phase every 10 s",
                "Maps": ", ".join(dict.fromkeys(config.maps)),
                "Stages": f"imitation of a policy that sees the simulator's state, then PPO; last stage: {stage}",
                "Rounds of PPO": config.rounds,
                "Seed": config.seed,
            },
        )

    def _log(self, stage: str, **facts: object) -> None:
        log_metrics(self.folder, stage, **facts)


def record_teacher(folder: Path, config: TrainConfig, episodes: int | None = None) -> list[Path]:
    """Shards of the first `episodes`, where the teacher acts, one phase in twenty at random."""
    where, gamma, teacher = _episodes(folder, config, "teacher"), config.ppo.gamma, Path(config.teacher)
    todo = config.tasks(config.turns, 0)[:episodes]
    wanted = [Recording(task, where, config.modalities, gamma, teacher, explore=0.05, watched=WATCHED) for task in todo]
    return _record("teacher", wanted, config.workers)


def split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Shards to measure with, and shards to learn from; those of one episode, whose streets are one, stay together."""
    episodes = list(dict.fromkeys(map(episode_of, paths)))
    kept = set(episodes[::HELD_OUT_EVERY])
    return [p for p in paths if episode_of(p) in kept], [p for p in paths if episode_of(p) not in kept]


def _episodes(folder: Path, config: TrainConfig, stage: str) -> Path:
    """Where a stage's shards go; shards of other sensors are other shards."""
    return folder / "episodes" / "+".join(config.modalities) / stage


def _record(stage: str, recordings: Sequence[Recording], workers: int) -> list[Path]:
    with progress(f"Recording, {stage}", total=len(recordings)) as step:
        return record_all(recordings, workers, lambda _: step(1))


def streams(folder: Path, seed: int, episodes: int | None = None) -> Streams:
    """Sensor streams to pretrain a decoder on, with words: the episodes that `iotlam traffic train` starts with.

    Args:
        folder: a run's folder; training there later finds the episodes recorded.
        seed: the run's seed.
        episodes: how many, the first ones; all where None.
    """
    config = TrainConfig(seed=seed)
    return Streams(record_teacher(folder, config, episodes), describe, config.modalities)
