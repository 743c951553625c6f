"""Training the lane policy: PPO from nothing, then generations of looking ahead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from iotlam.contracts import BadInput
from iotlam.training.checkpoint import load_checkpoint, save_checkpoint
from iotlam.training.parallel import run_parallel
from iotlam.training.ppo import PpoConfig
from iotlam.training.progress import progress
from iotlam.training.run_folder import claim, log_metrics, options_of
from iotlam.training.seeds import seed_everything
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, LEARNT_MAPS, Task, check_maps, tasks
from iotlam_traffic.foresight import ForesightConfig, label, learn, load_states
from iotlam_traffic.lane_ppo import LANE_PPO, Drive, drive, improve
from iotlam_traffic.lanes import WEIGHTS, LaneNet, load_lanes, save_lanes

FORESIGHT = 50_000
"""First seed of the generations, counted from the run's first."""

RESUMABLE = ("workers", "generations")
"""Options that may differ when a run is resumed: a generation more changes nothing of those before."""


@dataclass(frozen=True, slots=True)
class LaneRunConfig:
    """One training run.

    Attributes:
        maps: RESCO maps, `.sumocfg` files, or `random` for random junctions; each is one episode of a round, and may be
            named more than once.
        rounds: of PPO.
        generations: of looking ahead.
        per_map: episodes of each map in a generation.
        span_s: length of an episode of PPO, from some moment of the map's hour; None for all of it. Generations look
            ahead in whole hours.
        ppo, foresight: the knobs.
        workers: processes.
        seed: seed of everything.
    """

    maps: tuple[str, ...] = LEARNT_MAPS
    rounds: int = 60
    generations: int = 7
    per_map: int = 1
    span_s: float | None = None
    ppo: PpoConfig = LANE_PPO
    foresight: ForesightConfig = field(default_factory=ForesightConfig)
    workers: int = 2
    seed: int = 0

    def tasks(self, offset: int, turns: int, span_s: float | None) -> list[Task]:
        """Episodes of so many rounds; `offset` is of their seeds."""
        return tasks(self.maps, turns, FIRST_TRAINING_SEED * (1 + self.seed) + offset, span_s)


class LaneRun:
    """A run in its folder; started again, it goes on from the last round or generation, also for more generations.

    Args:
        folder: where weights, checkpoint and curve go.
        config: what to do.

    Raises:
        BadInput: if a map does not exist, or the folder holds a run with other options.
    """

    def __init__(self, folder: Path, config: LaneRunConfig) -> None:
        self.folder, self.config = folder, config
        check_maps(config.maps)
        torch.set_num_threads(1)
        seed_everything(config.seed)
        self.net = LaneNet()
        self._recipe = options_of(config, RESUMABLE)
        claim(folder, self._recipe)

    def go(self) -> Path:
        """Do what is left of the run; returns the file of the weights."""
        start = time.monotonic()
        self._reinforce(start)
        self._look_ahead(start)
        save_lanes(self.net, self.folder / WEIGHTS)
        return self.folder / WEIGHTS

    def _reinforce(self, start: float) -> None:
        config, folder = self.config, self.folder / "ppo"
        optimizer = torch.optim.Adam(self.net.parameters(), config.ppo.learning_rate, eps=1e-5)
        done = load_checkpoint(folder, self.net, optimizer, self._recipe)
        with progress("Reinforcing", total=config.rounds) as step:
            step(done)
            for turn in range(done, config.rounds):
                jobs = self._jobs(config.tasks(turn * len(config.maps), 1, config.span_s))
                driven = run_parallel(partial(drive, config=config.ppo), jobs, config.workers, lambda _: None)
                left = 1.0 - turn / config.rounds
                facts = improve(self.net, optimizer, driven, config.ppo, left, lambda _: None)
                delay_s = {job.task.name: round(one.delay_s, 2) for job, one in zip(jobs, driven, strict=True)}
                self._log("ppo", round=turn + 1, seconds=time.monotonic() - start, **facts, delay_s=delay_s)
                save_checkpoint(folder, self.net, optimizer, turn + 1, self._recipe)
                step(1, delay_s=float(np.median(list(delay_s.values()))))

    def _look_ahead(self, start: float) -> None:
        config = self.config
        for turn in range(config.generations):
            weights = self.folder / f"generation-{turn + 1}.safetensors"
            if weights.exists():
                self.net.load_state_dict(load_lanes(weights).state_dict())
                continue
            paths = self._label(turn)
            kept = range(max(0, turn + 1 - config.foresight.keep), turn)
            past = [path for earlier in kept for path in sorted(self._labels(earlier).iterdir())]
            found = {path.stem: load_states(path) for path in [*past, *paths]}
            episodes = [states for states, _ in found.values() if states]
            if not episodes:
                fix = "lengthen the episodes"
                raise BadInput("Looking ahead", expected="states with a choice", got="none", fix=fix)
            delay_s = {path.stem: round(found[path.stem][1], 2) for path in paths}
            with progress("Learning what phases cost", total=None) as step:
                facts = learn(
                    self.net, episodes, config.foresight, (config.seed, turn), lambda loss: step(1, loss=loss)
                )
            seconds = time.monotonic() - start
            self._log(
                "foresight",
                generation=turn + 1,
                states=sum(map(len, episodes)),
                seconds=seconds,
                **facts,
                delay_s=delay_s,
            )
            save_lanes(self.net, weights)

    def _label(self, turn: int) -> list[Path]:
        """Look ahead on the episodes of a generation; returns the files of their states."""
        config = self.config
        first = FORESIGHT + turn * len(config.maps) * config.per_map
        jobs = self._jobs(config.tasks(first, config.per_map, None))
        work = partial(label, config=config.foresight, folder=self._labels(turn))
        with progress(f"Looking ahead, {turn + 1} of {config.generations}", total=len(jobs)) as step:
            return run_parallel(work, jobs, config.workers, lambda _: step(1))

    def _labels(self, turn: int) -> Path:
        return self.folder / "foresight" / str(turn + 1)

    def _jobs(self, todo: Sequence[Task]) -> list[Drive]:
        weights = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        return [Drive(task, self.folder / "nets", weights) for task in todo]

    def _log(self, stage: str, **facts: object) -> None:
        log_metrics(self.folder, stage, **facts)
