"""Pillar features: what stands in each cell of a fixed ground grid.

The grouping of points into vertical columns is that of PointPillars (Lang et al., CVPR 2019); moments of
the points take the place of its learnt encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam_lidar.cloud import Cloud

Doubles = NDArray[np.float64]
CELLS = 96
CELL_MM = 2500.0
GROUND_MM = 400.0
FEATURES = (
    "occupied", "log_above", "log_ground", "top_m", "mean_z_m", "std_z_m",
    "intensity", "std_x_m", "std_y_m", "correlation_xy", "log_density",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pillars:
    """Features, ground positions (metres) and delays (seconds) of all T = 9216 cells, row by row from the south."""

    features_TD: Doubles
    position_TX: Doubles
    delay_T: Doubles


def cell_centres() -> Doubles:
    """Centres of the cells, float64 (9216, 2), site metres; x runs fastest."""
    axis = (np.arange(CELLS) - CELLS / 2 + 0.5) * (CELL_MM / 1e3)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def encode_pillars(cloud: Cloud) -> Pillars:
    """Encode a cloud, the same bits for any order of its points; points off the grid are left out.

    Of an occupied cell (a return higher than 0.4 m) the position is the centroid of those returns, of any
    other the cell's centre. Counts enter as log(1 + n) / 4, heights in 2 m, spreads in metres.
    """
    column_N, row_N = (np.floor(axis / CELL_MM) + CELLS // 2 for axis in cloud.site_mm_3N[:2])
    inside_N = (column_N >= 0) & (column_N < CELLS) & (row_N >= 0) & (row_N < CELLS)
    high_N = cloud.site_mm_3N[2] > GROUND_MM
    cell_N = np.where(inside_N, row_N * CELLS + column_N, -1.0).astype(np.intp)
    pillars = Pillars(np.zeros((CELLS**2, len(FEATURES))), cell_centres(), np.zeros(CELLS**2))
    ground_T = np.bincount(cell_N[inside_N & ~high_N], minlength=CELLS**2)
    pillars.features_TD[:, FEATURES.index("log_ground")] = _log_count(ground_T)
    _fill_occupied(pillars, cloud, cell_N, np.flatnonzero(inside_N & high_N))
    return pillars


def _fill_occupied(pillars: Pillars, cloud: Cloud, cell_N: NDArray[np.intp], above_M: NDArray[np.intp]) -> None:
    if above_M.size == 0:
        return
    cell_M = cell_N[above_M]
    occupied_O = np.flatnonzero(np.bincount(cell_M, minlength=CELLS**2))
    slot_M = np.searchsorted(occupied_O, cell_M)
    centre_mm_2O = pillars.position_TX[occupied_O].T * 1e3
    x_M, y_M = cloud.site_mm_3N[:2, above_M] - centre_mm_2O[:, slot_M]
    z_M = cloud.site_mm_3N[2, above_M]
    count_O = np.bincount(slot_M).astype(np.float64)

    def mean(value_M: Doubles) -> Doubles:
        return np.asarray(np.bincount(slot_M, weights=value_M) / count_O)

    mean_x, mean_y, mean_z = mean(x_M), mean(y_M), mean(z_M)
    std_x, std_y, std_z = (
        np.sqrt(np.maximum(mean(axis * axis) - middle * middle, 0.0)) / 1e3
        for axis, middle in ((x_M, mean_x), (y_M, mean_y), (z_M, mean_z))
    )
    covariance = (mean(x_M * y_M) - mean_x * mean_y) / 1e6
    density_O = mean(cloud.spread_N[above_M]) * count_O / 1e3
    top_mm_O = np.zeros(occupied_O.size)
    np.maximum.at(top_mm_O, slot_M, z_M)
    pillars.features_TD[occupied_O] = np.stack([
        np.ones(occupied_O.size), _log_count(count_O), pillars.features_TD[occupied_O, FEATURES.index("log_ground")],
        top_mm_O / 2e3, mean_z / 2e3, std_z, mean(cloud.intensity_N[above_M]) / 1e3,
        std_x, std_y, covariance / (std_x * std_y + 1e-2), _log_count(density_O),
    ], axis=1)  # fmt: skip
    pillars.position_TX[occupied_O] += np.stack([mean_x, mean_y], axis=1) / 1e3
    pillars.delay_T[occupied_O] = mean(cloud.age_ms_N[above_M]) / 1e3


def _log_count(count: NDArray[Any]) -> Doubles:
    return np.asarray(np.log1p(count) / 4.0)
