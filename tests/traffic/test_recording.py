"""Two recorded minutes of cologne1: what is on disk is what the sensors gave and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.fusion import FusionConfig
from iotlam.model import Decision, IotlamConfig, IotlamModel, from_pretrained, save_pretrained
from iotlam.model.processor import Example
from iotlam.plugins import registry
from iotlam.training.shards import ACTION, FACTS, LOG_PROB, RETURN, REWARD, TEACHER, VALUE, Sample, Shard
from iotlam_street.faults import SensorFaults
from iotlam_street.street import Street
from iotlam_street.weather import CLEAR
from iotlam_traffic.curriculum import Task
from iotlam_traffic.lanes import COUNTS
from iotlam_traffic.query import ANCHOR_M, PHASE_FEATURES
from iotlam_traffic.record import STANDING, VEHICLES, Recording, record, record_all

SENSORS = ("lidar", "radar", "video")
GAMMA = 0.92


@pytest.fixture
def recording(tmp_path: Path, short_config: Path, lanes: Path) -> Recording:
    return Recording(Task(str(short_config), 1000), tmp_path / "episodes", SENSORS, GAMMA, lanes)


@pytest.fixture
def policy(tmp_path: Path, tiny_decoder: Path) -> Path:
    """A small policy with a random decoder, saved."""
    specs = tuple(registry.load(name).spec for name in SENSORS)
    fusion = FusionConfig(d_fusion=16, n_anchors=len(ANCHOR_M))
    model = IotlamModel(IotlamConfig(specs, len(PHASE_FEATURES), decoder=str(tiny_decoder), fusion=fusion))
    with torch.no_grad():  # the head starts near zero: let it have opinions
        for parameter in model.head.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_pretrained(model, tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """The samples as they were before they were packed."""
    samples: list[Sample] = []
    pack = Shard.pack

    def watch(given: list[Sample]) -> Shard:
        samples.extend(given)
        return pack(given)

    monkeypatch.setattr(Shard, "pack", watch)
    return samples


def only(paths: list[Path]) -> Shard:
    """The shard of an episode of which one junction was recorded."""
    (path,) = paths
    return Shard.load(path)


def test_the_teachers_episode_comes_back_within_half_precision(recording: Recording, taken: list[Sample]) -> None:
    (path,) = record(recording)
    assert path == recording.path and path.name == f"{recording.task.name}.safetensors"
    shard = Shard.load(path)
    assert len(shard) == len(taken) == 12 and tuple(shard.modalities) == SENSORS
    seen = dict.fromkeys(SENSORS, 0)
    for index, sample in enumerate(taken):
        again = shard[index]
        np.testing.assert_array_equal(again.query.features_PF, sample.query.features_PF)
        np.testing.assert_array_equal(again.query.allowed_P, sample.query.allowed_P)
        np.testing.assert_array_equal(again.query.anchors_KHX, sample.query.anchors_KHX)
        for name, batch in sample.tokens.items():
            stored = again.tokens[name]
            torch.testing.assert_close(stored.tokens_BTD, batch.tokens_BTD, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(stored.position_BTX, batch.position_BTX, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(stored.time_BT, batch.time_BT, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(stored.mask_BT, batch.mask_BT)
            seen[name] += batch.mask_BT.shape[1]
    assert all(count > 0 for count in seen.values())


def test_the_teachers_targets(recording: Recording) -> None:
    shard = only(record(recording))
    teacher_NP, action_N, reward_N = (shard.target(name) for name in (TEACHER, ACTION, REWARD))
    assert teacher_NP.shape == (12, 4) and action_N.shape == reward_N.shape == (12,)
    for scores_P, action in zip(teacher_NP, action_N.astype(int), strict=True):
        assert scores_P[action] == scores_P.max()
    assert (reward_N <= 0).all() and reward_N.sum() < 0
    return_N = shard.target(RETURN)
    np.testing.assert_allclose(return_N[:-1], reward_N[:-1] + GAMMA * return_N[1:], rtol=1e-4)
    assert return_N[-1] == pytest.approx(reward_N[-1] + GAMMA * reward_N.mean() / (1 - GAMMA), rel=1e-4)


def test_what_is_true_of_each_lane_is_recorded(recording: Recording) -> None:
    shard = only(record(recording))
    seen_m = [float(np.sum(shard.target(FACTS)[:, :, bins]) * 2.0) for bins in (slice(7), slice(8), slice(8, 16))]
    vehicles, standing = float(shard.target(VEHICLES).sum()), float(shard.target(STANDING).sum())
    assert shard.target(FACTS).shape == (*shard.target(VEHICLES).shape, COUNTS)
    assert 0.0 < seen_m[0] <= vehicles <= seen_m[1]  # up to 95 m, 105 m, 125 m
    assert 0.0 < standing <= seen_m[2]


def test_returns_follow_the_discount_that_is_asked_for(recording: Recording) -> None:
    shard = only(record(replace(recording, gamma=0.0, modalities=("radar",))))
    np.testing.assert_array_equal(shard.target(RETURN), shard.target(REWARD))


def test_exploring_departs_from_the_teacher_within_what_is_allowed(recording: Recording) -> None:
    shard = only(record(replace(recording, explore=1.0, modalities=("radar",))))
    action_N, teacher_NP = shard.target(ACTION).astype(int), shard.target(TEACHER)
    assert (teacher_NP.argmax(axis=1) != action_N).sum() >= 3
    assert all(shard[index].query.allowed_P[action] for index, action in enumerate(action_N))


def test_a_shard_that_exists_is_kept(recording: Recording) -> None:
    recording.folder.mkdir()
    recording.path.write_bytes(b"kept")
    assert [path.read_bytes() for path in record(recording)] == [b"kept"]


def test_the_policy_acts_and_says_how_sure_it_was(recording: Recording, policy: Path, taken: list[Sample]) -> None:
    record(replace(recording, model=policy, draw=True))
    model = from_pretrained(policy)
    drawn = set()
    for sample in taken:
        decision = model.answer(sample.tokens, sample.query)
        log_P = decision.logits_BP[0].log_softmax(0)
        action = int(sample.targets[ACTION])
        assert float(sample.targets[LOG_PROB]) == pytest.approx(float(log_P[action]), abs=1e-4)
        assert float(sample.targets[VALUE]) == pytest.approx(float(decision.value_B[0]), abs=1e-4)
        drawn.add(action != int(log_P.argmax()))
    assert drawn == {True, False}  # it draws; always its best choice would be no exploration


def test_without_drawing_the_policy_takes_its_best_choice(
    recording: Recording, policy: Path, taken: list[Sample]
) -> None:
    shard = only(record(replace(recording, model=policy)))
    model = from_pretrained(policy)
    best = [int(model.answer(s.tokens, s.query).logits_BP[0].argmax()) for s in taken]
    assert shard.target(ACTION).astype(int).tolist() == best
    assert shard.target(TEACHER).shape == (12, 4)  # what the teacher would have done, for DAgger


def test_a_locked_street_is_left(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = iter([False, False, True])
    monkeypatch.setattr(Street, "locked", property(lambda _: next(locked)))
    assert len(only(record(replace(recording, modalities=("radar",))))) == 3


def test_on_policy_recordings_cannot_explore(recording: Recording) -> None:
    with pytest.raises(ValueError, match="cannot explore"):
        replace(recording, draw=True, explore=0.1)


def test_one_junction_of_many_is_recorded(recording: Recording) -> None:
    tasks = [Task("cologne3", seed, 60.0) for seed in range(1000, 1004)]
    shards = [only(record(replace(recording, task=task, modalities=("radar",)))) for task in tasks]
    assert [len(shard) for shard in shards] == [6] * 4  # the street was filled before
    assert len({shard[0].query.anchors_KHX.tobytes() for shard in shards}) > 1  # not always the same


def test_the_student_acts_everywhere_and_some_junctions_are_recorded(
    recording: Recording, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[int]] = []
    chosen: list[list[int]] = []
    advance, answer_all = Street.advance, IotlamModel.answer_all

    def answer(model: IotlamModel, asked: Sequence[Example]) -> Decision:
        decision = answer_all(model, asked)
        chosen.append(decision.logits_BP.argmax(1).tolist())
        return decision

    monkeypatch.setattr(IotlamModel, "answer_all", answer)
    monkeypatch.setattr(Street, "advance", lambda street, phases: shown.append(list(phases)) or advance(street, phases))
    wanted = replace(recording, task=Task("cologne3", 1000, 60.0), modalities=SENSORS, model=policy, watched=2)
    paths = record(wanted)
    assert paths == record(wanted) == wanted.paths and paths[0] == wanted.path
    one, other = map(Shard.load, paths)
    assert len(one) == len(other) == 6 and not np.array_equal(one[0].query.anchors_KHX, other[0].query.anchors_KHX)
    recorded = np.stack([one.target(ACTION), other.target(ACTION)]).astype(int).tolist()
    assert shown[-6:] == chosen and len(chosen[0]) == 3
    by_junction = np.transpose(chosen).tolist()
    assert all(actions in by_junction for actions in recorded)
    assert not list(recording.folder.glob("*.partial"))


def test_what_is_drawn_at_many_junctions_is_each_ones_own(
    recording: Recording, policy: Path, taken: list[Sample]
) -> None:
    task = Task("cologne3", 1000, 60.0)
    record(replace(recording, task=task, model=policy, draw=True, watched=3))
    assert len(taken) == 3 * 6 and len({sample.query.serves_PK.shape for sample in taken}) > 1
    model = from_pretrained(policy)
    for sample in taken:
        decision, action = model.answer(sample.tokens, sample.query), int(sample.targets[ACTION])
        log_prob = float(decision.logits_BP[0].log_softmax(0)[action])
        assert float(sample.targets[LOG_PROB]) == pytest.approx(log_prob, abs=1e-4)
        assert float(sample.targets[VALUE]) == pytest.approx(float(decision.value_B[0]), abs=1e-4)


def test_every_junction_is_recorded_where_there_are_fewer(recording: Recording, policy: Path) -> None:
    task = Task("cologne3", 1000, 30.0)
    paths = record(replace(recording, task=task, modalities=("radar",), model=policy, watched=9))
    assert len(paths) == 3 and len({Shard.load(path)[0].query.anchors_KHX.tobytes() for path in paths}) == 3


def test_a_sensor_may_be_silent_for_a_while(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotlam_traffic.record._trouble", lambda _: (SensorFaults(lost=0.8), CLEAR))
    shard = only(record(replace(recording, modalities=("lidar",))))
    tokens = [shard[index].tokens["lidar"].mask_BT.shape[1] for index in range(len(shard))]
    assert len(tokens) == 12 and min(tokens) == 0 < max(tokens)


@pytest.mark.slow
def test_episodes_are_recorded_in_processes_of_their_own(recording: Recording, short_config: Path) -> None:
    wanted = [replace(recording, task=Task(str(short_config), seed), modalities=("radar",)) for seed in (1000, 1001)]
    done: list[Path] = []
    paths = record_all(wanted, 2, done.extend)
    assert paths == [item.path for item in wanted] and sorted(done) == sorted(paths)
    one, other = (Shard.load(path) for path in paths)
    assert not np.array_equal(one.target(REWARD), other.target(REWARD))
    assert not list(recording.folder.glob("*.partial"))
