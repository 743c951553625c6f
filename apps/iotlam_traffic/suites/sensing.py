"""What sensing costs, and whether a sensor ever sees through a vehicle: figures of suite `traffic-speed`."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from iotlam_street.caster import Fans
from iotlam_street.plan import read_plans
from iotlam_street.rig import MEASURED, RigConfig, SensorRig
from iotlam_street.scenarios import find_scenario
from iotlam_street.scene import Approach, Boxes, Snapshot

VEHICLES = 40
GRAZING_M = 2e-3
"""Rays that pass a box's edge by less than this are left out: float32 cannot tell on which side."""

Doubles = NDArray[np.float64]


def three_sensors_ms(quick: bool) -> list[float]:
    """CPU milliseconds of one decision's LiDAR, cameras and radars at cologne1 among 40 vehicles, many times."""
    approaches = read_plans(find_scenario("cologne1").net)[0].approaches
    rig, rng = SensorRig(approaches), np.random.default_rng(0)
    shots = [Snapshot(second * 10**9, queues(approaches, VEHICLES, rng)) for second in range(2)]
    spent_ms = []
    for _ in range(50 if quick else 500):
        start = time.process_time()
        rig.sense(shots, rng, MEASURED)
        spent_ms.append(1000.0 * (time.process_time() - start))
    return spent_ms


def queues(approaches: tuple[Approach, ...], count: int, rng: np.random.Generator) -> Boxes:
    """Vehicles in the lanes of the approaches, up to 80 m from the stop lines, one truck in six."""
    approach_N = np.arange(count) % len(approaches)
    heading_N = np.array([approach.heading for approach in approaches], np.float32)[approach_N]
    width_N = np.array([approach.width for approach in approaches])[approach_N]
    travel_N2 = np.stack([np.cos(heading_N), np.sin(heading_N)], axis=1)
    left_N2 = np.stack([-travel_N2[:, 1], travel_N2[:, 0]], axis=1)
    lane_N = rng.uniform(-0.4, 0.4, count) * width_N
    stop_N2 = np.array([approach.stop_2 for approach in approaches])[approach_N]
    centre_N2 = stop_N2 - rng.uniform(3.0, 80.0, (count, 1)) * travel_N2 + lane_N[:, None] * left_N2
    size_N3 = np.where(rng.random((count, 1)) < 1 / 6, [9.0, 2.5, 3.6], [4.5, 1.8, 1.5])
    velocity_N2 = rng.uniform(0.0, 14.0, (count, 1)) * travel_N2
    colour_N3 = rng.integers(20, 255, (count, 3)).astype(np.uint8)
    return Boxes(
        centre_N2.astype(np.float32), heading_N, size_N3.astype(np.float32), velocity_N2.astype(np.float32), colour_N3
    )


def occlusion_errors(scenes: int) -> int:
    """Rays of LiDAR and cameras, in random scenes, that report something behind a box that stops them."""
    return sum(_seen_through(np.random.default_rng(scene)) for scene in range(scenes))


def _seen_through(rng: np.random.Generator) -> int:
    """Such rays in one scene: a rig low or high, a crowd of boxes of any size, yaw and overlap around it."""
    heading = float(rng.uniform(-np.pi, np.pi))
    travel_2 = np.array([np.cos(heading), np.sin(heading)], np.float32)
    height_m = float(rng.uniform(1.0, 8.0))
    config = RigConfig(lidar_height_m=height_m, camera_height_m=height_m)
    rig = SensorRig([Approach("in", -12.0 * travel_2, heading, 7.0)], config)
    return sum(int((_reach_m(fans, boxes) > _free_m(fans, boxes)).sum()) for fans, boxes in _views(rig, rng))


