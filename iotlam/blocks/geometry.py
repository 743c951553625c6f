"""Rigid transforms between a sensor and its site (x east, y north, z up, metres)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame

Doubles = NDArray[np.float64]


def site_pose(frame: SensorFrame) -> Doubles:
    """Sensor-to-site transform of a frame, float64 (4, 4), metres.

    Raises:
        BadInput: if the calibration is missing, is not 4 x 4 or is no rotation and translation.
    """
    pose = calibration(frame, "pose_site", (4, 4))
    if not is_rigid(pose):
        raise BadInput(
            f"Calibration 'pose_site' of sensor '{frame.sensor}'",
            expected="a rotation and a translation in metres, last row 0 0 0 1",
            got="another matrix",
            fix="give the sensor's pose in SensorFrame.meta",
        )
    return pose


def is_rigid(pose: Doubles) -> bool:
    """Whether a matrix (4, 4) is a rotation and a translation: it must not stretch or mirror."""
    turn = pose[:3, :3]
    square = np.isfinite(pose).all() and np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0
    return bool(square and (pose[3] == (0.0, 0.0, 0.0, 1.0)).all())


def calibration(frame: SensorFrame, key: str, shape: tuple[int, ...] = ()) -> Doubles:
    """The calibration array (or, by default, number) `key` of a frame's metadata, as float64 of `shape`.

    Raises:
        BadInput: if it is missing, of another shape, no number or not finite.
    """
    try:
        value = np.asarray(frame.meta.get(key), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        value = np.array(np.nan)
    if value.shape == shape and np.isfinite(value).all():
        return value
    wanted = " x ".join(map(str, shape)) + " finite numbers" if shape else "one finite number"
    got = f"an array of shape {value.shape}" if value.shape != shape else "nothing, or a value that is not finite"
    raise BadInput(
        f"Calibration '{key}' of sensor '{frame.sensor}'", expected=wanted, got=got, fix="give it in SensorFrame.meta"
    )


def to_site(points_3N: Doubles, pose_site: Doubles) -> Doubles:
    """Carry points from the sensor's frame to the site's.

    Written out instead of a matrix product: BLAS may round a point differently by its place in the array,
    and encoders of point sets promise the same bits for any order.

    Args:
        points_3N: float64 (3, N), metres, in the sensor's frame.
        pose_site: float64 (4, 4), sensor to site.

    Returns:
        float64 (3, N), metres, in the site's frame.
    """
    x_N, y_N, z_N = points_3N
    return np.stack([row[0] * x_N + row[1] * y_N + row[2] * z_N + row[3] for row in pose_site[:3]])


def mounted_pose(position_m: Sequence[float], yaw: float = 0.0, pitch: float = 0.0) -> Doubles:
    """Pose of a sensor (x forward, y left, z up) fixed at a place of the site.

    Args:
        position_m: x, y, z of the sensor, metres.
        yaw: direction of x, radians counter-clockwise from east.
        pitch: radians by which x looks down.

    Returns:
        float64 (4, 4), sensor to site.
    """
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    pose = np.eye(4)
    pose[:3, 0] = cos_yaw * cos_pitch, sin_yaw * cos_pitch, -sin_pitch
    pose[:3, 1] = -sin_yaw, cos_yaw, 0.0
    pose[:3, 2] = cos_yaw * sin_pitch, sin_yaw * sin_pitch, cos_pitch
    pose[:3, 3] = position_m
    return pose
