"""Recording episodes to learn from: what the sensors gave, and what a teacher would have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from iotlam.contracts import DecisionQuery, TokenBatch
from iotlam.decoder import choose
from iotlam.model import IotlamModel, IotlamProcessor, from_pretrained
from iotlam.training.ppo import discounted
from iotlam.training.shards import ACTION, LOG_PROB, RETURN, REWARD, TEACHER, VALUE, Sample, Shard
from iotlam_street.env import LOST_S_PER_REWARD
from iotlam_street.faults import SensorFaults
from iotlam_street.junction import HALTING_MPS, Junction
from iotlam_street.rig import SensorRig
from iotlam_street.street import Street
from iotlam_street.weather import CLEAR, WEATHERS, Weather
from iotlam_traffic.curriculum import Task
from iotlam_traffic.lanes import WEIGHTS, LaneNet, fill, lane_view, load_lanes, phase_scores
from iotlam_traffic.parallel import run_parallel
from iotlam_traffic.query import junction_query

SEEN_M = 75.0
"""How far from the stop line the recorded facts of a lane reach: as far as the query's anchors."""

MOST_LOST, MOST_SIGMA_M, LEAST_DETECTION = 0.6, 30.0, 0.7
"""Bounds of the faults that are drawn for an episode."""

VEHICLES, STANDING, WAIT_S = "vehicles_K", "standing_K", "wait_s_K"
"""Targets that say what is true of the K lanes, for words about them (words.py) and for measuring."""


@dataclass(frozen=True, slots=True)
class Recording:
    """How to record one task: one junction of it, drawn by its seed, has sensors; the teacher acts at all others.

    Attributes:
        task: the episode.
        folder: where nets are drawn and the shard goes.
        modalities: sensors to record.
        gamma: discount per decision of the recorded returns.
        teacher: folder of the lane policy that teaches.
        model: folder of the policy that acts at the junction, or None for the teacher.
        explore: probability of a random allowed phase instead.
        draw: the policy draws from its probabilities instead of taking its best choice; then `explore` must be 0, so
            that the recorded probabilities are those acted on.
    """

    task: Task
    folder: Path
    modalities: tuple[str, ...]
    gamma: float
    teacher: Path
    model: Path | None = None
    explore: float = 0.0
    draw: bool = False

    def __post_init__(self) -> None:
        if self.draw and self.explore:
            raise ValueError("an on-policy recording cannot explore")

    @property
    def path(self) -> Path:
        """The shard's file."""
        return self.folder / f"{self.task.name}.safetensors"


def record(recording: Recording) -> Path:
    """Run one episode and write its shard; a shard that exists is kept."""
    if recording.path.exists():
        return recording.path
    torch.set_num_threads(1)
    rng = np.random.default_rng(recording.task.seed)
    scenario, from_s = recording.task.scenario(recording.folder / "nets")
    teacher = load_lanes(recording.teacher / WEIGHTS)
    with Street(scenario, recording.task.seed) as street:
        fill(street, teacher, from_s)
        watched = int(rng.integers(len(street.junctions)))
        samples = _watch(street, watched, teacher, recording, rng)
    reward_N = np.array([sample.targets[REWARD] for sample in samples], np.float32)
    steady = float(reward_N[-20:].mean()) / (1.0 - recording.gamma)  # what would follow if all went on as at the end
    returns_N = discounted(reward_N, recording.gamma, bootstrap=steady)
    Shard.pack(samples).with_targets({RETURN: returns_N}).save(recording.path)
    return recording.path


def _watch(
    street: Street, watched: int, teacher: LaneNet, recording: Recording, rng: np.random.Generator
) -> list[Sample]:
    """The decisions of one junction until the street is done."""
    processor = IotlamProcessor(recording.modalities)
    model = from_pretrained(recording.model) if recording.model else None
    junction = street.junctions[watched]
    faults, weather = _trouble(rng)
    rig = SensorRig(junction.plan.approaches, weather=weather)
    samples: list[Sample] = []
    while not street.done:
        query = junction_query(junction)
        frames = faults.sense(rig, junction.plan, junction.snapshots, rng, recording.modalities)
        tokens = processor.tokenize(frames, query)
        scores = phase_scores(teacher, [lane_view(each) for each in street.junctions])
        phases = [int(scores_P.argmax()) for scores_P in scores]
        facts = _act(model, tokens, query, recording, phases[watched], rng)
        phases[watched] = int(facts[ACTION])
        seen = lane_facts(junction)
        facts[REWARD] = -street.advance(phases)[watched] / LOST_S_PER_REWARD
        named = {TEACHER: scores[watched], **seen, **facts}
        targets = {name: np.asarray(value, np.float32) for name, value in named.items()}
        samples.append(Sample(tokens, query, targets))
    return samples


def _trouble(rng: np.random.Generator) -> tuple[SensorFaults, Weather]:
    """What an episode's sensors suffer; in every other one nothing: a policy should doubt them, yet not much."""
    weather = WEATHERS[str(rng.choice(list(WEATHERS)))]
    faults = SensorFaults(
        lost=float(rng.uniform(0.0, MOST_LOST)),
        sigma_m=float(rng.uniform(0.0, MOST_SIGMA_M)),
        detection=float(rng.uniform(LEAST_DETECTION, 1.0)),
    )
    return (SensorFaults(), CLEAR) if rng.uniform() < 0.5 else (faults, weather)


def lane_facts(junction: Junction) -> dict[str, list[float]]:
    """What is true of each of the K lanes now: vehicles, standing ones, and the longest wait in seconds."""
    near = [(traffic, traffic.distance_N <= SEEN_M) for traffic in junction.traffic()]
    return {
        VEHICLES: [float(near_N.sum()) for _, near_N in near],
        STANDING: [float((near_N & (traffic.speed_N < HALTING_MPS)).sum()) for traffic, near_N in near],
        WAIT_S: [float(traffic.waiting_N[near_N].max(initial=0.0)) for traffic, near_N in near],
    }


def record_all(recordings: Sequence[Recording], workers: int, on_done: Callable[[Path], None]) -> list[Path]:
    """Record in `workers` processes; shards that exist are kept; order is kept."""
    missing = [recording for recording in recordings if not recording.path.exists()]
    for recording in recordings:
        if recording not in missing:
            on_done(recording.path)
    run_parallel(record, missing, workers, on_done)
    return [recording.path for recording in recordings]


def _act(
    model: IotlamModel | None,
    tokens: Mapping[str, TokenBatch],
    query: DecisionQuery,
    recording: Recording,
    teacher_phase: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """The phase to show, and what PPO needs to know of the policy that chose it."""
    action, facts = teacher_phase, {}
    if model is not None:
        decision = model.answer(tokens, query)
        probability_P = decision.logits_BP[0].softmax(0).double().numpy()
        probability_P /= probability_P.sum()
        action = int(rng.choice(len(probability_P), p=probability_P) if recording.draw else choose(decision.logits_BP))
        facts = {LOG_PROB: float(np.log(probability_P[action])), VALUE: float(decision.value_B[0])}
    if rng.uniform() < recording.explore:
        action = int(rng.choice(np.flatnonzero(query.allowed_P)))
    return {ACTION: action, **facts}
