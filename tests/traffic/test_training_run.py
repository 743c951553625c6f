"""A whole training run in small: two minutes of cologne1, a tiny decoder, six steps, two rounds of PPO."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from iotlam.contracts import BadInput
from iotlam.model import IotlamModel, from_pretrained
from iotlam.training.checkpoint import CHECKPOINT
from iotlam.training.imitation import ImitationConfig
from iotlam.training.ppo import PpoConfig
from iotlam.training.shards import ACTION, LOG_PROB, Shard
from iotlam_traffic import record, train
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, RANDOM
from iotlam_traffic.train import REVISIT, Run, TrainConfig

pytestmark = pytest.mark.slow  # whole runs in SUMO

WEIGHTS = ("iotlam.safetensors", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory, config_in: Callable[[Path], Path], tiny_decoder: Path, lanes: Path
) -> TrainConfig:
    return TrainConfig(
        maps=(str(config_in(tmp_path_factory.mktemp("map"))),),
        turns=2,
        span_s=None,
        teacher=str(lanes),
        modalities=("lidar", "radar"),
        decoder=str(tiny_decoder),
        imitation=ImitationConfig(steps=6, batch=4, warmup=1),
        revisit=2,
        ppo=PpoConfig(learning_rate=0.05, clip=0.9, max_kl=10.0),  # fast enough to tell one policy from the next
        rounds=2,
        workers=1,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: TrainConfig) -> Path:
    """A run that nobody stopped."""
    return Run(tmp_path_factory.mktemp("runs") / "finished", config).go()


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "again"))


@pytest.fixture
def imitated(again: Path) -> Path:
    """A run that was stopped before its first round of PPO."""
    shutil.rmtree(again / "ppo")
    return again


def story(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in WEIGHTS]


def policy_at(folder: Path, stage: str) -> IotlamModel:
    """The policy as a stage's checkpoint has it."""
    model, tensors = from_pretrained(folder), load_file(folder / stage / CHECKPOINT)
    state = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    model.load_state_dict(state, strict=False)
    return model


def surprise(model: IotlamModel, path: Path) -> float:
    """Mean distance in nats between what the recording policy thought of its actions and what this one thinks."""
    shard = Shard.load(path)
    samples = [shard[index] for index in range(len(shard))]
    log_prob_N = [
        float(model.answer(sample.tokens, sample.query).logits_BP[0].log_softmax(0)[int(sample.targets[ACTION])])
        for sample in samples
    ]
    return float(np.abs(np.array(log_prob_N) - shard.target(LOG_PROB)).mean())


