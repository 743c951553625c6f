"""The rig: which sensors measure when, where they hang, and that a seed fixes everything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.rig import SensorRig
from iotlam_street.scene import Approach, Boxes, Snapshot

Traffic = Callable[[int, int], Boxes]


@pytest.fixture
def shots(traffic: Traffic) -> list[Snapshot]:
    return [Snapshot(second * 10**9, traffic(40, second)) for second in range(3)]


def test_each_modality_measures_at_its_instants(approaches: list[Approach], shots: list[Snapshot]) -> None:
    frames = SensorRig(approaches).sense(shots, np.random.default_rng(0))
    assert [(frame.sensor, frame.t_ns) for frame in frames["lidar"]] == [("lidar", 2 * 10**9)]
    names = [approach.name for approach in approaches]
    assert [(frame.sensor, frame.t_ns) for frame in frames["video"]] == [
        (f"camera/{name}", t_ns) for t_ns in (10**9, 2 * 10**9) for name in names
    ]
    assert [(frame.sensor, frame.t_ns) for frame in frames["radar"]] == [(f"radar/{n}", 2 * 10**9) for n in names]


def test_same_seed_same_frames(approaches: list[Approach], shots: list[Snapshot]) -> None:
    one, same, other = (SensorRig(approaches).sense(shots, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for modality, frames in one.items():
        for frame, twin, stranger in zip(frames, same[modality], other[modality], strict=True):
            np.testing.assert_array_equal(frame.data, twin.data)
            assert not np.array_equal(frame.data, stranger.data)


def test_cameras_and_radars_look_up_their_approach(approaches: list[Approach], shots: list[Snapshot]) -> None:
    frames = SensorRig(approaches).sense(shots, np.random.default_rng(0))
    for approach, camera, radar in zip(approaches, frames["video"], frames["radar"], strict=False):
        travel_2 = np.array([np.cos(approach.heading), np.sin(approach.heading)])
        for upstream_m in (0.0, 80.0):
            target_4 = np.append(approach.stop_2 - upstream_m * travel_2, [0.0, 1.0])
            x, y, depth = camera.meta["intrinsics"] @ (np.linalg.inv(camera.pose_site) @ target_4)[:3]
            assert 0.0 <= x / depth < 64.0 and 0.0 <= y / depth < 48.0
            ahead, left, _ = (np.linalg.inv(radar.pose_site) @ target_4)[:3]
            assert abs(np.degrees(np.arctan2(left, ahead))) < 5.0


def test_only_what_is_asked_for(approaches: list[Approach], shots: list[Snapshot]) -> None:
    frames = SensorRig(approaches).sense(shots[:1], np.random.default_rng(0), ("video",))
    assert list(frames) == ["video"] and len(frames["video"]) == len(approaches)


def test_bad_requests_say_what_is_known(approaches: list[Approach], shots: list[Snapshot]) -> None:
    rig = SensorRig(approaches)
    with pytest.raises(BadInput, match="lidar, video, radar, beacons, got sonar"):
        rig.sense(shots, np.random.default_rng(0), ("lidar", "sonar"))
    with pytest.raises(BadInput, match="at least one"):
        rig.sense([], np.random.default_rng(0))
