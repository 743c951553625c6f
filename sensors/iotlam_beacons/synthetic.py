"""A small radio world: vehicles on a crossing that say where they are."""

from __future__ import annotations

import numpy as np

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame

MOUNT_M = (0.0, 0.0, 6.0)
_KINDS = ((5, 4.5, 1.8), (6, 12.0, 2.5), (8, 9.0, 2.5), (4, 2.2, 0.8))
"""ETSI station type, length and width, metres."""


def sample_messages(seed: int) -> SensorFrame:
    """Five to twenty messages from vehicles on two roads that cross, up to a second old."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 21))
    heading_M = rng.integers(0, 4, count) * (np.pi / 2.0)
    away_M, aside_M = rng.uniform(-100.0, 100.0, count), rng.choice([-2.0, -5.0], count)
    cos, sin = np.cos(heading_M), np.sin(heading_M)
    x_M, y_M = away_M * cos - aside_M * sin, away_M * sin + aside_M * cos
    kind_M3 = np.array(_KINDS)[rng.choice(len(_KINDS), count, p=(0.8, 0.05, 0.1, 0.05))]
    speed_M, age_M = rng.uniform(0.0, 14.0, count), rng.uniform(0.0, 1.0, count)
    noise_M2 = rng.normal(0.0, 1.5, (count, 2))
    rows_M8 = np.column_stack(
        [x_M + noise_M2[:, 0], y_M + noise_M2[:, 1], speed_M, heading_M, kind_M3[:, 1:], kind_M3[:, 0], age_M]
    )
    return SensorFrame(0, rows_M8.astype(np.float32), meta={"sensor": "v2x", "pose_site": mounted_pose(MOUNT_M)})
