"""The separable caster against the slab test in three dimensions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam_street.caster import FLAT, FRONT, GROUND, LATERAL, NOTHING, REAR, ROOF, cast
from iotlam_street.scene import Boxes

SCENES = 1000


def first_hit(
    origin_3: NDArray[np.float64], ray_R3: NDArray[np.float64], boxes: Boxes, grow_m: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest box (GROUND, NOTHING) and distance per unit of `ray_R3`, in float64; boxes grown on all sides."""
    count = len(boxes)
    heading_N = boxes.heading_N.astype(np.float64)
    cos, sin, zero = np.cos(heading_N), np.sin(heading_N), np.zeros(count)
    turn_N33 = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1.0], axis=1).reshape(count, 3, 3)
    half_N3 = boxes.size_N3 / 2.0
    centre_N3 = np.concatenate([boxes.centre_N2, half_N3[:, 2:]], axis=1)
    start_N3 = np.einsum("nij,nj->ni", turn_N33, origin_3 - centre_N3)
    ray_RN3 = np.einsum("nij,rj->rni", turn_N33, ray_R3)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-start_N3 - half_N3 - grow_m) / ray_RN3, (-start_N3 + half_N3 + grow_m) / ray_RN3
        floor_R = np.where(ray_R3[:, 2] < 0.0, -origin_3[2] / ray_R3[:, 2], np.inf)
    enter_RN = np.minimum(one, two).max(axis=2)
    leave_RN = np.maximum(one, two).min(axis=2)
    hit_RN = np.where((enter_RN <= leave_RN) & (enter_RN >= 0.0) & (enter_RN <= floor_R[:, None]), enter_RN, np.inf)
    nearest_R, reach_R = hit_RN.argmin(axis=1), hit_RN.min(axis=1)
    other_R = np.where(np.isfinite(floor_R), GROUND, NOTHING)
    return np.where(np.isfinite(reach_R), nearest_R, other_R), np.minimum(reach_R, floor_R)


def test_agrees_with_three_dimensional_slabs() -> None:
    rng = np.random.default_rng(7)
    clear_rays = 0
    for _ in range(SCENES):
        count = int(rng.integers(1, 12))
        boxes = Boxes(
            rng.uniform(-40.0, 40.0, (count, 2)).astype(np.float32),
            rng.uniform(-np.pi, np.pi, count).astype(np.float32),
            rng.uniform([2.0, 1.0, 1.0], [12.0, 2.6, 4.0], (count, 3)).astype(np.float32),
            np.zeros((count, 2), np.float32),
            np.zeros((count, 3), np.uint8),
        )
        origin_3 = np.append(rng.uniform(-5.0, 5.0, 2), rng.uniform(4.5, 9.0)).astype(np.float32)
        if rng.random() < 0.3 and np.linalg.norm(boxes.centre_N2 - origin_3[:2], axis=1).min() > 7.0:
            origin_3[2] = rng.uniform(0.5, 3.0)
        azimuth_A = rng.uniform(-np.pi, np.pi, 16).astype(np.float32)
        slope_AE = rng.uniform(-0.6, 0.1, (16, 10)).astype(np.float32)
        hits = cast(origin_3, azimuth_A, slope_AE, boxes)

        azimuth_AE = np.repeat(azimuth_A[:, None], 10, axis=1).astype(np.float64)
        ray_R3 = np.stack([np.cos(azimuth_AE), np.sin(azimuth_AE), slope_AE], axis=2).reshape(-1, 3)
        start_3 = origin_3.astype(np.float64)
        box_R, range_R = first_hit(start_3, ray_R3, boxes, 0.0)
        grazing_R = first_hit(start_3, ray_R3, boxes, 2e-3)[0] != first_hit(start_3, ray_R3, boxes, -2e-3)[0]
        clear_R = ~grazing_R
        clear_rays += int(clear_R.sum())
        np.testing.assert_array_equal(hits.box_AE.ravel()[clear_R], box_R[clear_R])
        np.testing.assert_allclose(hits.range_h_AE.ravel()[clear_R], range_R[clear_R], rtol=1e-3, atol=2e-3)
    assert clear_rays > 0.99 * SCENES * 160


def test_faces_and_incidence(boxes_of: Callable[..., Boxes]) -> None:
    origin_3 = np.array([0.0, 0.0, 2.0], np.float32)
    east = np.zeros(1, np.float32)
    level_low_E = np.array([-0.05, -0.5], np.float32)
    for heading, face in ((0.0, REAR), (np.pi, FRONT), (np.pi / 2.0, LATERAL)):
        hits = cast(origin_3, east, level_low_E, boxes_of((20.0, 0.0, heading, 4.0, 4.0, 1.5)))
        assert hits.face_AE[0].tolist() == [face, FLAT]
        assert hits.range_h_AE[0] == pytest.approx([18.0, 4.0], rel=1e-5)
        assert hits.cos_AE[0, 0] == pytest.approx(np.cos(np.arctan(0.05)), rel=1e-5)
    roof = cast(origin_3, east, np.array([-0.1], np.float32), boxes_of((6.0, 0.0, 0.0, 4.0, 2.0, 1.5)))
    assert roof.face_AE[0, 0] == ROOF
    assert roof.range_h_AE[0, 0] == pytest.approx(5.0, rel=1e-5)
    assert roof.cos_AE[0, 0] == pytest.approx(np.sin(np.arctan(0.1)), rel=1e-5)


def test_empty_street_is_ground_and_sky(boxes_of: Callable[..., Boxes]) -> None:
    slope_E = np.array([-0.1, 0.0, 0.1], np.float32)
    hits = cast(np.array([3.0, 4.0, 6.0], np.float32), np.zeros(2, np.float32), slope_E, boxes_of())
    assert hits.box_AE.tolist() == [[GROUND, NOTHING, NOTHING]] * 2
    assert hits.range_h_AE[0, 0] == pytest.approx(60.0)
    assert np.isinf(hits.range_h_AE[:, 1:]).all()


def test_sensor_in_the_ground_is_refused(boxes_of: Callable[..., Boxes]) -> None:
    with pytest.raises(BadInput, match="above the ground"):
        cast(np.zeros(3, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32), boxes_of())
