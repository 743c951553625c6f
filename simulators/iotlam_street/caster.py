"""Ray casting onto boxes on flat ground, shared by LiDAR and cameras.

A sensor on a pole whose rays come in vertical fans (all rays of a fan share an azimuth) sees a separable scene: one
2-D slab test per (azimuth, footprint) bounds the horizontal distance, and the remaining third slab, the height, is
one division per ray of the fans that meet a footprint. Together they are the exact slab test of a ray and an oriented
box (Kay and Kajiya, "Ray tracing complex scenes", SIGGRAPH 1986).

Letters: A azimuths, E rays of one azimuth, N boxes, P pairs of an azimuth and a box that meet, U azimuths that meet
any box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam_street.scene import Boxes, Floats

GROUND, NOTHING = -1, -2
FRONT, REAR, LATERAL, ROOF, FLAT = range(5)
"""Faces: of a box, and FLAT for the ground and the sky."""

_LEVEL = np.float32(1e-6)
"""Least slope and least direction cosine: avoids 0/0 and moves a ray by a tenth of a millimetre at 100 m."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Where A horizontal rays cross the footprints of N boxes.

    Attributes:
        enter_AN: horizontal distance at which the ray enters, metres; negative where the sensor is above the box.
        leave_AN: distance at which it leaves; less than `enter_AN` where the ray misses.
        along_AN: cosine between ray and heading of the box.
        across_AN: cosine between ray and left side of the box.
        end_AN: whether the ray enters through front or rear rather than through a lateral face.
    """

    enter_AN: Floats
    leave_AN: Floats
    along_AN: Floats
    across_AN: Floats
    end_AN: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hits:
    """What each ray meets first.

    Attributes:
        range_h_AE: horizontal distance, metres; inf where the ray meets nothing.
        box_AE: int32 index of the box, GROUND or NOTHING.
        face_AE: int8 FRONT, REAR, LATERAL or ROOF of a box, else FLAT.
        cos_AE: cosine of the angle of incidence, 0 to 1; meaningless where the ray meets nothing.
    """

    range_h_AE: Floats
    box_AE: NDArray[np.int32]
    face_AE: NDArray[np.int8]
    cos_AE: Floats


def slab(origin_2: Floats, direction_A2: Floats, boxes: Boxes) -> Slab:
    """Cross horizontal rays with footprints.

    Args:
        origin_2: common start of the rays, site coordinates, metres.
        direction_A2: unit vectors.
        boxes: N boxes.
    """
    offset_N2 = boxes.centre_N2 - origin_2
    cos_N, sin_N = np.cos(boxes.heading_N), np.sin(boxes.heading_N)
    x_N = offset_N2[:, 0] * cos_N + offset_N2[:, 1] * sin_N
    y_N = offset_N2[:, 1] * cos_N - offset_N2[:, 0] * sin_N
    along_AN = _away_from_zero(direction_A2 @ np.stack([cos_N, sin_N]))
    across_AN = _away_from_zero(direction_A2 @ np.stack([-sin_N, cos_N]))
    enter_x, leave_x = _crossing(x_N, boxes.size_N3[:, 0], along_AN)
    enter_y, leave_y = _crossing(y_N, boxes.size_N3[:, 1], across_AN)
    return Slab(
        enter_AN=np.maximum(enter_x, enter_y),
        leave_AN=np.minimum(leave_x, leave_y),
        along_AN=along_AN,
        across_AN=across_AN,
        end_AN=enter_x > enter_y,
    )


def cast(origin_3: Floats, azimuth_A: Floats, slope_AE: Floats, boxes: Boxes) -> Hits:
    """Find what each ray of a pole-mounted sensor meets first.

    Args:
        origin_3: place of the sensor, site coordinates, metres; above the ground and outside every box.
        azimuth_A: directions of the fans, radians counter-clockwise from east.
        slope_AE: tangent of each ray's elevation, (A, E), or (E,) where all fans are alike.
        boxes: what stands on the street.

    Raises:
        BadInput: if the sensor is not above the ground.
    """
    height = np.float32(origin_3[2])
    if height <= 0.0:
        raise BadInput("Sensor", expected="a place above the ground", got=f"z = {height:g} m", fix="raise its pole")
    shape = (azimuth_A.shape[0], slope_AE.shape[-1])
    slope_AE = np.broadcast_to(_away_from_zero(slope_AE), shape)
    upright_AE = 1.0 / np.sqrt(1.0 + slope_AE * slope_AE)
    down_AE = -height / slope_AE
    hits = Hits(
        range_h_AE=np.where(down_AE > 0.0, down_AE, np.float32(np.inf)),
        box_AE=np.where(down_AE > 0.0, np.int32(GROUND), np.int32(NOTHING)),
        face_AE=np.full(shape, FLAT, np.int8),
        cos_AE=np.abs(slope_AE) * upright_AE,
    )
    if len(boxes):
        direction_A2 = np.stack([np.cos(azimuth_A), np.sin(azimuth_A)], axis=1).astype(np.float32)
        met = slab(origin_3[:2].astype(np.float32), direction_A2, boxes)
        _mark_boxes(hits, met, boxes.size_N3[:, 2] - height, slope_AE, down_AE, upright_AE)
    return hits


def _mark_boxes(hits: Hits, met: Slab, top_N: Floats, slope_AE: Floats, down_AE: Floats, upright_AE: Floats) -> None:
    """Write the nearest boxes over the ground in `hits`; `top_N` is the height of roofs above the sensor."""
    a_P, n_P = np.nonzero(met.leave_AN > np.maximum(met.enter_AN, 0.0))
    if not len(a_P):
        return
    roof_PE, base_PE = top_N[n_P, None] / slope_AE[a_P], down_AE[a_P]
    enter_P = np.maximum(met.enter_AN[a_P, n_P], 0.0)
    hit_PE = np.maximum(enter_P[:, None], np.minimum(roof_PE, base_PE))
    hit_PE[hit_PE > np.minimum(met.leave_AN[a_P, n_P][:, None], np.maximum(roof_PE, base_PE))] = np.inf

    # Pairs come sorted by azimuth, so each azimuth is one run of rows.
    start_U = np.flatnonzero(np.diff(a_P, prepend=-1))
    nearest_UE = np.minimum.reduceat(hit_PE, start_U, axis=0)
    nearest_PE = np.repeat(nearest_UE, np.diff(start_U, append=len(a_P)), axis=0)
    p, e = np.nonzero((hit_PE == nearest_PE) & np.isfinite(hit_PE))
    a, range_h = a_P[p], hit_PE[p, e]

    along_P, end_P = met.along_AN[a_P, n_P], met.end_AN[a_P, n_P]
    side_P = np.where(end_P, np.where(along_P < 0.0, FRONT, REAR), LATERAL)
    cos_P = np.abs(np.where(end_P, along_P, met.across_AN[a_P, n_P]))
    on_roof = range_h > enter_P[p]
    hits.range_h_AE[a, e] = range_h
    hits.box_AE[a, e] = n_P[p]
    hits.face_AE[a, e] = np.where(on_roof, ROOF, side_P[p])
    hits.cos_AE[a, e] = np.where(on_roof, hits.cos_AE[a, e], cos_P[p] * upright_AE[a, e])


def _crossing(middle_N: Floats, size_N: Floats, cosine_AN: Floats) -> tuple[Floats, Floats]:
    """Distances at which rays enter and leave one pair of parallel faces."""
    middle_AN = middle_N / cosine_AN
    half_AN = size_N / np.abs(cosine_AN + cosine_AN)
    return middle_AN - half_AN, middle_AN + half_AN


def _away_from_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _LEVEL, _LEVEL, values).astype(np.float32, copy=False)
