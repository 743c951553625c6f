"""Recording episodes to learn from: what the sensors gave, and what a teacher would have done."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from iotlam.contracts import DecisionQuery, TokenBatch
from iotlam.model import IotlamModel, IotlamProcessor, from_pretrained
from iotlam.training.parallel import run_parallel
from iotlam.training.ppo import discounted
from iotlam.training.shards import ACTION, FACTS, LOG_PROB, RETURN, REWARD, TEACHER, VALUE, Sample, Shard
from iotlam_street.env import LOST_S_PER_REWARD
from iotlam_street.faults import SensorFaults
from iotlam_street.junction import HALTING_MPS, Junction
from iotlam_street.street import Street
from iotlam_street.weather import CLEAR, WEATHERS, Weather
from iotlam_traffic.curriculum import Task
from iotlam_traffic.lanes import COUNTS, WEIGHTS, LaneNet, fill, lane_view, load_lanes, phase_scores
from iotlam_traffic.query import ANCHOR_M
from iotlam_traffic.site import Site
from iotlam_traffic.together import agree

SEEN_M = float(ANCHOR_M[-1])
"""How far from the stop line the recorded facts of a lane reach: as far as the query's anchors."""

MOST_LOST, MOST_SIGMA_M, LEAST_DETECTION = 0.6, 30.0, 0.7
"""Bounds of the faults that are drawn for a junction."""

VEHICLES, STANDING, WAIT_S = "vehicles_K", "standing_K", "wait_s_K"
"""Targets that say what is true of the K lanes, for words about them (words.py) and for measuring."""

Seen = tuple[dict[str, TokenBatch], DecisionQuery]
"""The tokens of a junction's sensors, by modality, and what is asked there."""


@dataclass(frozen=True, slots=True)
class Recording:
    """How to record one task.

    Attributes:
        task: the episode.
        folder: where nets are drawn and the shards go.
        modalities: sensors to record.
        gamma: discount per decision of the recorded returns.
        teacher: folder of the lane policy that teaches.
        model: folder of the policy that acts at every junction, through sensors, or None for the teacher.
        explore: probability of a random allowed phase instead, at the junctions that have sensors: the recorded
            ones, or all where a policy acts.
        draw: the policy draws from its probabilities instead of taking its best choice; then `explore` must be 0, so
            that the recorded probabilities are those acted on.
        watched: how many junctions are recorded at most; the task's seed draws which.
    """

    task: Task
    folder: Path
    modalities: tuple[str, ...]
    gamma: float
    teacher: Path
    model: Path | None = None
    explore: float = 0.0
    draw: bool = False
    watched: int = 1

    def __post_init__(self) -> None:
        if self.draw and self.explore:
            raise ValueError("an on-policy recording cannot explore")

    @property
    def path(self) -> Path:
        """The shard of the first junction; it is written last."""
        return self.folder / f"{self.task.name}.safetensors"

    @property
    def paths(self) -> list[Path]:
        """The shards, one for each junction that was recorded."""
        return [self.path, *sorted(self.folder.glob(f"{glob.escape(self.task.name)}.*.safetensors"))]


def episode_of(shard: Path) -> str:
    """Name of the task whose episode a shard is of."""
    return re.sub(r"\.\d+$", "", shard.stem)


def record(recording: Recording) -> list[Path]:
    """Run one episode and write its shards; those that exist are kept."""
    if recording.path.exists():
        return recording.paths
    torch.set_num_threads(1)
    rng = np.random.default_rng(recording.task.seed)
    scenario, from_s = recording.task.scenario(recording.folder / "nets")
    teacher = load_lanes(recording.teacher / WEIGHTS)
    with Street(scenario, recording.task.seed) as street:
        fill(street, teacher, from_s)
        shards = _watch(street, teacher, recording, rng)
    for number in reversed(range(1, len(shards))):
        shards[number].save(recording.path.with_suffix(f".{number}.safetensors"))
    shards[0].save(recording.path)
    return recording.paths


