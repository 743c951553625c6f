"""Which patches of a picture see the ground, and where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import calibration, site_pose
from iotlam.contracts import BadInput, SensorFrame

Doubles = NDArray[np.float64]
PATCH_ROWS, PATCH_COLUMNS = 4, 8
MAX_RANGE_M = 120.0


@dataclass(frozen=True, slots=True)
class GroundPatches:
    """The T patches of a picture that see the ground.

    Attributes:
        index_T: number of the patch in the picture, counted row by row.
        position_TX: site coordinates of the ground under the patch's middle, (T, 2), metres.
        range_T: horizontal distance from the camera, metres.
    """

    index_T: NDArray[np.intp]
    position_TX: Doubles
    range_T: Doubles


def ground_patches(frame: SensorFrame) -> GroundPatches:
    """The patches of a frame whose middle sees the ground within 120 m; one calibration is worked out once.

    Raises:
        BadInput: if the picture is smaller than 8 x 8, or the calibration is missing or shows no ground.
    """
    height, width = frame.data.shape[:2]
    if height < 2 * PATCH_ROWS or width < PATCH_COLUMNS:
        raise BadInput(
            f"Picture of sensor '{frame.sensor}'",
            expected="at least 8 x 8 pixels",
            got=f"{height} x {width}",
            fix="give a larger picture",
        )
    pose, intrinsics = site_pose(frame), calibration(frame, "intrinsics", (3, 3))
    patches = _project(height // PATCH_ROWS, width // PATCH_COLUMNS, pose.tobytes(), intrinsics.tobytes())
    if patches.index_T.size == 0:
        raise BadInput(
            f"Calibration of sensor '{frame.sensor}'",
            expected="a view of the ground within 120 m",
            got="none",
            fix="check pose_site (camera axes x right, y down, z forward) and intrinsics",
        )
    return patches


@lru_cache(maxsize=256)
def _project(rows: int, columns: int, pose: bytes, intrinsics: bytes) -> GroundPatches:
    row_P, column_P = (axis.ravel() for axis in np.indices((rows, columns)))
    pixel_P2 = np.stack([(column_P + 0.5) * PATCH_COLUMNS, (row_P + 0.5) * PATCH_ROWS], axis=1) - 0.5
    pose_44, intrinsics_33 = np.frombuffer(pose).reshape(4, 4), np.frombuffer(intrinsics).reshape(3, 3)
    position_PX = ground_points(pixel_P2, pose_44, intrinsics_33)
    range_P = np.hypot(*(position_PX - pose_44[:2, 3]).T)
    index_T = np.flatnonzero(range_P <= MAX_RANGE_M)
    return GroundPatches(index_T, position_PX[index_T], range_P[index_T])


def ground_points(pixel_P2: Doubles, pose_44: Doubles, intrinsics_33: Doubles) -> Doubles:
    """Where the rays through P pixels meet the plane z = 0 of the site.

    Args:
        pixel_P2: column and row, (P, 2), pixels; whole numbers are centres of pixels.
        pose_44: camera to site.
        intrinsics_33: pinhole matrix (Hartley & Zisserman, Multiple View Geometry, eq. 6.4).

    Returns:
        float64 (P, 2), metres; NaN for a ray that does not go down.
    """
    homogeneous_P3 = np.column_stack([pixel_P2, np.ones(len(pixel_P2))])
    ray_P3 = homogeneous_P3 @ np.linalg.pinv(intrinsics_33).T @ pose_44[:3, :3].T
    eye_3 = pose_44[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        length_P = np.where(ray_P3[:, 2] * eye_3[2] < 0.0, -eye_3[2] / ray_P3[:, 2], np.nan)
        return np.asarray(eye_3[:2] + length_P[:, None] * ray_P3[:, :2])
