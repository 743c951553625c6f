from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame, TokenBatch
from iotlam_lidar import LidarModality
from iotlam_lidar.pillars import FEATURES
from iotlam_lidar.synthetic import box_returns

LIDAR = LidarModality()
OCCUPIED, LOG_ABOVE, LOG_GROUND, TOP = (FEATURES.index(n) for n in ("occupied", "log_above", "log_ground", "top_m"))


def car_at(x: float, y: float, pose: np.ndarray | None = None) -> SensorFrame:
    data = box_returns(np.random.default_rng(0), np.array([10.3, 5.2]))
    data[:, :2] += (x - 10.3, y - 5.2)
    return SensorFrame(t_ns=0, data=data.astype(np.float32), meta={"pose_site": np.eye(4) if pose is None else pose})


def centroid(batch: TokenBatch) -> np.ndarray:
    weight_T = torch.expm1(4.0 * batch.tokens_BTD[0, :, LOG_ABOVE])
    return ((weight_T[:, None] * batch.position_BTX[0]).sum(0) / weight_T.sum()).numpy()


def test_order_of_points_does_not_change_a_bit() -> None:
    (sweep,) = LIDAR.sample(3)
    sweep = replace(sweep, meta={"pose_site": mounted_pose((3.0, 1.0, 5.0), 0.7, 0.1)})
    order = np.random.default_rng(1).permutation(len(sweep.data))
    one, other = LIDAR.tokenize([sweep]), LIDAR.tokenize([replace(sweep, data=sweep.data[order])])
    assert torch.equal(one.tokens_BTD, other.tokens_BTD) and torch.equal(one.position_BTX, other.position_BTX)


def test_a_car_that_moves_moves_its_tokens() -> None:
    here, there = centroid(LIDAR.tokenize([car_at(12.0, -7.0)])), centroid(LIDAR.tokenize([car_at(31.5, -3.5)]))
    np.testing.assert_allclose(here, (12.0, -7.0), atol=0.3)
    np.testing.assert_allclose(there - here, (19.5, 3.5), atol=2e-3)


def test_the_pose_carries_points_to_the_site() -> None:
    moved = LIDAR.tokenize([car_at(20.0, 0.0, mounted_pose((5.0, -10.0, 0.0), np.pi / 2))])
    np.testing.assert_allclose(centroid(moved), (5.0, 10.0), atol=0.3)


def test_features_of_one_cell() -> None:
    data = np.array([[1, 1, 1.0, 0.2], [2, 1, 2.0, 0.4], [1, 2, 0.1, 0.9]], np.float32)
    batch = LIDAR.tokenize([SensorFrame(t_ns=0, data=data, meta={"pose_site": np.eye(4)})])
    cell = 48 * 96 + 48
    assert batch.tokens_BTD[0, :, OCCUPIED].nonzero().flatten().tolist() == [cell]
    got = dict(zip(FEATURES, batch.tokens_BTD[0, cell].tolist(), strict=True))
    want = {
        "occupied": 1.0, "log_above": np.log(3.0) / 4, "log_ground": np.log(2.0) / 4, "top_m": 1.0, "mean_z_m": 0.75,
        "std_z_m": 0.5, "intensity": 0.3, "std_x_m": 0.5, "std_y_m": 0.0, "correlation_xy": 0.0,
    }  # fmt: skip
    assert {name: got[name] for name in want} == pytest.approx(want, abs=1e-6)
    assert batch.position_BTX[0, cell].tolist() == [1.5, 1.0]
    # Squared ranges are 3 and 9 square metres, in thousandths of 20 m squared: 8 and 22.
    assert got["log_density"] == pytest.approx(np.log1p(0.030) / 4, abs=1e-6)


def test_an_empty_street_is_not_missing_but_lost_points_are() -> None:
    meta = {"pose_site": np.eye(4)}
    empty = LIDAR.tokenize([SensorFrame(t_ns=0, data=np.zeros((0, 4), np.float32), meta=meta)])
    lost = LIDAR.tokenize([SensorFrame(t_ns=0, data=np.full((9, 4), np.nan, np.float32), meta=meta)])
    assert empty.mask_BT.all() and not lost.mask_BT.any()
    assert torch.equal(empty.tokens_BTD, torch.zeros(1, 9216, 11))


def test_points_that_are_not_finite_are_left_out() -> None:
    car = car_at(8.0, 8.0)
    broken = np.concatenate([car.data, [[np.inf, 0, 1, 0.5], [8, 8, np.nan, 0.5]]]).astype(np.float32)
    one, other = LIDAR.tokenize([car]), LIDAR.tokenize([replace(car, data=broken)])
    assert torch.equal(one.tokens_BTD, other.tokens_BTD)


def test_two_lidars_see_as_one_cloud() -> None:
    car, (sweep,) = car_at(8.0, 8.0), LIDAR.sample(0)
    both = LIDAR.tokenize([car, replace(car_at(-40.0, 8.0), meta={"sensor": "b", "pose_site": np.eye(4)})])
    np.testing.assert_allclose(centroid(both), (-16.0, 8.0), atol=0.5)
    assert both.tokens_BTD.shape == LIDAR.tokenize([sweep]).tokens_BTD.shape
