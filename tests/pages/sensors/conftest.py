"""A modality that nobody here has heard of: a thermometer, two values a reading, with a reader of its own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MANIFEST = """
name = "thermometer"
api_version = 1
summary = "Temperatures of an oven"
units = ["Cel"]
dtype = "float32"
dims = ["value"]
shape = [2]
rate_hz = [0.1, 10.0]
clock = "site"
stamp = "end"
frame = "none"
value_range = [-100.0, 400.0]
missing = "none"
token_budget = 64
licence = "Apache-2.0"
files = [".temps"]
reader = "acme_thermometer:read"

[meta]
sensor = "name of the oven"
"""
CODE = """
import numpy as np
import torch
from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec

def frames(values):
    return [SensorFrame(i * 10**9, np.float32([v, v / 2]), meta={"sensor": "oven"}) for i, v in enumerate(values)]

def read(path):
    text = path.read_text()
    if "?" in text:
        raise BadInput(str(path), expected="numbers", got="?", fix="measure again")
    yield from frames([float(word) for word in text.split()])

class Thermometer:
    def tokenize(self, frames):
        tokens = torch.tensor(np.stack([frame.data for frame in frames]))[None]
        ages = torch.tensor([[(frame.t_ns - frames[-1].t_ns) / 1e9 for frame in frames]])
        return TokenBatch(tokens, torch.ones(1, len(frames), dtype=torch.bool), ages.float(), "thermometer")

    def token_spec(self):
        return TokenSpec("thermometer", dim=2, max_tokens=64)

    def sample(self, seed):
        return frames(np.random.default_rng(seed).normal(20.0 + 30.0 * (seed % 6), 5.0, 20))
"""
BROKEN = "raise RuntimeError('no such driver')"

Install = Callable[..., Path]


@pytest.fixture
def thermometer(install: Install) -> None:
    install(
        "acme_thermometer",
        CODE,
        {"iotlam.modalities": {"thermometer": "acme_thermometer:Thermometer"}},
        {"modality.toml": MANIFEST},
    )


@pytest.fixture
def broken(install: Install) -> None:
    """A modality whose import fails."""
    manifest = MANIFEST.replace("thermometer", "geiger")
    install("acme_geiger", BROKEN, {"iotlam.modalities": {"geiger": "acme_geiger:Geiger"}}, {"modality.toml": manifest})
