"""Recordings on disk: the calibration that lies beside them, and what reading them may cost."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np

from iotlam.blocks.geometry import Doubles, is_rigid, mounted_pose
from iotlam.contracts import BadInput, Record

CALIBRATION_NAME = "calibration.toml"
SLACK_BYTES = 16_000_000
Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]


class Mount(Record, frozen=True):
    """Where a sensor is fixed and where it looks.

    Attributes:
        position_m: x, y, z in site coordinates, metres.
        yaw_deg: direction in which it looks, degrees counter-clockwise from east.
        pitch_deg: degrees by which it looks down.
    """

    position_m: Row3
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite((*self.position_m, self.yaw_deg, self.pitch_deg)).all():
            raise ValueError("a mount that is not finite")

    def pose(self) -> Doubles:
        """Mount (x forward, y left, z up) to site, float64 (4, 4), metres."""
        return mounted_pose(self.position_m, float(np.radians(self.yaw_deg)), float(np.radians(self.pitch_deg)))


class Calibration(Record, frozen=True):
    """What a calibration file says of a spatial sensor; readers add keys of their own.

    Attributes:
        sensor: name of the sensor, the reader's default where none is given.
        start_ns: time of the recording's beginning on the site's clock.
        pose_site: 4 x 4, sensor axes to site, metres.
        mount: the same in words, for a sensor without roll.
    """

    sensor: str = ""
    start_ns: int = 0
    pose_site: tuple[Row4, Row4, Row4, Row4] | None = None
    mount: Mount | None = None

    def __post_init__(self) -> None:
        if self.pose_site is not None and self.mount is not None:
            raise ValueError("both pose_site and mount")
        if self.pose_site is not None and not is_rigid(np.array(self.pose_site)):
            raise ValueError("a pose_site that is no rotation and translation, last row 0 0 0 1")


C = TypeVar("C", bound=Calibration)


def calibration_beside(path: Path, kind: type[C]) -> tuple[C, str]:
    """The calibration of a recording: from `<file name>.calibration.toml`, else `calibration.toml` in its folder.

    Args:
        path: the recording.
        kind: the reader's kind of calibration.

    Returns:
        The calibration and the name of its file; all defaults and "" where there is no such file.

    Raises:
        BadInput: if the file cannot be used.
    """
    for name in (f"{path.name}.{CALIBRATION_NAME}", CALIBRATION_NAME):
        if (beside := path.with_name(name)).is_file():
            return kind.from_toml(beside), name
    return kind(), ""


def check_cost(path: Path, need_bytes: float, what: str) -> None:
    """Refuse a recording that needs more memory than 4 x its size + 16 MB: a small file must not fill a device.

    Args:
        path: the recording.
        need_bytes: bytes that reading it takes, known from its header.
        what: what needs them, e.g. "a picture of 9000 x 9000".

    Raises:
        BadInput: if it needs more.
    """
    allowed_bytes = allowed_cost(path)
    if need_bytes > allowed_bytes:
        raise BadInput(
            f"File {path}",
            expected=f"data that take at most {allowed_bytes / 1e6:.0f} MB to read (four times the file and 16 MB)",
            got=f"{what}, {need_bytes / 1e6:.0f} MB",
            fix="reduce the recording or mend its header",
        )


def allowed_cost(path: Path) -> int:
    """Bytes of memory that reading a file may take: 4 x its size + 16 MB."""
    return 4 * path.stat().st_size + SLACK_BYTES
