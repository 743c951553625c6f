"""A street between houses, seen by a LiDAR on a pole or a vehicle, with what hides behind what.

Rays against boxes along the axes by the slab method (Kay & Kajiya, SIGGRAPH 1986).

Shapes: N boxes as rows x, y, length, width, height (metres), reflectivity; R rays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame

Doubles = NDArray[np.float64]
REACH_M = 100.0
# Rings, rays a turn, and how far the highest looks up (radians): coarse and fine sensors, level and raised.
SENSORS = ((16, 360, 0.26), (16, 480, 0.0), (32, 240, 0.19), (32, 360, 0.04), (64, 180, 0.03))
HALF_LENGTH_M, LANE_M = 90.0, 3.4
# Car, van, lorry, cyclist: length, width, height.
TRAFFIC = ((4.4, 1.8, 1.5), (5.5, 2.0, 2.3), (9.0, 2.5, 3.4), (1.8, 0.6, 1.7))
TRAFFIC_SHARE = (0.65, 0.15, 0.08, 0.12)
# Pedestrian, pole, bush, tree.
PAVEMENT = ((0.6, 0.6, 1.75), (0.3, 0.3, 5.0), (1.5, 1.5, 1.2), (3.0, 3.0, 6.0))
RANGE_NOISE_M, DROPOUT, SLOPE = 0.03, 0.05, 0.008


def sample_street(seed: int) -> SensorFrame:
    """One sweep of 3,000 to 10,000 returns; the sensor, its place and what stands in the street follow the seed."""
    rng = np.random.default_rng((seed, 2))
    boxes_N6 = _streets(rng)
    on_pole = rng.random() < 0.6
    place = (
        rng.uniform(-6.0, 6.0),
        rng.uniform(-6.0, 6.0),
        rng.uniform(4.0, 7.0) if on_pole else rng.uniform(1.5, 2.2),
    )
    far_N = (np.abs(boxes_N6[:, :2] - place[:2]) > boxes_N6[:, 2:4] / 2 + 1.5).any(axis=1)
    rings, azimuths, highest = SENSORS[rng.integers(len(SENSORS))]
    elevation_E = np.linspace(-0.7, -0.04, rings) if on_pole else np.linspace(-0.44, highest, rings)
    azimuth_A = np.linspace(0.0, 2 * np.pi, azimuths, endpoint=False) + rng.uniform(-np.pi, np.pi)
    points_4K = _cast(boxes_N6[far_N], place, azimuth_A, elevation_E, rng)
    # Real roads are not level: the ground seems to rise on one side.
    turned = mounted_pose((0.0, 0.0, 0.0), rng.uniform(-np.pi, np.pi), rng.normal(0.0, SLOPE))
    pose = turned @ mounted_pose(place)
    return SensorFrame(t_ns=0, data=points_4K.T.astype(np.float32), meta={"sensor": "lidar", "pose_site": pose})


def _streets(rng: np.random.Generator) -> Doubles:
    """One street along x, or two that cross."""
    lanes, other_lanes = rng.integers(1, 3, 2) * LANE_M
    along_N6 = np.array(list(_street(rng, lanes))).reshape(-1, 6)
    if rng.random() < 0.3:
        return along_N6
    across_N6 = np.array(list(_street(rng, other_lanes))).reshape(-1, 6)
    clear_N = (np.abs(along_N6[:, 1]) < lanes) | (np.abs(along_N6[:, 0]) > other_lanes + along_N6[:, 2] / 2 + 1.0)
    clear_M = np.abs(across_N6[:, 0]) > lanes + across_N6[:, 2] / 2 + 1.0
    return np.concatenate([along_N6[clear_N], across_N6[clear_M][:, [1, 0, 3, 2, 4, 5]]])


def _street(rng: np.random.Generator, half_width_m: float) -> Iterator[tuple[float, ...]]:
    """What stands along a street on the x axis: houses, traffic in its lanes, people and poles on the pavement."""
    for side in (-1.0, 1.0):
        x, setback_m = -HALF_LENGTH_M, rng.uniform(2.0, 8.0)
        built = rng.random() < 0.7
        while built and x < HALF_LENGTH_M:
            length = rng.uniform(8.0, 25.0)
            yield x + length / 2, side * (half_width_m + setback_m + 3.0), length, 6.0, rng.uniform(3.0, 20.0), 0.4
            x += length + rng.exponential(5.0)
        for lane in range(round(half_width_m / LANE_M)):
            x, headway_m = -HALF_LENGTH_M, rng.uniform(5.0, 40.0)
            while (x := x + 5.0 + rng.exponential(headway_m)) < HALF_LENGTH_M:
                size = TRAFFIC[rng.choice(len(TRAFFIC), p=TRAFFIC_SHARE)]
                yield x, side * (lane + 0.5) * LANE_M + rng.normal(0.0, 0.2), *size, rng.uniform(0.2, 0.9)
                x += size[0]
        open_m = rng.choice([2.0, 2.0, 60.0])
        for _ in range(rng.poisson(10 if open_m < 10.0 else 40)):
            size = PAVEMENT[rng.integers(len(PAVEMENT))]
            y = side * (half_width_m + rng.uniform(0.5, open_m))
            yield rng.uniform(-HALF_LENGTH_M, HALF_LENGTH_M), y, *size, rng.uniform(0.2, 0.7)


def _cast(
    boxes_N6: Doubles, place: tuple[float, float, float], azimuth_A: Doubles, elevation_E: Doubles,
    rng: np.random.Generator,
) -> Doubles:  # fmt: skip
    """Returns (4, K) in axes through the sensor, parallel to the streets: x, y, z, intensity."""
    azimuth, elevation = np.meshgrid(azimuth_A, elevation_E)
    slope_R = np.tan(elevation.ravel())
    ray_3R = np.stack([np.cos(azimuth.ravel()), np.sin(azimuth.ravel()), slope_R])
    ray_3R /= np.linalg.norm(ray_3R, axis=0)
    ray_3R = ray_3R.astype(np.float32)  # a thousandth of a metre is enough, and half the work
    half_N3 = (boxes_N6[:, 2:5] / 2).astype(np.float32)
    middle_N3 = (np.column_stack([boxes_N6[:, :2], half_N3[:, 2]]) - place).astype(np.float32)
    with np.errstate(divide="ignore"):
        near_3NR, far_3NR = (
            np.stack([(middle_N3[:, k, None] + sign * np.sign(ray_3R[k]) * half_N3[:, k, None]) / ray_3R[k]
                      for k in range(3)]) for sign in (-1.0, 1.0)
        )  # fmt: skip
        ground_R = np.where(ray_3R[2] < 0.0, -place[2] / ray_3R[2], np.inf)
    enter_NR, leave_NR = near_3NR.max(axis=0), far_3NR.min(axis=0)
    enter_NR[(enter_NR >= leave_NR) | (enter_NR <= 0.0)] = np.inf
    hits_NR = np.concatenate([enter_NR, ground_R[None]])
    which_R = hits_NR.argmin(axis=0)
    range_R = hits_NR[which_R, np.arange(len(which_R))]
    kept_K = np.flatnonzero((range_R < REACH_M) & (rng.random(len(range_R)) > DROPOUT))
    reflectivity_K = np.append(boxes_N6[:, 5], 0.2)[which_R[kept_K]] * rng.uniform(0.7, 1.0, len(kept_K))
    range_K = range_R[kept_K] + rng.normal(0.0, RANGE_NOISE_M, len(kept_K))
    return np.concatenate([ray_3R[:, kept_K] * range_K, reflectivity_K[None]])
