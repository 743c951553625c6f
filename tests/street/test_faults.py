"""Faults of sensors: what arrives, what is noticed, and where the first vehicle of a lane seems to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.faults import SensorFaults, detected, first_in_lanes, misplaced
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.rig import SensorRig
from iotlam_street.scenarios import find_scenario
from iotlam_street.scene import Boxes, Snapshot

MODALITIES = ("lidar", "video", "radar")
SIZE = (4.5, 1.8, 1.5)


@pytest.fixture(scope="module")
def plan() -> SignalPlan:
    return read_plans(find_scenario("cologne1").net)[0]


@pytest.fixture
def queue(plan: SignalPlan, boxes_of: Callable[..., Boxes]) -> Boxes:
    """In each of the first two lanes a vehicle with its front 10 m, and one 30 m, from the stop line."""
    rows = []
    for points_H2 in plan.points_back(np.array([9.0, 10.0, 29.0, 30.0], np.float32))[:2]:
        for before, front in ((0, 1), (2, 3)):
            ahead_2 = points_H2[before] - points_H2[front]
            heading = float(np.arctan2(ahead_2[1], ahead_2[0]))
            centre_2 = points_H2[front] - SIZE[0] / 2.0 * np.array([np.cos(heading), np.sin(heading)])
            rows.append((*centre_2, heading, *SIZE))
    return boxes_of(*rows)


def shots(boxes: Boxes) -> list[Snapshot]:
    return [Snapshot(0, boxes), Snapshot(10**9, boxes)]


def sense(plan: SignalPlan, boxes: Boxes, seed: int = 0, **faults: Any) -> dict[str, Any]:
    rig = SensorRig(plan.approaches)
    return dict(SensorFaults(**faults).sense(rig, plan, shots(boxes), np.random.default_rng(seed), MODALITIES))


def test_without_faults_frames_are_those_of_the_rig(plan: SignalPlan, queue: Boxes) -> None:
    plain = SensorRig(plan.approaches).sense(shots(queue), np.random.default_rng(0), MODALITIES)
    for name, frames in sense(plan, queue).items():
        assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, plain[name], strict=True))


def test_dead_modalities_are_silent(plan: SignalPlan, queue: Boxes) -> None:
    assert list(sense(plan, queue, dead=("lidar", "radar"))) == ["video"]


def test_half_the_frames_arrive_and_a_sensor_falls_back_on_the_second_before(plan: SignalPlan, queue: Boxes) -> None:
    seen = [sense(plan, queue, seed, lost=0.5) for seed in range(60)]
    for name, sensors in (("video", 4), ("radar", 4), ("lidar", 1)):
        counts = [len(window[name]) for window in seen]
        assert np.mean(counts) == pytest.approx(sensors, abs=4.0 * np.sqrt(0.5 * sensors / 60))
        assert all(len({(f.sensor, f.t_ns) for f in window[name]}) == len(window[name]) for window in seen)
    only_before = [[frame.t_ns for frame in window["lidar"]] == [0] for window in seen]
    assert 0.1 < np.mean(only_before) < 0.4
    assert all(not window for window in sense(plan, queue, lost=1.0).values())


def test_a_vehicle_is_noticed_so_often_and_then_in_all_snapshots(queue: Boxes) -> None:
    rng, counts = np.random.default_rng(0), []
    for _ in range(500):
        before, now = detected(shots(queue), 0.72, rng)
        np.testing.assert_array_equal(before.boxes.id_N, now.boxes.id_N)
        counts.append(np.isin(queue.id_N, now.boxes.id_N))
    assert np.mean(counts) == pytest.approx(0.72, abs=0.04)
    assert np.abs(np.corrcoef(np.array(counts).T)[0, 1]) < 0.15


def test_first_vehicles_are_found_by_lane(plan: SignalPlan, queue: Boxes) -> None:
    first, distance_m = first_in_lanes(queue, plan)
    assert first.tolist() == [0, 2]
    np.testing.assert_allclose(distance_m, 10.0, atol=1.1)
    nobody = queue.where(np.zeros(len(queue), bool))
    assert first_in_lanes(nobody, plan)[0].size == 0
    assert len(misplaced(shots(nobody), plan, 30.0, np.random.default_rng(0))) == 2


def test_only_the_first_vehicle_of_a_lane_is_misplaced_along_its_heading(plan: SignalPlan, queue: Boxes) -> None:
    rng, moves = np.random.default_rng(0), []
    for _ in range(400):
        before, now = misplaced(shots(queue), plan, 30.0, rng)
        np.testing.assert_array_equal(before.boxes.centre_N2, now.boxes.centre_N2)
        offset_N2 = now.boxes.centre_N2 - queue.centre_N2
        direction_N2 = np.stack([np.cos(queue.heading_N), np.sin(queue.heading_N)], axis=1)
        forward_N = (offset_N2 * direction_N2).sum(axis=1)
        np.testing.assert_allclose(offset_N2, forward_N[:, None] * direction_N2, atol=1e-3)
        moves.append(forward_N)
    forward_RN = np.array(moves)
    assert (forward_RN[:, [1, 3]] == 0.0).all()
    assert forward_RN.max() < 11.1  # never past the stop line
    assert np.median(forward_RN[forward_RN < 0.0]) == pytest.approx(-0.674 * 30.0, rel=0.15)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dead": ("sonar",)}, "sonar"),
        ({"lost": 1.5}, "lost"),
        ({"sigma_m": -1.0}, "sigma_m"),
        ({"detection": 2}, "to 1"),
    ],
)
def test_impossible_faults_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        SensorFaults(**wrong)
