"""Traffic signals as a task for federated rounds: each city or junction is a device with its own streets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from iotlam.contracts import BadInput, Json, Record
from iotlam.decoder import choose
from iotlam.federated.local import LocalData, Task
from iotlam.model import IotlamModel
from iotlam.training.imitation import choice_loss
from iotlam.training.ppo import PpoConfig
from iotlam.training.shards import TEACHER, Sample, Shard
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, check_maps, tasks
from iotlam_traffic.lanes import SHIPPED as LANES
from iotlam_traffic.lanes import WEIGHTS
from iotlam_traffic.policy import SHIPPED, load_policy
from iotlam_traffic.race import contents
from iotlam_traffic.record import Recording, record
from iotlam_traffic.train import TEACHING, WATCHED, TrainConfig

FIRST = FIRST_TRAINING_SEED // 2
"""SUMO seeds of devices begin here: beyond those of evaluation, before those of training, which the policy has met."""

MOST_SEEDS = 100
"""Episodes of a device; each has a SUMO seed of its own."""

SENSORS = TrainConfig().modalities
"""Those that the policy has learnt with."""

BATCH = 64

STEP_FLOPS = 6e9
"""Of one optimiser step of the shipped policy, as torch counts them: 4.9e9 to 7.0e9, by junction and rank."""


class Source(Record, frozen=True):
    """Where one device has learnt its trade.

    Attributes:
        map: RESCO map, `.sumocfg` file, or `random` for a random junction.
        episodes: how many; the last of several is kept from learning.
        span_s: length of an episode, cut from the map's hour at random, seconds.
        sensors: that its junctions have.
        seed: of the episodes.
        folder: where they are recorded once; empty for a cache in the user's home.
    """

    map: str
    episodes: Annotated[int, Meta(gt=0, le=MOST_SEEDS)] = 3
    span_s: Annotated[float, Meta(ge=60.0)] = 600.0
    sensors: tuple[str, ...] = SENSORS
    seed: Annotated[int, Meta(ge=0, lt=(FIRST_TRAINING_SEED - FIRST) // MOST_SEEDS)] = 0
    folder: str = ""

    def __post_init__(self) -> None:
        if not self.sensors or set(self.sensors) - set(SENSORS):
            got = ", ".join(self.sensors) or "none"
            raise BadInput("data.sensors", expected=f"some of {', '.join(SENSORS)}", got=got, fix="correct it")


def task(base: Path | None) -> Task:
    """The task: the phase that the teacher, who sees the simulator's state, would show.

    Args:
        base: folder of the policy that all devices begin with; None for the shipped one.
    """
    load_policy(base)  # refuses one for other questions
    return Task(base or SHIPPED, choice_loss, agreed, replace(TEACHING, batch=16, drop=0.0), STEP_FLOPS)


def check(source: Json) -> None:
    """Refuse a source whose map is not here.

    Raises:
        BadInput: if it is no source, or there is no such map or sensor.
    """
    check_maps([Source.from_raw(source, "data").map])


def data(source: Json) -> LocalData:
    """What a device's sensors saw, and what the teacher did; recorded in SUMO where it has not been.

    Args:
        source: as a `Source`.

    Raises:
        BadInput: if it is no source, or there is no such map or sensor.
    """
    wanted = Source.from_raw(source, "data")
    check_maps([wanted.map])
    episodes = [_samples(recording) for recording in _recordings(wanted)]
    learnt, held_out = (episodes[:-1], episodes[-1]) if len(episodes) > 1 else (episodes, [])
    return LocalData([sample for episode in learnt for sample in episode], held_out)


def agreed(model: IotlamModel, samples: Sequence[Sample]) -> float:
    """Share of decisions in which the model chooses one of the teacher's best."""
    right = []
    for start in range(0, len(samples), BATCH):
        some = samples[start : start + BATCH]
        choice_B = choose(model.answer_all([(dict(sample.tokens), sample.query) for sample in some]).logits_BP)
        for sample, choice in zip(some, choice_B.tolist(), strict=True):
            scores_P = np.where(sample.query.allowed_P, sample.targets[TEACHER], -np.inf)
            right.append(scores_P[choice] >= scores_P.max() - 1e-6)
    return float(np.mean(right))


def _recordings(wanted: Source) -> list[Recording]:
    with (LANES / WEIGHTS).open("rb") as file:
        teacher = hashlib.file_digest(file, "sha256").hexdigest()[:12]  # another teacher would have done otherwise
    root = Path(wanted.folder) if wanted.folder else Path.home() / ".cache" / "iotlam" / "episodes"
    folder = root / f"{'+'.join(wanted.sensors)}-{teacher}-{wanted.span_s:g}s{_content(wanted.map)}"
    todo = tasks((wanted.map,), wanted.episodes, FIRST + MOST_SEEDS * wanted.seed, wanted.span_s)
    gamma = PpoConfig().gamma
    return [Recording(one, folder, wanted.sensors, gamma, LANES, explore=0.05, watched=WATCHED) for one in todo]


def _content(map_name: str) -> str:
    """Digest of a net of one's own, with its routes and times: what was recorded before they changed is another's."""
    if not map_name.endswith(".sumocfg"):
        return ""
    scenario = find_scenario(map_name)
    facts = scenario.begin_s, scenario.end_s, contents(scenario)
    return f"-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def _samples(recording: Recording) -> list[Sample]:
    shards = [Shard.load(path) for path in record(recording)]
    return [shard[index] for shard in shards for index in range(len(shard))]
