"""The LiDAR: rings, points on vehicles, occlusion, noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from iotlam_street.lidar import Lidar, LidarConfig
from iotlam_street.scene import Boxes

POLE_3 = np.array([0.0, 0.0, 6.0], np.float32)
EXACT = LidarConfig(noise_m=0.0, dropout=0.0)


def site_points(boxes: Boxes, pole_3: NDArray[np.float32] = POLE_3, config: LidarConfig = EXACT) -> NDArray[np.float64]:
    frame = Lidar(pole_3, "lidar", config).scan(boxes, 5, np.random.default_rng(0))
    assert frame.t_ns == 5 and frame.sensor == "lidar" and frame.data.dtype == np.float32
    return np.asarray(frame.data[:, :3] @ frame.pose_site[:3, :3].T + frame.pose_site[:3, 3])


def test_rings_on_empty_ground_are_evenly_spaced(boxes_of: Callable[..., Boxes]) -> None:
    points = site_points(boxes_of())
    assert len(points) == 360 * 24
    np.testing.assert_allclose(points[:, 2], 0.0, atol=1e-4)
    radii = np.unique(np.linalg.norm(points[:, :2], axis=1).round(2))
    np.testing.assert_allclose(radii, np.linspace(4.0, 110.0, 24), atol=0.02)


def test_points_above_ground_lie_on_the_vehicle(boxes_of: Callable[..., Boxes]) -> None:
    points = site_points(boxes_of((15.0, 5.0, 0.4, 4.5, 1.8, 1.5)), np.array([1.0, -2.0, 6.0], np.float32))
    raised = points[points[:, 2] > 0.05]
    assert len(raised) > 8
    offset = raised[:, :2] - [15.0, 5.0]
    along = offset @ [np.cos(0.4), np.sin(0.4)]
    across = offset @ [-np.sin(0.4), np.cos(0.4)]
    outside = np.maximum(np.maximum(np.abs(along) - 2.25, np.abs(across) - 0.9), raised[:, 2] - 1.5)
    np.testing.assert_allclose(outside, 0.0, atol=1e-3)


def test_vehicle_behind_a_taller_one_stays_unseen(boxes_of: Callable[..., Boxes]) -> None:
    car, truck = (50.0, 0.0, 0.0, 4.5, 1.8, 1.5), (30.0, 0.0, 0.0, 12.0, 2.6, 4.0)
    low_pole_3 = np.array([0.0, 0.0, 3.0], np.float32)

    def points_on_car(*rows: tuple[float, ...]) -> int:
        points = site_points(boxes_of(*rows), low_pole_3)
        return int(((np.abs(points[:, 0] - 50.0) < 2.4) & (np.abs(points[:, 1]) < 1.0) & (points[:, 2] > 0.05)).sum())

    assert points_on_car(car) > 3
    assert points_on_car(car, truck) == 0
    assert points_on_car(car, (30.0, 8.0, 0.0, 12.0, 2.6, 4.0)) > 3


def test_noise_dropout_and_intensity(traffic: Callable[[int, int], Boxes]) -> None:
    boxes = traffic(40, 1)
    frame = Lidar(POLE_3, "lidar", LidarConfig()).scan(boxes, 0, np.random.default_rng(3))
    again = Lidar(POLE_3, "lidar", LidarConfig()).scan(boxes, 0, np.random.default_rng(3))
    np.testing.assert_array_equal(frame.data, again.data)
    returns = len(site_points(boxes))
    assert 0.97 < len(frame.data) / returns < 0.99
    assert frame.data[:, 3].min() >= 0.0 and frame.data[:, 3].max() <= 1.0
    ground = Lidar(POLE_3, "lidar", LidarConfig(dropout=0.0)).scan(boxes, 0, np.random.default_rng(3)).data
    exact = Lidar(POLE_3, "lidar", EXACT).scan(boxes, 0, np.random.default_rng(3)).data
    slip = np.linalg.norm(ground[:, :3], axis=1) - np.linalg.norm(exact[:, :3], axis=1)
    assert 0.028 < slip.std() < 0.032 and abs(slip.mean()) < 0.002
