"""Ray casting onto boxes on flat ground, shared by LiDAR and cameras.

A sensor on a pole whose rays come in vertical fans (all rays of a fan share an azimuth) sees a separable scene: one
2-D slab test per (azimuth, footprint) bounds the horizontal distance, and the remaining third slab, the height, is
one division per ray of the fans that meet a footprint. Together they are the exact slab test of a ray and an oriented
box (Kay and Kajiya, "Ray tracing complex scenes", SIGGRAPH 1986).

Many sensors cast at once: their fans stand in one list, each with its own origin.

Letters: A fans, E rays of one fan, N boxes, P pairs of a fan and a box that meet, R rays that meet a box.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam_street.scene import Boxes, Floats

Indices = NDArray[np.intp]

GROUND, NOTHING = -1, -2
FRONT, REAR, LATERAL, ROOF = range(4)
"""Faces of a box."""

_LEVEL = np.float32(1e-6)
"""Least slope and least direction cosine: avoids 0/0 and moves a ray by a tenth of a millimetre at 100 m."""

_SPARE_M = np.float32(0.01)
"""Added to the radius within which a ray may meet a box: far more than float32 rounds off."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Where horizontal rays cross the footprints of boxes: P pairs that are near each other, sorted by ray.

    Attributes:
        ray_P, box_P: indices of the ray and of the box.
        enter_P: horizontal distance at which the ray enters, metres; negative where the sensor is above the box.
        leave_P: distance at which it leaves; less than `enter_P` where the ray misses.
        along_P: cosine between ray and heading of the box.
        across_P: cosine between ray and left side of the box.
        end_P: whether the ray enters through front or rear rather than through a lateral face.
    """

    ray_P: Indices
    box_P: Indices
    enter_P: Floats
    leave_P: Floats
    along_P: Floats
    across_P: Floats
    end_P: NDArray[np.bool_]

    def where(self, kept_P: NDArray[np.bool_]) -> Slab:
        """Those pairs alone."""
        kept = np.flatnonzero(kept_P)
        return Slab(*(getattr(self, field.name)[kept] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class BoxHits:
    """The R rays that meet a box.

    Attributes:
        fan_R, ray_R, box_R: indices of the fan, of the ray in it, and of the box.
        range_h_R: horizontal distance, metres.
        face_R: int8 FRONT, REAR, LATERAL or ROOF.
        cos_R: cosine of the angle of incidence, 0 to 1.
    """

    fan_R: Indices
    ray_R: Indices
    box_R: Indices
    range_h_R: Floats
    face_R: NDArray[np.int8]
    cos_R: Floats


@dataclass(frozen=True, slots=True)
class Hits:
    """What each ray meets first.

    Attributes:
        range_h_AE: horizontal distance, metres; inf where the ray meets nothing.
        box_AE: int32 index of the box, GROUND or NOTHING.
        cos_AE: cosine of the angle of incidence, 0 to 1; meaningless where the ray meets nothing.
    """

    range_h_AE: Floats
    box_AE: NDArray[np.int32]
    cos_AE: Floats


class Fans:
    """Rays of sensors that stay where they are, so what does not depend on the traffic is worked out once.

    Args:
        origin_A3: place of each fan's sensor, (A, 3), or (1, 3) where they share one, site coordinates, metres; above
            the ground and outside every box.
        azimuth_A: directions of the fans, radians counter-clockwise from east.
        slope_AE: tangent of each ray's elevation, (A, E), or (E,) where all fans are alike.

    Raises:
        BadInput: if a sensor is not above the ground.
    """

    def __init__(self, origin_A3: Floats, azimuth_A: Floats, slope_AE: Floats) -> None:
        lowest = origin_A3[:, 2].min()
        if lowest <= 0.0:
            raise BadInput("Sensor", expected="a place above the ground", got=f"z = {lowest:g} m", fix="raise its pole")
        shape = (azimuth_A.shape[0], slope_AE.shape[-1])
        self.origin_A3 = origin_A3.astype(np.float32)
        self.direction_A2 = np.stack([np.cos(azimuth_A), np.sin(azimuth_A)], axis=1).astype(np.float32)
        self.slope_AE = np.broadcast_to(_away_from_zero(slope_AE), shape).copy()
        self._upright_AE = 1.0 / np.sqrt(1.0 + self.slope_AE * self.slope_AE)
        self._down_AE = -self.origin_A3[:, 2:] / self.slope_AE
        falls_AE = self._down_AE > 0.0
        self.empty = Hits(
            range_h_AE=np.where(falls_AE, self._down_AE, np.float32(np.inf)),
            box_AE=np.where(falls_AE, np.int32(GROUND), np.int32(NOTHING)),
            cos_AE=np.abs(self.slope_AE) * self._upright_AE,
        )

    def cast(self, boxes: Boxes) -> Hits:
        """Find what each ray meets first."""
        met = self.meet(boxes)
        hits = Hits(self.empty.range_h_AE.copy(), self.empty.box_AE.copy(), self.empty.cos_AE.copy())
        where = met.fan_R, met.ray_R
        hits.range_h_AE[where], hits.box_AE[where], hits.cos_AE[where] = met.range_h_R, met.box_R, met.cos_R
        return hits

    def meet(self, boxes: Boxes) -> BoxHits:
        """Find the rays that meet a box first."""
        pairs = slab(self.origin_A3[:, :2], self.direction_A2, boxes)
        pairs = pairs.where(pairs.leave_P > np.maximum(pairs.enter_P, 0.0))
        enter_P = np.maximum(pairs.enter_P, 0.0)
        p, e, range_h = self._nearest(pairs.ray_P, self._first_touch(pairs, enter_P, boxes))
        a = pairs.ray_P[p]
        side_P = np.where(pairs.end_P, np.where(pairs.along_P < 0.0, FRONT, REAR), LATERAL).astype(np.int8)
        cos_P = np.abs(np.where(pairs.end_P, pairs.along_P, pairs.across_P))
        on_roof = range_h > enter_P[p]
        return BoxHits(
            a, e, pairs.box_P[p], range_h,
            face_R=np.where(on_roof, np.int8(ROOF), side_P[p]),
            cos_R=np.where(on_roof, self.empty.cos_AE[a, e], cos_P[p] * self._upright_AE[a, e]),
        )  # fmt: skip

    def _first_touch(self, pairs: Slab, enter_P: Floats, boxes: Boxes) -> Floats:
        """Horizontal distance, (P, E), at which each ray of a pair's fan meets its box, inf where it passes by."""
        top_P = boxes.size_N3[pairs.box_P, 2] - _own(self.origin_A3, pairs.ray_P)[:, 2]
        down_PE, roof_PE = self._down_AE[pairs.ray_P], top_P[:, None] / self.slope_AE[pairs.ray_P]
        hit_PE: Floats = np.maximum(enter_P[:, None], np.minimum(roof_PE, down_PE))
        hit_PE[hit_PE > np.minimum(pairs.leave_P[:, None], np.maximum(roof_PE, down_PE))] = np.inf
        return hit_PE

    def _nearest(self, a_P: Indices, hit_PE: Floats) -> tuple[Indices, Indices, Floats]:
        """Pair, ray and distance of the finite entries that are the least of their ray."""
        rays = hit_PE.shape[1]
        p, e = _indices(np.isfinite(hit_PE))
        range_h, key = hit_PE[p, e], a_P[p] * rays + e
        nearest = np.full(self.slope_AE.size, np.inf, np.float32)
        np.minimum.at(nearest, key, range_h)
        first = np.flatnonzero(range_h == nearest[key])
        return p[first], e[first], range_h[first]


