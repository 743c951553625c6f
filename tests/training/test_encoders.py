"""Pretraining of any plugin's encoder; the plugin here is as foreign as a user's own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from iotlam.blocks.weights import load_weights
from iotlam.contracts import BadInput
from iotlam.plugins import load
from iotlam.training.encoders import EncoderConfig, files_of, pretrain_encoder, windows_of

MANIFEST = """
name = "{name}"
api_version = 1
summary = "a test sensor"
units = ["V"]
dtype = "float32"
dims = ["sample"]
shape = [0]
rate_hz = [1.0, 100.0]
clock = "site"
stamp = "end"
frame = "none"
value_range = [-1e3, 1e3]
missing = "nan"
token_budget = 4
licence = "Apache-2.0"
files = [".txt"]
reader = "{name}:read"
"""
CODE = """
import numpy as np, torch
from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec

def frame(values, k):
    return SensorFrame(t_ns=k * 10**8, data=np.asarray(values, np.float32), meta={"sensor": "a"})

def read(path):
    for k, line in enumerate(path.read_text().splitlines()):
        yield frame([float(text) for text in line.split()], k)

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def self_supervised_loss(self, windows, seed):
        x = torch.cat([torch.from_numpy(f.data) for window in windows for f in window])
        return ((self.line(x[:-1, None])[:, 0] - x[1:]) ** 2).mean()

class Plugin:
    def __init__(self):
        self.encoder = Encoder()

    def tokenize(self, frames):
        n = len(frames)
        return TokenBatch(torch.zeros(1, n, 2), torch.ones(1, n, dtype=torch.bool), torch.zeros(1, n), "NAME")

    def token_spec(self):
        return TokenSpec("NAME", 2, 4)

    def sample(self, seed):
        start = np.random.default_rng(seed).normal()
        return [frame([start * 0.5**(k + j) for j in range(6)], k) for k in range(2)]
"""


@pytest.fixture
def modality(install: Any) -> str:
    name = "decay_sensor"
    points = {"iotlam.modalities": {name: f"{name}:Plugin"}}
    install(name, CODE.replace("NAME", name), points, {"modality.toml": MANIFEST.format(name=name)})
    return name


def recording(path: Path, lines: int = 5) -> Path:
    path.write_text("\n".join("1 0.5 0.25 0.125 0.0625 0.03" for _ in range(lines)))
    return path


def run(name: str, folder: Path, steps: int = 60, **options: Any) -> dict[str, Any]:
    data: Sequence[Path] = options.pop("data", [])
    held_out: Sequence[Path] = options.pop("held_out", [])
    config = EncoderConfig(**{"steps": steps, "batch": 4, "learning_rate": 0.1, "warmup": 5, **options})
    return pretrain_encoder(name, data, held_out, config, folder / "work", folder / "out")


def test_an_encoder_learns_and_says_how(modality: str, tmp_path: Path) -> None:
    learnt, kept = recording(tmp_path / "a.txt"), recording(tmp_path / "b.txt", 4)
    facts = run(modality, tmp_path, data=[learnt], held_out=[kept])
    assert facts["losses"]["simulated"]["encoder"] < 0.2 and facts["losses"]["recorded"]["encoder"] < 0.2
    assert json.loads((tmp_path / "out" / "encoder.json").read_text()) == facts
    assert facts["recordings"] == ["a.txt"] and facts["held_out_recordings"] == ["b.txt"]
    assert facts["recorded_windows"] == 2 and facts["cpu_seconds"] >= 0.0
    curve = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve] == list(range(1, 61)) and curve[-1]["loss"] < curve[0]["loss"]
    encoder = load(modality).encoder
    assert isinstance(encoder, torch.nn.Module)
    load_weights(encoder, tmp_path / "out" / "encoder.safetensors")
    assert float(encoder.line.weight.detach()) == pytest.approx(0.5, abs=0.15)


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(modality: str, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    whole = run(modality, tmp_path / "whole", steps=50)
    weights = []
    for limit in (30, 10**9):
        from iotlam.training import encoders

        inner = encoders._loss
        calls = iter(range(limit))

        def stopping(encoder: Any, windows: Any, seed: int, calls: Any = calls, inner: Any = inner) -> torch.Tensor:
            if next(calls, None) is None:
                raise Stopped
            return inner(encoder, windows, seed)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoders, "_loss", stopping)
            try:
                run(modality, tmp_path / "cut", steps=50)
            except Stopped:
                continue
        weights.append(load_file(tmp_path / "cut" / "out" / "encoder.safetensors"))
    wanted = load_file(tmp_path / "whole" / "out" / "encoder.safetensors")
    assert (
        len(weights) == 1 and all(torch.equal(weights[0][key], wanted[key]) for key in wanted) and whole["steps"] == 50
    )
    with pytest.raises(BadInput, match="checkpoint of this model"):
        run(modality, tmp_path / "cut", steps=50, seed=1)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone(modality: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        run(modality, tmp_path / folder, steps=5)
    one, two = (load_file(tmp_path / folder / "out" / "encoder.safetensors") for folder in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    run(modality, tmp_path / "other", steps=5, seed=3)
    other = load_file(tmp_path / "other" / "out" / "encoder.safetensors")
    assert not torch.equal(one["line.weight"], other["line.weight"])


def test_recordings_become_windows_as_long_as_a_sample(modality: str, tmp_path: Path) -> None:
    loaded = load(modality)
    windows = windows_of(loaded, [recording(tmp_path / "a.txt", 5)])
    assert [len(window) for window in windows] == [2, 2]
    assert [len(window) for window in windows_of(loaded, [recording(tmp_path / "c.txt", 1)])] == [1]
    found = files_of(loaded, [tmp_path, tmp_path / "a.txt"])
    assert [path.name for path in found if path.parent == tmp_path] == ["a.txt", "c.txt"]


def test_what_cannot_be_pretrained_is_said(modality: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lidar.*self_supervised_loss"):
        run("lidar", tmp_path)
    with pytest.raises(BadInput, match="check the path"):
        run(modality, tmp_path, data=[tmp_path / "none"])
    learnt = recording(tmp_path / "a.txt")
    with pytest.raises(BadInput, match=r"'a\.txt' as both"):
        run(modality, tmp_path, data=[learnt], held_out=[tmp_path])
    assert not (tmp_path / "work").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["vibration", "current"])
def test_built_in_encoders_train_from_random_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotlam.training.encoders.MEASURED_WINDOWS", 8)
    monkeypatch.setattr("iotlam.training.encoders.RIVALS_WINDOWS", 16)
    facts = pretrain_encoder(name, [], [], EncoderConfig(steps=12, batch=4), tmp_path / "work", tmp_path / "out")
    assert facts["losses"]["simulated"].keys() == {"encoder", "mean", "repeat", "linear"}
    assert np.isfinite(list(facts["losses"]["simulated"].values())).all()
    assert (tmp_path / "out" / "encoder.safetensors").stat().st_size <= 2**20
    curve = [json.loads(line)["loss"] for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(curve[-3:]) < np.mean(curve[:3])
