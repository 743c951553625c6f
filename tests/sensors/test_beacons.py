"""Beacon tokens: axes of the site, kinds, silence, missing fields."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import BadInput, SensorFrame
from iotlam_beacons import BeaconModality
from iotlam_beacons.messages import FEATURES

ROW = (10.0, 2.0, 5.0, 0.5, 4.5, 1.8, 5.0, 0.25)


def frame(*rows: tuple[float, ...], yaw: float = 0.0, mask: NDArray[np.bool_] | None = None) -> SensorFrame:
    pose = mounted_pose((100.0, 50.0, 6.0))
    cos, sin = np.cos(yaw), np.sin(yaw)
    pose[:2, :2] = [[cos, -sin], [sin, cos]]
    data = np.array(rows, np.float32).reshape(-1, 8)
    return SensorFrame(10**9, data, mask, {"sensor": "v2x", "pose_site": pose})


def test_a_receiver_that_is_turned_says_the_same_of_the_site() -> None:
    straight = BeaconModality().tokenize([frame(ROW)])
    turned = BeaconModality().tokenize([frame((2.0, -10.0, 5.0, 0.5 - np.pi / 2.0, *ROW[4:]), yaw=np.pi / 2.0)])
    assert straight.position_BTX[0, 0].tolist() == pytest.approx([110.0, 52.0])
    assert straight.time_BT[0, 0] == pytest.approx(-0.25)
    np.testing.assert_allclose(turned.position_BTX, straight.position_BTX, atol=1e-4)
    np.testing.assert_allclose(turned.tokens_BTD, straight.tokens_BTD, atol=1e-6)


@pytest.mark.parametrize(
    ("station_type", "kind"), [(5, "car"), (6, "heavy"), (8, "heavy"), (2, "light"), (15, "other")]
)
def test_kinds(station_type: float, kind: str) -> None:
    token = BeaconModality().tokenize([frame((*ROW[:6], station_type, 0.0))]).tokens_BTD[0, 0]
    assert [name for name in FEATURES[5:] if token[FEATURES.index(name)]] == [kind]


def test_silence_is_one_masked_token() -> None:
    batch = BeaconModality().tokenize([frame()])
    assert batch.tokens_BTD.shape == (1, 1, len(FEATURES)) and not batch.mask_BT.any()


def test_a_missing_field_masks_the_message_whatever_stands_there() -> None:
    broken = (*ROW[:2], float("nan"), *ROW[3:])
    by_nan = BeaconModality().tokenize([frame(ROW, broken)])
    by_mask = BeaconModality().tokenize([frame(ROW, (9e2,) * 8, mask=np.array([True, False]))])
    for batch in (by_nan, by_mask):
        assert batch.mask_BT.tolist() == [[True, False]]
        assert not batch.tokens_BTD[0, 1].any() and not batch.position_BTX[0, 1].any()


def test_too_many_messages_are_refused() -> None:
    with pytest.raises(BadInput, match="1024"):
        BeaconModality().tokenize([frame(*[ROW] * 1025)])
