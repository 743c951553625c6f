"""The separable caster against the slab test in three dimensions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.caster import FRONT, GROUND, LATERAL, NOTHING, REAR, ROOF, Fans, Indices
from iotlam_street.scene import Boxes, Floats
from iotlam_traffic.suites.sensing import crowd_of, nearest_box, occlusion_errors, rays

NOBODY = -1


def test_agrees_with_three_dimensional_slabs() -> None:
    rng = np.random.default_rng(7)
    clear_rays, scenes = 0, 400
    for _ in range(scenes):
        boxes = crowd_of(int(rng.integers(1, 12)), rng)
        origin_13 = np.append(rng.uniform(-5.0, 5.0, 2), rng.uniform(0.5, 9.0)).astype(np.float32)[None]
        boxes = boxes.where(np.linalg.norm(boxes.centre_N2 - origin_13[:, :2], axis=1) > 7.0)
        slope_AE = rng.uniform(-0.6, 0.1, (16, 10)).astype(np.float32)
        fans = Fans(origin_13, rng.uniform(-np.pi, np.pi, 16).astype(np.float32), slope_AE)
        hits = fans.cast(boxes)

        origin_R3, ray_R3 = rays(fans)
        with np.errstate(divide="ignore"):
            floor_R = np.where(ray_R3[:, 2] < 0.0, -origin_R3[:, 2] / ray_R3[:, 2], np.inf)
        met = [nearest_box(origin_R3, ray_R3, boxes, grow_m) for grow_m in (0.0, 2e-3, -2e-3)]
        box_R, wider_R, slimmer_R = (np.where(reach_R < floor_R, first_R, NOBODY) for first_R, reach_R in met)
        clear_R = wider_R == slimmer_R
        clear_rays += int(clear_R.sum())
        empty_R = np.where(np.isfinite(floor_R), GROUND, NOTHING)
        want_R = np.where(box_R == NOBODY, empty_R, box_R)
        np.testing.assert_array_equal(hits.box_AE.ravel()[clear_R], want_R[clear_R])
        range_R = np.minimum(met[0][1], floor_R)
        np.testing.assert_allclose(hits.range_h_AE.ravel()[clear_R], range_R[clear_R], rtol=1e-3, atol=2e-3)
    assert clear_rays > 0.99 * scenes * 160


def test_sensors_of_different_poles_cast_at_once_as_each_alone() -> None:
    rng = np.random.default_rng(8)
    boxes = crowd_of(30, rng)
    origin_A3 = np.repeat(np.array([[70.0, 0.0, 6.0], [0.0, 70.0, 3.0]], np.float32), 32, axis=0)
    azimuth_A, slope_AE = rng.uniform(-np.pi, np.pi, 64).astype(np.float32), rng.uniform(-0.4, 0.1, (64, 12))
    together = Fans(origin_A3, azimuth_A, slope_AE.astype(np.float32)).cast(boxes)
    for own in (slice(32), slice(32, 64)):
        alone = Fans(origin_A3[own][:1], azimuth_A[own], slope_AE[own].astype(np.float32)).cast(boxes)
        np.testing.assert_array_equal(together.box_AE[own], alone.box_AE)
        np.testing.assert_array_equal(together.range_h_AE[own], alone.range_h_AE)


def test_no_ray_of_a_rig_sees_through_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    assert occlusion_errors(50) == 0

    def every_touch(_: Fans, a_P: Indices, hit_PE: Floats) -> tuple[Indices, Indices, Floats]:
        p, e = np.nonzero(np.isfinite(hit_PE))
        return p, e, hit_PE[p, e]

    monkeypatch.setattr(Fans, "_nearest", every_touch)  # the last box wins, not the nearest
    assert occlusion_errors(10) > 100


def test_faces_and_incidence(boxes_of: Callable[..., Boxes]) -> None:
    origin_13 = np.array([[0.0, 0.0, 2.0]], np.float32)
    east = np.zeros(1, np.float32)
    level_low_E = np.array([-0.05, -0.5], np.float32)
    for heading, face in ((0.0, REAR), (np.pi, FRONT), (np.pi / 2.0, LATERAL)):
        boxes = boxes_of((20.0, 0.0, heading, 4.0, 4.0, 1.5))
        fans = Fans(origin_13, east, level_low_E)
        assert fans.meet(boxes).face_R.tolist() == [face]
        hits = fans.cast(boxes)
        assert hits.range_h_AE[0] == pytest.approx([18.0, 4.0], rel=1e-5)
        assert hits.cos_AE[0, 0] == pytest.approx(np.cos(np.arctan(0.05)), rel=1e-5)
    low = boxes_of((6.0, 0.0, 0.0, 4.0, 2.0, 1.5))
    roof = Fans(origin_13, east, np.array([-0.1], np.float32)).meet(low)
    assert roof.face_R.tolist() == [ROOF]
    assert roof.range_h_R[0] == pytest.approx(5.0, rel=1e-5)
    assert roof.cos_R[0] == pytest.approx(np.sin(np.arctan(0.1)), rel=1e-5)


def test_empty_street_is_ground_and_sky(boxes_of: Callable[..., Boxes]) -> None:
    slope_E = np.array([-0.1, 0.0, 0.1], np.float32)
    hits = Fans(np.array([[3.0, 4.0, 6.0]], np.float32), np.zeros(2, np.float32), slope_E).cast(boxes_of())
    assert hits.box_AE.tolist() == [[GROUND, NOTHING, NOTHING]] * 2
    assert hits.range_h_AE[0, 0] == pytest.approx(60.0)
    assert np.isinf(hits.range_h_AE[:, 1:]).all()


def test_sensor_in_the_ground_is_refused() -> None:
    with pytest.raises(BadInput, match="above the ground"):
        Fans(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32))
