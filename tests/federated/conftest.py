from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iotlam.bench.federated.places import counted as counted
from iotlam.bench.federated.places import finished
from iotlam.bench.federated.places import right as right
from iotlam.federated.local import Task
from iotlam.federated.radio import LN2, Requests
from iotlam.model import ModelInput, collate
from iotlam.training.imitation import ImitationConfig, label_loss


def drawn(rng: np.random.Generator, devices: int, options: int = 1) -> tuple[Requests, np.ndarray]:
    """Requests of devices 50 to 500 m away over fading channels, each for some ranks; and whose each is."""
    clear = rng.uniform(50, 500, devices) ** -3.5 * rng.exponential(1, devices) * 1e-3 / 4e-21
    device_R = np.repeat(np.arange(devices), options)
    rank_R = np.tile([4, 8, 16][:options], devices)
    bits = rank_R * 6 * 14 * 512 * 8.0
    down_hz, up_hz = clear[device_R], 0.1 * clear[device_R]
    compute_s = rng.uniform(0.5, 5, devices)[device_R] * (1 + 0.01 * rank_R)
    return Requests(bits * LN2 / down_hz, bits * LN2 / up_hz, down_hz, up_hz, compute_s), device_R


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished model."""
    return finished(tmp_path_factory.mktemp("base"), 1)


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another one."""
    return finished(tmp_path_factory.mktemp("other"), 2)


@pytest.fixture(scope="session")
def inputs() -> ModelInput:
    """Some decisions."""
    return collate([(dict(sample.tokens), sample.query) for sample in map(counted, range(4))])


@pytest.fixture
def task(base: Path) -> Task:
    """Which places have three tokens or more."""
    return Task(base, label_loss, right, ImitationConfig(batch=4))
