"""Beacons: who speaks, what is heard of it, and that the plugin reads the street's axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_beacons import BeaconModality
from iotlam_beacons.messages import FEATURES, FIELDS
from iotlam_street.beacons import BeaconConfig, Receiver, reception, share_of, station_type
from iotlam_street.rig import RigConfig, SensorRig
from iotlam_street.scene import Approach, Boxes, Floats, Snapshot

CENTRE_3 = np.array([0.0, 0.0, 6.0], np.float32)
EXACT = BeaconConfig(penetration=1.0, range_m=1e6, gnss_m=0.0, jitter_m=0.0, speed_m_s=0.0, heading_deg=0.0)


def heard(boxes: Boxes, config: BeaconConfig, seed: int = 0) -> Floats:
    rows_N8: Floats = Receiver(CENTRE_3, "v2x", config).hear(boxes, 0, np.random.default_rng(seed)).data
    assert rows_N8.dtype == np.float32 and rows_N8.shape[1] == len(FIELDS)
    return rows_N8


def test_a_vehicle_says_where_it_was_when_it_measured_itself(boxes_of: Callable[..., Boxes]) -> None:
    car, bus = (30.0, 4.0, 1.0, 4.5, 1.8, 1.5, 8.0, 6.0), (-20.0, 9.0, -2.0, 12.0, 2.5, 3.2)
    (x, y, speed, heading, length, width, kind, age), other = heard(boxes_of(car, bus), EXACT).tolist()
    assert (x, y) == pytest.approx((30.0 - 8.0 * age, 4.0 - 6.0 * age), abs=1e-4)
    assert (speed, heading, length, width, kind) == pytest.approx((10.0, 1.0, 4.5, 1.8, 5.0))
    assert 0.0 <= age <= 0.4  # 4 m at 10 m/s
    assert other[:4] == pytest.approx([-20.0, 9.0, 0.0, -2.0]) and other[6] == 6.0 and 0.0 <= other[7] <= 1.0


def test_who_speaks_is_a_matter_of_identity(traffic: Callable[[int, int], Boxes]) -> None:
    boxes = replace(traffic(90, 1), id_N=np.arange(1000, 1090, dtype=np.uint32))
    config = replace(EXACT, penetration=0.3)
    speakers = {tuple(heard(boxes, config, seed)[:, 3]) for seed in range(5)}
    assert len(speakers) == 1 and 15 < len(speakers.pop()) < 40
    assert len(heard(boxes, replace(EXACT, penetration=0.0))) == 0 and len(heard(boxes, EXACT)) == 90
    share = share_of(np.arange(20_000, dtype=np.uint32) * np.uint32(7919), 0)
    assert (share < 0.3).mean() == pytest.approx(0.3, abs=0.01) and 0.0 <= share.min() and share.max() < 1.0


def test_far_messages_are_lost_and_old_ones_forgotten(boxes_of: Callable[..., Boxes]) -> None:
    assert reception(np.array([0.0, 200.0]), 200.0) == pytest.approx([1.0, 8.5 * np.exp(-3.0)])
    near, far = (boxes_of(*[(x, 0.1 * n, 0.0, 4.5, 1.8, 1.5) for n in range(200)]) for x in (20.0, 110.0))
    config = replace(EXACT, range_m=110.0)
    assert len(heard(near, config)) > 190
    # Who stands speaks once a second: what is older than 1.1 s was said twice ago, and a tenth of it still counts.
    chance = float(reception(np.array([110.0]), 110.0)[0])
    assert len(heard(far, config)) / 200 == pytest.approx(chance + 0.1 * chance * (1.0 - chance), abs=0.1)


def test_places_err_by_vehicle_and_by_message(boxes_of: Callable[..., Boxes]) -> None:
    still = boxes_of(*[(0.0, 0.0, 0.0, 4.5, 1.8, 1.5)] * 400)
    config = replace(EXACT, gnss_m=1.5, jitter_m=0.3)
    one, other = (heard(still, config, seed)[:, :2] for seed in (1, 2))
    assert one.std() == pytest.approx(np.hypot(1.5, 0.3), rel=0.1)
    assert (one - other).std() == pytest.approx(0.3 * np.sqrt(2.0), rel=0.1)


def test_kinds_follow_size() -> None:
    size_N3 = np.array([[2.2, 0.9, 1.5], [4.5, 1.8, 1.5], [7.1, 2.4, 2.4], [12.0, 2.5, 3.4]], np.float32)
    assert station_type(size_N3).tolist() == [4.0, 5.0, 8.0, 6.0]


def test_the_plugin_finds_the_cars_of_a_rig(approaches: list[Approach], boxes_of: Callable[..., Boxes]) -> None:
    boxes = boxes_of((30.0, 4.0, 1.0, 4.5, 1.8, 1.5, 8.0, 6.0), (-20.0, 9.0, -2.0, 12.0, 2.5, 3.2))
    rig = SensorRig(approaches, RigConfig(beacons=EXACT))
    frames = rig.sense([Snapshot(0, boxes), Snapshot(10**9, boxes)], np.random.default_rng(0), ("beacons",))
    batch = BeaconModality().tokenize(frames["beacons"])
    away_m = np.linalg.norm(batch.position_BTX[0].numpy() - boxes.centre_N2, axis=1)
    assert away_m.max() < 4.1 and batch.mask_BT.all() and (batch.time_BT <= 0.0).all()
    speed = batch.tokens_BTD[0, :, FEATURES.index("speed")] * 10.0
    assert speed.tolist() == pytest.approx([10.0, 0.0], abs=1e-5)
    assert "beacons" not in rig.sense([Snapshot(0, boxes)], np.random.default_rng(0))


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(BadInput, match="penetration"):
        BeaconConfig(penetration=1.5)
