"""Plausible data to try the modality on."""

from __future__ import annotations

import numpy as np

from iotlam.contracts import SensorFrame

RATE_HZ = 10.0


def sample_frame(seed: int) -> SensorFrame:
    """256 samples at 10 Hz: a slow wave of some degrees around 20, and sensor noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(256) / RATE_HZ
    wave = rng.uniform(2.0, 8.0) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.2) * time_s + rng.random()))
    data = (20.0 + wave + rng.normal(0.0, 0.1, 256)).astype(np.float32)[:, None]
    return SensorFrame(t_ns=0, data=data, meta={"sensor": "newsensor", "rate_hz": RATE_HZ})
