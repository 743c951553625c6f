"""What is known of a camera whose pictures come from files, and what is assumed where nothing is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from iotlam.blocks.recording import Calibration, Mount, Row3, calibration_beside
from iotlam.contracts import BadInput
from iotlam_video.projection import PATCH_COLUMNS, PATCH_ROWS

Doubles = NDArray[np.float64]
# Columns are the camera's right, down and forward in axes of forward, left, up.
CAMERA_IN_MOUNT = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
ASSUMED_MOUNT = Mount(position_m=(0.0, 0.0, 6.0))
ASSUMED_FOV_DEG = 60.0


class CameraCalibration(Calibration, frozen=True):
    """The keys of a camera's calibration file, besides those of every sensor.

    Attributes:
        intrinsics: 3 x 3 pinhole matrix for pictures of the file's size, pixels; whole numbers are centres of pixels.
        fov_deg: horizontal field of view, for a pinhole with square pixels and the axis in the middle.
        max_tokens: pictures are reduced until they have at most so many patches. The cameras of a site share 4096.
    """

    intrinsics: tuple[Row3, Row3, Row3] | None = None
    fov_deg: Annotated[float, Meta(gt=0.0, lt=180.0)] | None = None
    max_tokens: Annotated[int, Meta(ge=2, le=4096)] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.intrinsics is not None and self.fov_deg is not None:
            raise ValueError("both intrinsics and fov_deg")
        if self.intrinsics is not None:
            matrix = np.array(self.intrinsics)
            if not np.isfinite(matrix).all() or matrix[0, 0] <= 0.0 or matrix[1, 1] <= 0.0:
                raise ValueError("intrinsics without positive focal lengths")

    def pose(self) -> Doubles:
        """Camera (x right, y down, z forward) to site, float64 (4, 4), metres."""
        if self.pose_site is not None:
            return np.array(self.pose_site)
        pose = (self.mount or ASSUMED_MOUNT).pose()
        pose[:3, :3] = pose[:3, :3] @ CAMERA_IN_MOUNT
        return pose

    def matrix(self, height: int, width: int) -> Doubles:
        """Pinhole matrix for pictures of the file's size, float64 (3, 3), pixels."""
        if self.intrinsics is not None:
            return np.array(self.intrinsics)
        focal = 0.5 * width / np.tan(np.radians(self.fov_deg or ASSUMED_FOV_DEG) / 2.0)
        return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])

    def origin(self, name: str) -> str:
        """Where pose and field of view come from, in words; `name` is the calibration file's."""
        pose = f"pose from {name}"
        if self.pose_site is None and self.mount is None:
            pose = "pose assumed: level, 6 m above the site's origin, looking east"
        optics = f"optics from {name}"
        if self.intrinsics is None and self.fov_deg is None:
            optics = f"field of view assumed: {ASSUMED_FOV_DEG:g} degrees"
        return f"{pose}; {optics}"


@dataclass(frozen=True, slots=True)
class View:
    """How the pictures of one file become frames.

    Attributes:
        height, width: pixels of a frame.
        source: pixels of a picture in the file, height and width.
        start_ns: time of the file's beginning.
        meta: `SensorFrame.meta` of its frames.
    """

    height: int
    width: int
    source: tuple[int, int]
    start_ns: int
    meta: Mapping[str, Any]


def view_of(path: Path, height: int, width: int) -> View:
    """The view of a file whose pictures have so many pixels.

    Raises:
        BadInput: if the calibration beside it cannot be used or a picture is smaller than 8 x 8.
    """
    if height < 2 * PATCH_ROWS or width < PATCH_COLUMNS:
        got = f"{height} x {width}"
        raise BadInput(f"File {path}", expected="pictures of at least 8 x 8 pixels", got=got, fix="give larger ones")
    calibration, name = calibration_beside(path, CameraCalibration)
    rows, columns = reduced_size(height, width, calibration.max_tokens)
    # Whole numbers are centres: a pixel's edge, at -0.5, stays where it is.
    stretch, shift = np.diag([columns / width, rows / height, 1.0]), np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    intrinsics = (np.eye(3) - shift) @ stretch @ (np.eye(3) + shift) @ calibration.matrix(height, width)
    meta = {
        "sensor": calibration.sensor or "camera", "pose_site": calibration.pose(), "intrinsics": intrinsics,
        "calibration": calibration.origin(name),
    }  # fmt: skip
    return View(rows, columns, (height, width), calibration.start_ns, meta)


def reduced_size(height: int, width: int, max_tokens: int) -> tuple[int, int]:
    """Height and width of the largest picture of about this shape with at most `max_tokens` patches; never larger."""
    most = max_tokens * PATCH_ROWS * PATCH_COLUMNS
    if height * width <= most:
        return height, width
    scale = (most / (height * width)) ** 0.5
    rows = min(max(int(height * scale) // PATCH_ROWS, 2), max_tokens)
    columns = min(max(int(width * scale) // PATCH_COLUMNS, 1), max_tokens // rows)
    return rows * PATCH_ROWS, columns * PATCH_COLUMNS
