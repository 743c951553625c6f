"""The rows of a frame: cooperative awareness messages (ETSI EN 302 637-2) as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import site_pose, to_site
from iotlam.contracts import SensorFrame

FIELDS = ("x", "y", "speed", "heading", "length", "width", "station_type", "age")
"""Columns of a frame; `age` is the seconds since the vehicle measured itself, station types are ETSI's."""

FEATURES = ("speed", "cos_heading", "sin_heading", "length", "width", "light", "car", "heavy", "other")
KINDS = {"light": (1, 2, 3, 4), "car": (5, 7), "heavy": (6, 8, 9, 11)}
"""ETSI station types by kind: people and two-wheelers; cars and vans; buses, lorries, trams."""

Doubles = NDArray[np.float64]


def valid_rows(frame: SensorFrame) -> NDArray[np.bool_]:
    """Messages without a missing field, (M,)."""
    with np.errstate(invalid="ignore"):
        valid_M = np.isfinite(frame.data).all(axis=1)
    if frame.mask is not None:
        valid_M &= frame.mask.reshape(len(valid_M), -1).all(axis=1)
    return np.asarray(valid_M, np.bool_)


def encode_messages(frame: SensorFrame, valid_M: NDArray[np.bool_]) -> tuple[Doubles, Doubles, Doubles]:
    """Features (M, 9) of `FEATURES`, places (M, 2) on the site in metres and ages (M,) in seconds; 0 where not valid.

    Speeds count in 10 m/s, lengths in 10 m, widths in 3 m; headings are turned to the site's axes.
    """
    pose = site_pose(frame)
    rows_M8 = np.where(valid_M[:, None], frame.data, np.float32(0.0)).astype(np.float64)
    x, y, speed, heading, length, width, kind, age = rows_M8.T
    place_M2 = to_site(np.stack([x, y, np.zeros_like(x)]), pose)[:2].T
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    known = [np.isin(kind, types) for types in KINDS.values()]
    one_hot: list[NDArray[Any]] = [*known, ~np.any(known, axis=0)]
    features_M9 = np.column_stack(
        [speed / 10.0, np.cos(heading + yaw), np.sin(heading + yaw), length / 10.0, width / 3.0, *one_hot]
    )
    return np.where(valid_M[:, None], features_M9, 0.0), np.where(valid_M[:, None], place_M2, 0.0), age