def _views(rig: SensorRig, rng: np.random.Generator) -> list[tuple[Fans, Boxes]]:
    """The rays of LiDAR and camera, each with the boxes that do not stand on the sensor itself."""
    crowd = crowd_of(int(rng.integers(2, 25)), rng)
    views = []
    for fans in (rig.lidar.fans, rig.cameras.fans):
        away_N = np.linalg.norm(crowd.centre_N2 - fans.origin_A3[0, :2], axis=1)
        views.append((fans, crowd.where(away_N > 7.0)))
    return views


def crowd_of(count: int, rng: np.random.Generator) -> Boxes:
    """Boxes anywhere within 60 m, of any yaw, from motorcycles to lorries; they may overlap."""
    return Boxes(
        rng.uniform(-60.0, 60.0, (count, 2)).astype(np.float32),
        rng.uniform(-np.pi, np.pi, count).astype(np.float32),
        rng.uniform([2.0, 0.8, 1.0], [12.0, 2.6, 4.0], (count, 3)).astype(np.float32),
        np.zeros((count, 2), np.float32),
        np.full((count, 3), 200, np.uint8),
    )


def _reach_m(fans: Fans, boxes: Boxes) -> Doubles:
    """Horizontal distance at which each ray ends as the sensor reports it."""
    return fans.cast(boxes).range_h_AE.astype(np.float64).ravel()


def _free_m(fans: Fans, boxes: Boxes) -> Doubles:
    """Horizontal distance that each ray surely cannot exceed: to boxes a little smaller, and a little on."""
    origin_R3, ray_R3 = rays(fans)
    return nearest_box(origin_R3, ray_R3, boxes, -GRAZING_M)[1] * (1.0 + 1e-5) + 2.0 * GRAZING_M


def rays(fans: Fans) -> tuple[Doubles, Doubles]:
    """Start and direction, (A E, 3), of each ray; directions have a horizontal part of 1."""
    fans_count, per_fan = fans.slope_AE.shape
    direction_AE2 = np.repeat(fans.direction_A2[:, None].astype(np.float64), per_fan, axis=1)
    direction_AE2 /= np.linalg.norm(direction_AE2, axis=2, keepdims=True)
    ray_AE3 = np.concatenate([direction_AE2, fans.slope_AE[..., None]], axis=2)
    origin_AE3 = np.broadcast_to(fans.origin_A3[:, None], (fans_count, per_fan, 3))
    return origin_AE3.reshape(-1, 3).astype(np.float64), ray_AE3.reshape(-1, 3)


def nearest_box(origin_R3: Doubles, ray_R3: Doubles, boxes: Boxes, grow_m: float) -> tuple[NDArray[np.intp], Doubles]:
    """The plain way, in three dimensions and float64: try every box with every ray.

    Args:
        origin_R3: start of each ray, metres, outside every box.
        ray_R3: its direction, of any length.
        boxes: what stands on the street.
        grow_m: by how much every box is larger on all sides.

    Returns:
        Index of the box that each ray meets first, -1 for none, and its distance in lengths of the ray, inf for none.
    """
    first_R, reach_R = np.full(len(ray_R3), -1), np.full(len(ray_R3), np.inf)
    for n in range(len(boxes)):
        cos, sin = np.cos(float(boxes.heading_N[n])), np.sin(float(boxes.heading_N[n]))
        to_box_33 = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        half_3 = boxes.size_N3[n].astype(np.float64) / 2.0
        start_R3 = (origin_R3 - [*boxes.centre_N2[n], half_3[2]]) @ to_box_33.T
        with np.errstate(divide="ignore", invalid="ignore"):
            one_R3, other_R3 = ((side * (half_3 + grow_m) - start_R3) / (ray_R3 @ to_box_33.T) for side in (-1.0, 1.0))
        enter_R, leave_R = np.minimum(one_R3, other_R3).max(axis=1), np.maximum(one_R3, other_R3).min(axis=1)
        nearer_R = (0.0 <= enter_R) & (enter_R <= leave_R) & (enter_R < reach_R)
        first_R[nearer_R], reach_R[nearer_R] = n, enter_R[nearer_R]
    return first_R, reach_R