def slab(origin_A2: Floats, direction_A2: Floats, boxes: Boxes) -> Slab:
    """Cross horizontal rays with footprints; pairs of a ray and a box that are far from each other are left out.

    Args:
        origin_A2: starts of the rays, (A, 2), or (1, 2) where they share one, site coordinates, metres.
        direction_A2: unit vectors.
        boxes: N boxes.
    """
    a, n = _near(origin_A2, direction_A2, boxes)
    offset_P2, direction_P2 = boxes.centre_N2[n] - _own(origin_A2, a), direction_A2[a]
    cos_P, sin_P = np.cos(boxes.heading_N)[n], np.sin(boxes.heading_N)[n]
    along_P, across_P = (_away_from_zero(part_P) for part_P in _turned(direction_P2, cos_P, sin_P))
    x_P, y_P = _turned(offset_P2, cos_P, sin_P)
    enter_x, leave_x = _crossing(x_P, boxes.size_N3[n, 0], along_P)
    enter_y, leave_y = _crossing(y_P, boxes.size_N3[n, 1], across_P)
    return Slab(
        a, n, np.maximum(enter_x, enter_y), np.minimum(leave_x, leave_y), along_P, across_P, end_P=enter_x > enter_y
    )


def _near(origin_A2: Floats, direction_A2: Floats, boxes: Boxes) -> tuple[Indices, Indices]:
    """Pairs of a ray and a box whose circle it may meet, sorted by ray."""
    radius_N = np.sqrt(boxes.size_N3[:, 0] ** 2 + boxes.size_N3[:, 1] ** 2) / 2.0 + _SPARE_M
    left_A2 = direction_A2[:, ::-1] * np.array([-1.0, 1.0], np.float32)
    ahead_AN, beside_AN = (
        axis_A2 @ boxes.centre_N2.T - np.einsum("ai,ai->a", axis_A2, origin_A2)[:, None]
        for axis_A2 in (direction_A2, left_A2)
    )
    return _indices((np.abs(beside_AN) < radius_N) & (ahead_AN > -radius_N))


def _indices(where_AB: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """`np.nonzero` of two dimensions, several times as fast where little is true."""
    a, b = np.divmod(np.flatnonzero(where_AB), max(where_AB.shape[1], 1))
    return a, b


def _own(values_A: Floats, a_P: Indices) -> Floats:
    """The values of each pair's ray, from one for each ray or one for all."""
    return np.asarray(values_A[a_P] if len(values_A) > 1 else values_A)


def _turned(vector_P2: Floats, cos_P: Floats, sin_P: Floats) -> tuple[Floats, Floats]:
    """Vectors along and across a heading."""
    x_P, y_P = vector_P2[:, 0], vector_P2[:, 1]
    return x_P * cos_P + y_P * sin_P, y_P * cos_P - x_P * sin_P


def _crossing(middle_P: Floats, size_P: Floats, cosine_P: Floats) -> tuple[Floats, Floats]:
    """Distances at which rays enter and leave one pair of parallel faces."""
    middle_P = middle_P / cosine_P
    half_P = size_P / np.abs(cosine_P + cosine_P)
    return middle_P - half_P, middle_P + half_P


def _away_from_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _LEVEL, _LEVEL, values).astype(np.float32, copy=False)