def _watch(street: Street, teacher: LaneNet, recording: Recording, rng: np.random.Generator) -> list[Shard]:
    """The decisions of some junctions until the street is done, or locked."""
    junctions = street.junctions
    watched = rng.permutation(len(junctions))[: recording.watched].tolist()
    model = from_pretrained(recording.model) if recording.model else None
    with_sensors = range(len(junctions)) if model else watched
    processor = IotlamProcessor(recording.modalities)
    sites = {row: Site(junctions[row].plan, recording.modalities, *_trouble(rng), rng) for row in with_sensors}
    samples: dict[int, list[Sample]] = {row: [] for row in watched}
    while not street.done:
        sensed = {row: site.sense(junctions[row]) for row, site in sites.items()}
        seen = {row: (processor.tokenize(frames, query), query) for row, (frames, query) in sensed.items()}
        views = [lane_view(junction) for junction in junctions]
        scores = phase_scores(teacher, views)
        phases = agree(junctions, scores)
        acts = _act(model, [junctions[row] for row in seen], seen, recording, phases, rng)
        facts = {
            row: {
                TEACHER: scores[row],
                FACTS: views[row].lanes_KF[:, :COUNTS],
                **lane_facts(junctions[row]),
                **acts[row],
            }
            for row in watched
        }
        for row, act in acts.items():
            phases[row] = int(act[ACTION])
        lost_s_J = street.advance(phases)
        for row, known in facts.items():
            targets = known | {REWARD: -lost_s_J[row] / LOST_S_PER_REWARD}
            samples[row].append(Sample(*seen[row], {name: np.asarray(v, np.float32) for name, v in targets.items()}))
        if street.locked:  # what is done from now on teaches nothing
            break
    return [_with_returns(Shard.pack(samples[row]), recording.gamma) for row in watched]


def _with_returns(shard: Shard, gamma: float) -> Shard:
    reward_N = shard.target(REWARD)
    steady = float(reward_N[-20:].mean()) / (1.0 - gamma)  # what would follow if all went on as at the end
    return shard.with_targets({RETURN: discounted(reward_N, gamma, bootstrap=steady)})


def _trouble(rng: np.random.Generator) -> tuple[SensorFaults, Weather]:
    """What a junction's sensors suffer; half of them nothing: a policy should doubt them, yet not much."""
    troubles = (
        (SensorFaults(), WEATHERS[str(rng.choice(list(WEATHERS)))]),
        (SensorFaults(lost=float(rng.uniform(0.0, MOST_LOST))), CLEAR),
        (SensorFaults(sigma_m=float(rng.uniform(0.0, MOST_SIGMA_M))), CLEAR),
        (SensorFaults(detection=float(rng.uniform(LEAST_DETECTION, 1.0))), CLEAR),
    )
    return troubles[rng.integers(len(troubles))] if rng.uniform() < 0.5 else (SensorFaults(), CLEAR)


def lane_facts(junction: Junction) -> dict[str, list[float]]:
    """What is true of each of the K lanes now: vehicles, standing ones, and the longest wait in seconds."""
    near = [(traffic, traffic.distance_N <= SEEN_M) for traffic in junction.traffic()]
    return {
        VEHICLES: [float(near_N.sum()) for _, near_N in near],
        STANDING: [float((near_N & (traffic.speed_N < HALTING_MPS)).sum()) for traffic, near_N in near],
        WAIT_S: [float(traffic.waiting_N[near_N].max(initial=0.0)) for traffic, near_N in near],
    }


def record_all(recordings: Sequence[Recording], workers: int, on_done: Callable[[list[Path]], None]) -> list[Path]:
    """Record in `workers` processes; shards that exist are kept; all of them, in the order of the recordings."""
    missing = [recording for recording in recordings if not recording.path.exists()]
    for recording in recordings:
        if recording not in missing:
            on_done(recording.paths)
    run_parallel(record, missing, workers, on_done)
    return [path for recording in recordings for path in recording.paths]


def _act(
    model: IotlamModel | None,
    junctions: Sequence[Junction],
    seen: Mapping[int, Seen],
    recording: Recording,
    phases: Sequence[int],
    rng: np.random.Generator,
) -> dict[int, dict[str, float]]:
    """By junction that has sensors: the phase to show, and what PPO needs to know of the policy that chose it.

    Args:
        model: the policy, or None for the teacher.
        junctions: those that have sensors.
        seen: by junction, what it was asked.
        recording: how to act.
        phases: the teacher's, of every junction.
        rng: of what is drawn.
    """
    acts: dict[int, dict[str, float]] = {row: {ACTION: phases[row]} for row in seen}
    if model is not None:
        acts = dict(zip(seen, _answers(model, junctions, list(seen.values()), recording.draw, rng), strict=True))
    for row, (_, query) in seen.items():
        if rng.uniform() < recording.explore:
            acts[row][ACTION] = int(rng.choice(np.flatnonzero(query.allowed_P)))
    return acts


def _answers(
    model: IotlamModel, junctions: Sequence[Junction], asked: Sequence[Seen], draw: bool, rng: np.random.Generator
) -> list[dict[str, float]]:
    """What a policy chooses, best or drawn, how likely that was, and what it expects."""
    decision = model.answer_all(asked)
    probability_BP = decision.logits_BP.double().softmax(1).numpy()
    phases = agree(junctions, list(decision.logits_BP.numpy()))
    if draw:
        phases = [int(rng.choice(len(probability_P), p=probability_P)) for probability_P in probability_BP]
    return [
        {ACTION: phase, LOG_PROB: float(np.log(probability_P[phase])), VALUE: float(value)}
        for phase, probability_P, value in zip(phases, probability_BP, decision.value_B, strict=True)
    ]
