"""A street with traffic, seen twice by a camera on a mast.

Rays through the pixels against boxes along the axes by the slab method (Kay & Kajiya, SIGGRAPH 1986).

Shapes: N boxes as rows x, y, length, width, height (metres); P pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame
from iotlam_video.calibration import CAMERA_IN_MOUNT

Doubles = NDArray[np.float64]
LANE_M, REACH_M = 3.4, 130.0
SIZES = ((4.4, 1.8, 1.5), (5.5, 2.0, 2.3), (9.0, 2.5, 3.4), (1.8, 0.6, 1.7))
SHARE = (0.65, 0.15, 0.08, 0.12)
SKY = np.array([170.0, 190.0, 220.0])
FACE_LIGHT = (0.7, 0.85, 1.0)
"""Of faces across the street, along it, and roofs."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Boxes (N, 5), their speeds along x (metres per second) and colours (RGB)."""

    boxes_N5: Doubles
    speed_N: Doubles
    colour_N3: Doubles


@dataclass(frozen=True, slots=True)
class Ground:
    """What the street is painted with: waves of brightness, (K, 2) in radians per metre, and light as a whole."""

    waves_K2: Doubles
    phase_K: Doubles
    half_width_m: float
    light: float
    tint_3: Doubles

    def colour(self, x_P: Doubles, y_P: Doubles) -> Doubles:
        """RGB (P, 3) at places of the site."""
        grain_P = np.sin(np.outer(x_P, self.waves_K2[:, 0]) + np.outer(y_P, self.waves_K2[:, 1]) + self.phase_K)
        grey_P = 90.0 * (1.0 + 0.05 * grain_P.sum(axis=1))
        grey_P[np.abs(y_P) > self.half_width_m] *= 1.3  # pavement
        lane_P = np.abs(y_P / LANE_M - np.rint(y_P / LANE_M)) * LANE_M < 0.12
        grey_P[lane_P & (np.abs(y_P) < self.half_width_m + 0.2) & (x_P % 9.0 < 4.5)] = 200.0
        return np.asarray(self.light * grey_P[:, None] * self.tint_3)


def sample_street(seed: int) -> list[SensorFrame]:
    """Two pictures, 0.2 to 1 s apart; camera, light and traffic follow the seed."""
    rng = np.random.default_rng((seed, 3))
    height, width = [(48, 64), (72, 96), (96, 128)][rng.integers(3)]
    focal = width * rng.uniform(0.7, 1.6)
    intrinsics = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    place = (rng.uniform(-20.0, 0.0), rng.uniform(-9.0, 9.0), rng.uniform(4.0, 9.0))
    pose = mounted_pose(place, rng.uniform(-0.5, 0.5), rng.uniform(0.12, 0.5))
    pose[:3, :3] = pose[:3, :3] @ CAMERA_IN_MOUNT
    meta = {"sensor": "camera", "pose_site": pose, "intrinsics": intrinsics}
    traffic, ground = _traffic(rng), _ground(rng)
    step_s = rng.uniform(0.2, 1.0)
    ray_3P = _rays(height, width, pose, intrinsics)
    noise = rng.uniform(0.5, 5.0)
    frames = []
    for number in range(2):
        picture_P3 = _draw(traffic, ground, np.array(place), ray_3P, number * step_s)
        noisy_P3 = picture_P3 + rng.normal(0.0, noise, picture_P3.shape)
        data = np.clip(np.rint(noisy_P3), 0, 255).astype(np.uint8).reshape(height, width, 3)
        frames.append(SensorFrame(t_ns=round(number * step_s * 1e9), data=data, meta=meta))
    return frames


def _traffic(rng: np.random.Generator) -> Traffic:
    """Vehicles in four lanes, some lanes standing."""
    boxes, speeds = [], []
    for lane in (-1.5, -0.5, 0.5, 1.5):
        lane_speed = float(rng.choice([0.0, rng.uniform(3.0, 16.0)])) * np.sign(-lane)
        x, headway_m = -20.0, rng.uniform(6.0, 40.0)
        while (x := x + 6.0 + rng.exponential(headway_m)) < REACH_M:
            size = SIZES[rng.choice(len(SIZES), p=SHARE)]
            boxes.append((x, lane * LANE_M + rng.normal(0.0, 0.2), *size))
            speeds.append(lane_speed)
            x += size[0]
    grey_N1, tint_N3 = rng.uniform(15.0, 235.0, (len(boxes), 1)), rng.normal(0.0, 25.0, (len(boxes), 3))
    return Traffic(np.array(boxes).reshape(-1, 5), np.array(speeds), np.clip(grey_N1 + tint_N3, 5.0, 250.0))


def _ground(rng: np.random.Generator) -> Ground:
    direction_K, length_K = rng.uniform(0, 2 * np.pi, 12), rng.uniform(0.8, 12.0, 12)
    waves_K2 = np.column_stack([np.cos(direction_K), np.sin(direction_K)]) * (2 * np.pi / length_K)[:, None]
    return Ground(waves_K2, direction_K * 7.0, 2 * LANE_M, rng.uniform(0.4, 1.5), rng.uniform(0.9, 1.1, 3))


def _rays(height: int, width: int, pose: Doubles, intrinsics: Doubles) -> Doubles:
    row_P, column_P = (axis.ravel() for axis in np.indices((height, width)))
    pixel_3P = np.stack([column_P, row_P, np.ones(row_P.size)])
    return np.asarray(pose[:3, :3] @ np.linalg.inv(intrinsics) @ pixel_3P)


def _draw(traffic: Traffic, ground: Ground, place_3: Doubles, ray_3P: Doubles, second: float) -> Doubles:
    """RGB (P, 3) of a moment."""
    with np.errstate(divide="ignore", invalid="ignore"):
        length_P = np.where(ray_3P[2] < 0.0, -place_3[2] / ray_3P[2], np.inf)
    below_P = np.isfinite(length_P)
    picture_P3 = np.tile(SKY * ground.light, (ray_3P.shape[1], 1))
    met_2P = place_3[:2, None] + length_P[below_P] * ray_3P[:2, below_P]
    picture_P3[below_P] = ground.colour(*met_2P)
    if not len(traffic.boxes_N5):
        return picture_P3
    half_3N = traffic.boxes_N5[:, 2:5].T / 2
    middle_3N = np.stack([traffic.boxes_N5[:, 0] + traffic.speed_N * second, traffic.boxes_N5[:, 1], half_3N[2]])
    away_3N1 = (middle_3N - place_3[:, None])[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach_3NP = np.sign(ray_3P)[:, None] * half_3N[:, :, None]
        near_3NP, far_3NP = (away_3N1 - reach_3NP) / ray_3P[:, None], (away_3N1 + reach_3NP) / ray_3P[:, None]
    enter_NP, leave_NP = near_3NP.max(axis=0), far_3NP.min(axis=0)
    enter_NP[(enter_NP >= leave_NP) | (enter_NP <= 0.0)] = np.inf
    first_P = enter_NP.argmin(axis=0)
    hit_P = np.flatnonzero(enter_NP[first_P, np.arange(len(first_P))] < length_P)
    face_H = near_3NP[:, first_P[hit_P], hit_P].argmax(axis=0)
    light_H = np.array(FACE_LIGHT)[face_H] * ground.light
    picture_P3[hit_P] = traffic.colour_N3[first_P[hit_P]] * light_H[:, None]
    return picture_P3
