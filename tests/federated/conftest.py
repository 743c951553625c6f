from __future__ import annotations

import numpy as np
import pytest

from iotlam.federated.radio import LN2, Requests


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