def stop_in_round(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    improve, calls = train.improve, []

    def stop(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return improve(*arguments)

    monkeypatch.setattr(train, "improve", stop)


def test_it_ends_in_a_model_and_its_story(finished: Path, config: TrainConfig) -> None:
    told = story(finished)
    stages = list(dict.fromkeys(entry["stage"] for entry in told))
    assert stages == ["facts", "imitation-1", "imitation-2", "imitation-3", "ppo-1", "ppo-2", "run"]
    steps = {stage: [e["step"] for e in told if e["stage"] == stage and "step" in e] for stage in stages[:4]}
    first = {"facts": [1, 2, 3], "imitation-1": [1, 2, 3, 4, 5, 6]}
    assert steps == first | {"imitation-2": [1, 2], "imitation-3": [1, 2]}
    agreements = [entry for entry in told if "agreement" in entry]
    assert len(agreements) == 3 and all({"lidar", "radar"} <= entry.keys() for entry in agreements)
    model, tokens = from_pretrained(finished), load_file(finished / "ppo" / CHECKPOINT)
    assert [spec.modality for spec in model.config.modalities] == ["lidar", "radar"]
    assert all(bool(whitening.frozen) for whitening in model.fusion.whitening.values())
    for name, value in model.state_dict().items():
        assert f"weight/{name}" not in tokens or torch.equal(value, tokens[f"weight/{name}"]), name
    assert "last stage: reinforcement" in (finished / "README.md").read_text()
    episodes = finished / "episodes" / "lidar+radar"
    count = {stage.name: len(list(stage.glob("*.safetensors"))) for stage in episodes.iterdir()}
    assert count == {"teacher": 2, "revisit-1": 1, "revisit-2": 1}  # a round's episodes go with the round
    assert not {"workers", "rounds"} & json.loads((finished / "run.json").read_text()).keys()


def test_the_student_revisits_what_it_was_after_imitation(finished: Path) -> None:
    for turn in (1, 2):
        (path,) = (finished / "episodes" / "lidar+radar" / f"revisit-{turn}").glob("*.safetensors")
        then, later = (surprise(policy_at(finished, f"imitation-{turn + step}"), path) for step in (0, 1))
        assert then < 1e-3 and then < 0.2 * later, "tokens are kept in half precision"


def test_a_finished_run_has_nothing_left_to_do(
    again: Path, finished: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "run_parallel", lambda _, items, *__: pytest.fail("recording") if items else [])
    monkeypatch.setattr(train, "improve", lambda *_: pytest.fail("a round"))
    before = story(again)
    assert Run(again, config).go() == again
    assert weights(again) == weights(finished)
    more = story(again)[len(before) :]
    assert [entry["stage"] for entry in more] == ["run"]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_stopped_between_visits_ends_the_same(
    imitated: Path, finished: Path, config: TrainConfig, recorded: bool
) -> None:
    """Stopped before its second visit, or when that had been recorded."""
    shutil.rmtree(imitated / "imitation-3")
    if not recorded:
        shutil.rmtree(imitated / "episodes" / "lidar+radar" / "revisit-2")
    Run(imitated, config).go()
    assert weights(imitated) == weights(finished)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_stopped_in_ppo_goes_on_with_the_policy_it_had(
    imitated: Path, finished: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """Stopped after the second round's episodes were recorded, or before."""
    with monkeypatch.context() as patch:
        stop_in_round(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            Run(imitated, config).go()
    episodes = imitated / "episodes" / "lidar+radar" / "ppo-2"
    if not recorded:
        shutil.rmtree(episodes)
    reinforced, student = policy_at(imitated, "ppo"), policy_at(imitated, "imitation-3")
    improve, seen = train.improve, []

    def watch(*arguments: Any) -> dict[str, float]:
        (path,) = episodes.glob("*.safetensors")
        seen.append((surprise(reinforced, path), surprise(student, path)))
        return improve(*arguments)

    monkeypatch.setattr(train, "improve", watch)
    Run(imitated, config).go()
    ((as_reinforced, as_student),) = seen
    assert as_reinforced < 3e-4 and as_student > 1e-3
    assert weights(imitated) == weights(finished), "to go on is never to have stopped"
    assert [entry["stage"] for entry in story(imitated)][-3:] == ["ppo-1", "ppo-2", "run"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"maps": ("cologne1", "cologn1")}, "did you mean 'cologne1'"),
        ({"maps": ("absent.sumocfg",)}, "absent.sumocfg"),
        ({"modalities": ("lidar", "smell")}, "smell"),
        ({"decoder": "./absent"}, "./absent"),
        ({"turns": 1}, "two or more"),
        ({"maps": ()}, "at least one map"),
        ({"teacher": "./absent"}, "absent/lanes.safetensors"),
    ],
)
def test_a_wrong_option_leaves_the_folder_free(
    tmp_path: Path, config: TrainConfig, wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        Run(tmp_path / "run", replace(config, **wrong))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("other", [{"turns": 3}, {"seed": 1}, {"modalities": ("lidar",)}, {"gamma": 0.5}])
def test_a_run_is_not_mixed_with_another(again: Path, config: TrainConfig, other: dict[str, Any]) -> None:
    before = (again / "run.json").read_bytes()
    if "gamma" in other:
        other = {"ppo": replace(config.ppo, **other)}
    with pytest.raises(BadInput, match="a run with other options; give another --out, or the same options to resume"):
        Run(again, replace(config, **other))
    assert (again / "run.json").read_bytes() == before
    Run(again, replace(config, workers=7, rounds=9))  # how many processes work changes nothing, nor what comes after


def test_a_finished_run_goes_on_with_more_rounds(again: Path, config: TrainConfig) -> None:
    told, before = len(story(again)), weights(again)
    Run(again, replace(config, rounds=3)).go()
    assert [entry["stage"] for entry in story(again)[told:]] == ["ppo-3", "run"]
    assert weights(again) != before


def test_what_somebody_else_keeps_in_the_folder_is_not_replaced(tmp_path: Path, config: TrainConfig) -> None:
    (tmp_path / "README.md").write_text("my notes")
    with pytest.raises(BadInput, match="README.md of something else"):
        Run(tmp_path, config)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "README.md").rename(tmp_path / "notes.md")
    Run(tmp_path, config)  # other files are no matter


def test_streams_are_the_episodes_that_training_starts_with(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Path]] = []

    def note(recordings: list[record.Recording], *_: object) -> list[Path]:
        asked.append([recording.path for recording in recordings])
        return asked[-1]

    monkeypatch.setattr(train, "record_all", note)
    streams = train.streams(tmp_path, seed=3).paths
    assert streams == train.record_teacher(tmp_path, TrainConfig(seed=3, rounds=0)) == asked[0]
    assert len(streams) == 3 * 16 and all("lidar+radar+video/teacher" in str(path) for path in streams)
    assert train.streams(tmp_path, seed=4).paths[0] != streams[0]


def test_an_episode_is_measured_with_or_learnt_from_never_both() -> None:
    names = [f"my.town-{seed}{part}.safetensors" for seed in range(12) for part in ("", ".1", ".2")]
    measured, learnt = train.split([Path(name) for name in names])
    assert [path.name for path in measured] == [name for name in names if re.match(r"my\.town-(0|10)\.", name)]
    assert sorted([*measured, *learnt]) == sorted(map(Path, names))


def test_random_junctions_are_learnt_in_every_stage(tmp_path: Path, config: TrainConfig) -> None:
    maps = (*config.maps, RANDOM)
    Run(tmp_path, replace(config, maps=maps, turns=1, span_s=120.0, modalities=("radar",), revisit=1, rounds=1)).go()
    episodes = tmp_path / "episodes" / "radar"
    names = {
        stage.name: [path.stem for path in sorted(stage.glob("*.safetensors"), reverse=True)]
        for stage in episodes.iterdir()
    }
    first, later = FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + REVISIT
    assert {stage: [name.partition("-")[0] for name in stems] for stage, stems in names.items()} == {
        "teacher": ["short", "random"],
        "revisit-1": ["short", "random"],
    }
    assert names["teacher"][1] == f"random-{first + 1}" and names["revisit-1"][1] == f"random-{later + 1}"
    (rewards,) = (entry["reward"] for entry in story(tmp_path) if entry["stage"] == "ppo-1")
    assert sorted(name.partition("-")[0] for name in rewards) == ["random", "short"]
