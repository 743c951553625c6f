"""The camera: where vehicles appear, what hides them, what the empty street looks like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.camera import CameraConfig, Cameras, camera_pose
from iotlam_street.noise import LEAST
from iotlam_street.scene import Boxes

POSE = camera_pose(np.array([14.0, -1.0, 6.0], np.float32), np.pi)
QUIET = CameraConfig(noise=0.0)


def picture(boxes: Boxes, config: CameraConfig = QUIET, seed: int = 0) -> SensorFrame:
    (frame,) = Cameras({"camera/west": POSE}, config).render(boxes, 7, np.random.default_rng(seed))
    return frame


def pixel_of(frame: SensorFrame, site_3: NDArray[np.float64]) -> tuple[int, int]:
    """Row and column of the pixel nearest to a point, through the frame's own calibration."""
    camera_3 = np.linalg.inv(frame.pose_site) @ np.append(site_3, 1.0)
    column, row, depth = frame.meta["intrinsics"] @ camera_3[:3]
    return int(np.rint(row / depth)), int(np.rint(column / depth))


def test_pose_is_a_rotation() -> None:
    np.testing.assert_allclose(POSE[:3, :3] @ POSE[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(POSE[:3, :3]) == pytest.approx(1.0)


def test_pictures_may_be_larger_than_the_table_of_noise(boxes_of: Callable[..., Boxes]) -> None:
    large = CameraConfig(width=1280, height=720, horizon_row=300, noise=4.0)
    one, other = (picture(boxes_of(), large, seed).data.astype(np.float32) for seed in (1, 2))
    assert one.shape == (720, 1280, 3) and one.size > LEAST
    assert (one - other).std() == pytest.approx(4.0 * np.sqrt(2.0), rel=0.05)


@pytest.mark.parametrize(("x", "y"), [(0.0, -3.0), (-20.0, 4.0), (-66.0, -2.0)])
def test_vehicle_appears_where_the_calibration_says(boxes_of: Callable[..., Boxes], x: float, y: float) -> None:
    frame, empty = picture(boxes_of((x, y, 0.0, 4.5, 1.8, 1.5))), picture(boxes_of())
    assert frame.data.shape == (48, 64, 3) and frame.data.dtype == np.uint8
    changed = (frame.data != empty.data).any(axis=2)
    corners = [
        pixel_of(frame, np.array([x + dx, y + dy, z])) for dx in (-2.25, 2.25) for dy in (-0.9, 0.9) for z in (0.0, 1.5)
    ]
    rows, columns = np.nonzero(changed)
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    assert abs(rows.min() - low[0]) <= 1 and abs(rows.max() - min(high[0], 47)) <= 1
    assert abs(columns.min() - low[1]) <= 1 and abs(columns.max() - high[1]) <= 1


def test_from_stop_line_to_eighty_metres_upstream(boxes_of: Callable[..., Boxes]) -> None:
    frame = picture(boxes_of())
    for x in (0.0, -80.0):
        row, column = pixel_of(frame, np.array([x, 0.0, 0.0]))
        assert 0 <= row < 48 and 0 <= column < 64


def test_truck_hides_car(boxes_of: Callable[..., Boxes]) -> None:
    truck = (-10.0, -1.0, 0.0, 9.0, 2.5, 4.5)
    alone, with_car = picture(boxes_of(truck)), picture(boxes_of(truck, (-22.0, -1.0, 0.0, 4.5, 1.8, 1.5)))
    np.testing.assert_array_equal(alone.data, with_car.data)


def test_colour_of_the_roof_is_the_vehicles(boxes_of: Callable[..., Boxes]) -> None:
    frame = picture(boxes_of((-5.0, -1.0, 0.0, 4.5, 1.8, 1.5)))
    red, green, blue = frame.data[pixel_of(frame, np.array([-5.0, -1.0, 1.5]))].astype(int)
    assert red > 150 and green < 70 and blue < 70


def test_street_is_fixed_and_noise_follows_the_generator(boxes_of: Callable[..., Boxes]) -> None:
    np.testing.assert_array_equal(picture(boxes_of(), seed=0).data, picture(boxes_of(), seed=1).data)
    noisy = CameraConfig(noise=4.0)
    one, same, other = (picture(boxes_of(), noisy, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.data, same.data)
    spread = (one.data.astype(float) - other.data.astype(float)).std() / np.sqrt(2.0)
    assert 3.5 < spread < 4.5
    sky, asphalt = picture(boxes_of()).data[0], picture(boxes_of()).data[30]
    assert (sky[:, 2] > sky[:, 0] + 50).all() and asphalt.std() > 3.0


def test_tilted_axis_is_refused() -> None:
    tilted = POSE.copy()
    tilted[:3, 2] = -0.8, 0.0, -0.6
    with pytest.raises(BadInput, match="level"):
        Cameras({"camera": tilted}, QUIET)
