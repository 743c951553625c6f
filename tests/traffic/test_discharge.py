"""What the rule values, vehicle by vehicle, and that it is worth something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from iotlam_street.scenarios import Scenario
from iotlam_traffic.discharge import Discharge, DischargeWeights
from iotlam_traffic.episode import run_episode
from iotlam_traffic.rules import RULES

AtLanes = Callable[..., Any]
EACH = [[1, 0], [0, 1]]
WEIGHTS = DischargeWeights(reach_m=20.0, fade_m=50.0, waiting=0.5, discharge_hz=0.5)


def score(junction: Any) -> list[float]:
    return [float(value) for value in Discharge(WEIGHTS).score(junction)]


def test_near_vehicles_count_one_and_far_ones_fade(at_lanes: AtLanes) -> None:
    lane = [(5.0, 9.0, 0.0, True), (20.0, 9.0, 0.0, True), (70.0, 9.0, 0.0, False)]
    assert score(at_lanes([lane, []], EACH)) == pytest.approx([2.0 + np.exp(-1.0), 0.0])


def test_waiting_adds_to_a_vehicle(at_lanes: AtLanes) -> None:
    assert score(at_lanes([[(5.0, 0.0, 60.0, True)], []], EACH)) == pytest.approx([1.0 + 0.5 * 2.0, 0.0])


def test_a_lane_is_worth_no_more_than_it_can_discharge(at_lanes: AtLanes) -> None:
    full = [(5.0, 0.0, 0.0, True)] * 30
    assert score(at_lanes([full, full], EACH)) == pytest.approx([5.0, 3.5])  # 10 s of green, or 7 after yellow
    assert score(at_lanes([full, full], [[1, 1], [1, 0]])) == pytest.approx([10.0, 3.5])


def test_it_chooses_the_greatest_score_and_keeps_the_phase_on_a_tie(at_lanes: AtLanes) -> None:
    one, two = [(5.0, 0.0, 0.0, True)], [(5.0, 0.0, 0.0, True)] * 2
    assert Discharge(WEIGHTS).phase(at_lanes([one, two], EACH)) == 1
    assert Discharge(WEIGHTS).phase(at_lanes([one, one], EACH, phase=1)) == 1


def test_it_is_a_better_rule_than_the_fixed_program(short: Scenario) -> None:
    assert run_episode(Discharge(), short, 1).delay_s < 0.6 * run_episode(RULES["fixed"](), short, 1).delay_s
