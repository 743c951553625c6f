"""Scans on disk as frames: KITTI .bin, nuScenes .pcd.bin and the Point Cloud Library's .pcd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.blocks.recording import Calibration, calibration_beside
from iotlam.contracts import BadInput, SensorFrame
from iotlam_lidar.pcd import read_pcd

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
# Height above the road (metres) and direction of the sensor's x axis (degrees from the vehicle's front).
VEHICLES = {"kitti": (1.73, 0.0), "nuscenes": (1.84, -90.0)}
FARTHEST_M = 250.0
GROUND_NEAR_M, GROUND_FAR_M, GROUND_BIN_M, DEEPEST_M = 3.0, 30.0, 0.1, 15.0
LEAST_GROUND_POINTS = 50


class LidarCalibration(Calibration, frozen=True):
    """The keys of a LiDAR's calibration file, besides those of every sensor.

    Attributes:
        vehicle: instead of a pose: the sensor is that of this data set's car, the site's origin under it and east its
            front; 1.73 m (KITTI; Geiger et al., IJRR 2013) or 1.84 m (nuScenes; Caesar et al., CVPR 2020) high.
        intensity_max: the file's value for full intensity; otherwise 1 (KITTI), 255 (nuScenes) and for .pcd 255, or 1
            where no value is greater.
    """

    vehicle: Literal["kitti", "nuscenes"] | None = None
    intensity_max: Annotated[float, Meta(gt=0.0, le=1e9)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vehicle and (self.pose_site or self.mount):
            raise ValueError("a vehicle besides a pose")


def read(path: Path) -> Iterator[SensorFrame]:
    """The one frame of a scan.

    Calibration comes from the file beside it (`iotlam.blocks.recording.calibration_beside`, `LidarCalibration`).
    Without one the sensor stands level at the site's origin, as high above it as the ground that the scan shows is
    below. `meta["calibration"]` and `meta["intensity"]` say what was assumed. Points beyond 250 m and those with an
    impossible intensity become NaN, missing.

    Yields:
        A frame with data float32 (N, 4): x, y, z in metres, intensity 0 to 1.

    Raises:
        BadInput: if the file is cut off, damaged or laid out otherwise, or shows no ground and has no calibration.
    """
    calibration, name = calibration_beside(path, LidarCalibration)
    points_N4, intensity_max = _points(path)
    points_N4[np.isnan(points_N4)] = np.nan  # a damaged file may hold signalling ones, at which numpy warns
    has_intensity = intensity_max > 0.0
    intensity_max = calibration.intensity_max or intensity_max
    if has_intensity:
        points_N4[:, 3] /= np.float32(intensity_max)
    _drop_impossible(path, points_N4)
    pose, origin = _pose(path, calibration, name, points_N4)
    yield SensorFrame(calibration.start_ns or _time_in_name(path), points_N4, meta={
        "sensor": calibration.sensor or "lidar", "pose_site": pose, "calibration": origin,
        "intensity": f"full at {intensity_max:g}" if has_intensity else "none in the file",
    })  # fmt: skip


def _points(path: Path) -> tuple[Floats, float]:
    """Points float32 (N, 4) and the value of full intensity, 0 where there is none."""
    name = path.name.lower()
    if name.endswith(".pcd.bin"):
        return _read_rows(path, 5)[:, :4].copy(), 255.0
    if name.endswith(".bin"):
        return _read_rows(path, 4), 1.0
    points_N4, has_intensity = read_pcd(path)
    if not has_intensity:
        return points_N4, 0.0
    return points_N4, 255.0 if (points_N4[:, 3] > 1.0).any() else 1.0


def _read_rows(path: Path, width: int) -> Floats:
    size, row_bytes = path.stat().st_size, 4 * width
    if size % row_bytes:
        got = f"{size} bytes"
        raise BadInput(f"File {path}", expected=f"whole points of {row_bytes} bytes", got=got, fix="copy it anew")
    return np.fromfile(path, np.dtype("<f4")).astype(np.float32, copy=False).reshape(-1, width)


def _drop_impossible(path: Path, points_N4: Floats) -> None:
    """Mark points that no LiDAR returns as missing, in place; a file full of them is laid out otherwise."""
    limit_4 = np.array([FARTHEST_M] * 3 + [1.0 + 1e-6], np.float32)
    wild_N = (np.abs(points_N4) > limit_4).any(axis=1) | (points_N4[:, 3] < 0.0)
    if wild_N.sum() > 0.01 * len(points_N4) + 1:
        raise BadInput(
            f"File {path}",
            expected=f"coordinates within {FARTHEST_M:g} m and intensities from 0 to full",
            got=f"{int(wild_N.sum())} of {len(points_N4)} points outside",
            fix="check the layout and suffix of the file, or give intensity_max in its calibration",
        )
    points_N4[wild_N] = np.nan


def _pose(path: Path, calibration: LidarCalibration, name: str, points_N4: Floats) -> tuple[Doubles, str]:
    """Sensor-to-site transform (4, 4), and where it comes from."""
    if calibration.pose_site is not None:
        return np.array(calibration.pose_site), f"pose from {name}"
    if calibration.mount is not None:
        return calibration.mount.pose(), f"mount from {name}"
    if calibration.vehicle is not None:
        height_m, yaw_deg = VEHICLES[calibration.vehicle]
        pose = mounted_pose((0.0, 0.0, height_m), float(np.radians(yaw_deg)))
        return pose, f"vehicle {calibration.vehicle} named by {name}: {height_m:g} m above level ground"
    height_m = ground_height(path, points_N4)
    return mounted_pose((0.0, 0.0, height_m)), f"assumed level, {height_m:.2f} m above the ground that the scan shows"


def ground_height(path: Path, points_N4: Floats) -> float:
    """Height of a level sensor above the ground, metres: the commonest height of the returns from 3 to 30 m.

    Raises:
        BadInput: if too few returns lie below the sensor.
    """
    range_N = np.hypot(points_N4[:, 0], points_N4[:, 1])
    z_N = points_N4[:, 2]
    below_M = z_N[(range_N > GROUND_NEAR_M) & (range_N < GROUND_FAR_M) & (z_N < 0.0) & (z_N > -DEEPEST_M)]
    if below_M.size < LEAST_GROUND_POINTS:
        raise BadInput(
            f"File {path}",
            expected="a calibration file beside it, or a scan that shows the ground from 3 to 30 m",
            got=f"no calibration and {below_M.size} returns from below the sensor",
            fix=f'write {path.name}.calibration.toml, for instance with the line vehicle = "kitti"',
        )
    commonest = np.bincount((-below_M / GROUND_BIN_M).astype(np.intp)).argmax()
    near_M = np.abs(-below_M / GROUND_BIN_M - commonest - 0.5) < 2.5
    return float(-np.median(below_M[near_M]))


def _time_in_name(path: Path) -> int:
    """Nanoseconds of the microseconds that end a nuScenes file's name, 0 for other files."""
    named = re.search(r"__(\d{16})\.", path.name)
    return int(named[1]) * 1000 if named else 0
