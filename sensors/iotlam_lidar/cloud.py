"""The points of a window in site coordinates, as whole numbers.

Whole millimetres and thousandths, held in float64, add up exactly in any order; that makes the pillars
invariant to the order of the points, bit for bit, without sorting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import site_pose, to_site
from iotlam.blocks.window import age_s, latest_by_sensor
from iotlam.contracts import SensorFrame

Doubles = NDArray[np.float64]
REFERENCE_RANGE_M = 20.0
HEIGHT_LIMIT_MM = 50_000.0


@dataclass(frozen=True, slots=True)
class Cloud:
    """N points of one site; every value is a whole number.

    Attributes:
        site_mm_3N: x, y, z in site coordinates, millimetres; z within +-50 m.
        intensity_N: thousandths.
        spread_N: (range / 20 m)^2 in thousandths: the solid angle that one return stands for grows so.
        age_ms_N: milliseconds before the newest sweep.
    """

    site_mm_3N: Doubles
    intensity_N: Doubles
    spread_N: Doubles
    age_ms_N: Doubles


def merge_sweeps(frames: Sequence[SensorFrame]) -> Cloud | None:
    """The latest sweep of every sensor in one cloud; None if every point of all of them is missing.

    A sweep of no points at all is not missing: the street may be empty.

    Raises:
        BadInput: if there are no frames or a pose is missing.
    """
    sweeps = [sweep for (sweep,) in latest_by_sensor(frames, 1, "lidar")]
    rows = [_sweep_rows(sweep, -age_s(sweep, frames)) for sweep in sweeps]
    if all(row is None for row in rows):
        return None
    merged = np.concatenate([row for row in rows if row is not None], axis=1)
    return Cloud(merged[:3], merged[3], merged[4], merged[5])


def _sweep_rows(sweep: SensorFrame, delay_s: float) -> Doubles | None:
    pose = site_pose(sweep)
    points_4N = np.ascontiguousarray(sweep.data.T, dtype=np.float64)
    valid_N = _valid(sweep, points_4N)
    if not valid_N.all():
        points_4N = points_4N[:, valid_N]
        if points_4N.shape[1] == 0:
            return None
    x_N, y_N, z_N, intensity_N = points_4N
    rows_6N = np.empty((6, points_4N.shape[1]))
    np.rint(to_site(points_4N[:3], pose) * 1e3, out=rows_6N[:3])
    np.clip(rows_6N[2], -HEIGHT_LIMIT_MM, HEIGHT_LIMIT_MM, out=rows_6N[2])
    np.rint(np.clip(intensity_N, 0.0, 1.0) * 1e3, out=rows_6N[3])
    np.rint((x_N * x_N + y_N * y_N + z_N * z_N) * (1e3 / REFERENCE_RANGE_M**2), out=rows_6N[4])
    rows_6N[5] = round(delay_s * 1e3)
    return rows_6N


def _valid(sweep: SensorFrame, points_4N: Doubles) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", over="ignore"):
        valid_N: NDArray[np.bool_] = np.isfinite(points_4N[0] + points_4N[1] + points_4N[2] + points_4N[3])
    if sweep.mask is None:
        return valid_N
    return np.asarray(valid_N & sweep.mask.all(axis=tuple(range(1, sweep.mask.ndim))))
