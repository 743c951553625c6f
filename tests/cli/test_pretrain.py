"""`iotlam pretrain`: any application's streams, any modality's encoder; wrong options are said before recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.plugins import load
from iotlam.training import encoders, pretrain

STREAMS = """
import numpy as np
import torch
from iotlam.contracts import DecisionQuery, TokenBatch
from iotlam.training.shards import Sample, Shard
from iotlam.training.streams import Streams

def streams(folder, seed):
    (folder / "asked").parent.mkdir(parents=True, exist_ok=True)
    (folder / "asked").write_text(str(seed))
    line_KHX = np.array([[[0.0, 0.0], [5.0, 0.0]]], np.float32)
    query = DecisionQuery(line_KHX, np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), np.ones(1, bool))
    paths = [folder / f"{index}.safetensors" for index in range(2)]
    for path in paths:
        tokens = TokenBatch(
            torch.randn(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2), "bell", torch.zeros(1, 2, 2)
        )
        Shard.pack([Sample({"bell": tokens}, query, {})] * 9).save(path)
    return Streams(paths, lambda sample, places: f"{len(places)} bells ring.", ("bell",))
"""
RUNNER = CliRunner()
Install = Callable[..., Path]


@pytest.fixture
def bells(install: Install) -> None:
    install("acme_bells", STREAMS, {"iotlam.streams": {"bells": "acme_bells:streams"}})


def test_a_decoder_learns_the_streams_that_are_named(
    bells: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "HELD_OUT_LINES", 4)
    out, work = tmp_path / "out", tmp_path / "work"
    command = ["pretrain", "--streams", "bells", "--out", str(out), "--work", str(work), "--steps", "2", "--seed", "4"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["steps"], facts["seed"], facts["preset"]) == (2, 4, "nano")
    assert (work / "bells" / "asked").read_text() == "4" and facts == json.loads((out / "pretraining.json").read_text())
    assert AutoModelForCausalLM.from_pretrained(out, use_safetensors=True).num_parameters() == facts["parameters"]


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        (["--streams", "bels"], ["Streams", "traffic", "perhaps 'bells'"]),
        (["nanno"], ["nanno", "vibration", "perhaps 'nano'"]),
        (["--out", "taken"], ["--out", "a folder to write to"]),
        (["--work", "taken/run"], ["--work", "a folder to write to"]),
    ],
)
def test_a_wrong_option_is_said_before_recording(
    bells: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    before = sorted(tmp_path.rglob("*"))
    result = RUNNER.invoke(app, ["pretrain", "--streams", "bells", "--out", "out", "--work", "work", *wrong])
    assert result.exit_code == 2 and all(part in result.stderr for part in parts), result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_an_encoder_learns_the_recordings_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "MEASURED_WINDOWS", 8)
    monkeypatch.setattr(encoders, "RIVALS_WINDOWS", 8)
    frame = next(iter(load("vibration").sample(0)))
    for name in ("learnt", "held"):
        np.savez(tmp_path / f"{name}.npz", data=frame.data, rate_hz=12_000.0, units="m/s2")
    out, work = tmp_path / "out", tmp_path / "work"
    files = ["--data", str(tmp_path / "learnt.npz"), "--held-out", str(tmp_path / "held.npz")]
    command = ["pretrain", "vibration", *files, "--out", str(out), "--work", str(work), "--steps", "2", "--seed", "3"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["modality"], facts["steps"], facts["seed"]) == ("vibration", 2, 3)
    assert (facts["recordings"], facts["held_out_recordings"]) == (["learnt.npz"], ["held.npz"])
    assert facts == json.loads((out / "encoder.json").read_text()) and (out / "encoder.safetensors").exists()


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (["video"], "a torch module with self_supervised_loss, got none"),
        (["vibration", "--data", "gone"], "gone"),
        (["vibration", "--word-weight", "1"], "--word-weight: expected options of the encoder of 'vibration'"),
        (["vibration", "--learning-rate", "nan"], "--learning-rate: expected a finite number, got nan"),
        (["nano", "--held-out", "gone"], "--held-out: expected options of a decoder"),
    ],
)
def test_what_cannot_learn_or_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["pretrain", *wrong, "--out", "out"])
    assert result.exit_code == 2 and part in result.stderr and list(tmp_path.iterdir()) == []
