"""A small LiDAR world: rings on flat ground and the visible faces of boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame

MOUNT_M = (0.0, 0.0, 5.0)


def sample_sweep(seed: int) -> SensorFrame:
    """A sweep from a 5 m pole over three to eight vehicles, about 8,000 points."""
    rng = np.random.default_rng(seed)
    vehicles = [box_returns(rng, rng.uniform(-50.0, 50.0, 2)) for _ in range(rng.integers(3, 9))]
    points_N4 = np.concatenate([_ground_rings(rng), *vehicles])
    points_N4[:, :3] += rng.normal(0.0, 0.02, (len(points_N4), 3))
    points_N4[:, 2] -= MOUNT_M[2]
    meta = {"sensor": "lidar", "pose_site": mounted_pose(MOUNT_M)}
    return SensorFrame(t_ns=0, data=points_N4.astype(np.float32), meta=meta)


def box_returns(rng: np.random.Generator, centre_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (N, 4) from the sides of a car of 4.5 x 1.8 x 1.5 m; fewer with distance, site coordinates."""
    count = int(np.clip(40_000.0 / (centre_m @ centre_m + 25.0), 5, 800))
    point_N3 = rng.uniform(-0.5, 0.5, (count, 3))
    face_N = rng.integers(0, 2, count)
    point_N3[np.arange(count), face_N] = np.sign(point_N3[np.arange(count), face_N]) * 0.5
    place_N3 = point_N3 * (4.5, 1.8, 1.5) + (*centre_m, 0.75)
    return np.column_stack([place_N3, rng.uniform(0.3, 0.7, count)])


def _ground_rings(rng: np.random.Generator) -> NDArray[np.float64]:
    angle, down = np.meshgrid(np.linspace(-np.pi, np.pi, 360, endpoint=False), np.linspace(0.06, 0.5, 16))
    range_N = (MOUNT_M[2] / np.tan(down)).ravel()
    x, y = range_N * np.cos(angle.ravel()), range_N * np.sin(angle.ravel())
    return np.column_stack([x, y, np.zeros_like(x), rng.uniform(0.05, 0.2, x.size)])
