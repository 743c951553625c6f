"""What the rules count and choose, on lanes written down by hand and in SUMO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from iotlam_street.scenarios import Scenario
from iotlam_traffic.episode import run_episode
from iotlam_traffic.rules import RULES, Greedy, MaxPressure, best_phase

AtLanes = Callable[..., Any]
EACH = [[1, 0], [0, 1]]
GO, STAND, OWN, FEEDER = 10.0, 0.0, True, False


def cars(count: int, distance_m: float = 10.0, speed: float = GO, own: bool = OWN) -> list[Any]:
    return [(distance_m, speed, 0.0, own)] * count


def test_greedy_serves_the_fuller_phase(at_lanes: AtLanes) -> None:
    assert Greedy().phase(at_lanes([cars(1), cars(2)], EACH)) == 1
    both = [[1, 1, 0], [0, 0, 1]]
    assert Greedy().phase(at_lanes([cars(2), cars(2), cars(3)], both, phase=1)) == 0


@pytest.mark.parametrize("phase", [0, 1])
def test_a_tie_keeps_the_phase_in_force(at_lanes: AtLanes, phase: int) -> None:
    assert Greedy().phase(at_lanes([cars(2), cars(2)], EACH, phase)) == phase
    assert Greedy().phase(at_lanes([[], []], EACH, phase)) == phase
    assert MaxPressure().phase(at_lanes([[], []], EACH, phase)) == phase


def test_greedy_counts_only_the_lane_itself_within_50_m(at_lanes: AtLanes) -> None:
    beyond = cars(9, 50.1) + cars(9, 20.0, own=FEEDER)
    assert Greedy().phase(at_lanes([cars(1, 50.0), beyond], EACH, phase=1)) == 0


def test_max_pressure_counts_the_standing_within_200_m(at_lanes: AtLanes) -> None:
    moving_and_far = cars(9, 20.0, GO) + cars(9, 201.0, STAND) + cars(9, 20.0, STAND, FEEDER)
    assert MaxPressure().phase(at_lanes([cars(1, 199.0, STAND), moving_and_far], EACH, phase=1)) == 0


def test_max_pressure_subtracts_the_queue_at_the_exits(at_lanes: AtLanes) -> None:
    lanes = [cars(5, 20.0, STAND), cars(3, 20.0, STAND)]
    assert MaxPressure().phase(at_lanes(lanes, EACH)) == 0
    assert MaxPressure().phase(at_lanes(lanes, EACH, exits=[2.5, 0.0])) == 1


def test_only_allowed_phases_are_chosen(at_lanes: AtLanes) -> None:
    junction = at_lanes([cars(9), cars(1), cars(2)], np.eye(3).tolist(), phase=0, allowed=[False, True, True])
    assert Greedy().phase(junction) == 2
    assert best_phase(np.array([5.0, 0.0, 0.0]), junction) == 1  # neither has any: the first allowed


def test_native_rules_leave_the_lights_to_sumo(at_lanes: AtLanes) -> None:
    assert {name: make().native for name, make in RULES.items()} == {
        "fixed": "fixed",
        "actuated": "actuated",
        "delay-based": "delay_based",
        "greedy": None,
        "max-pressure": None,
        "webster": None,
    }
    assert all(make().name == name and make() is not make() for name, make in RULES.items())
    assert RULES["fixed"]().choose([at_lanes([[], []], EACH)]) is None


def test_rules_that_look_beat_the_fixed_program(short: Scenario) -> None:
    delay_s = {name: run_episode(RULES[name](), short, 1).delay_s for name in ("greedy", "max-pressure", "fixed")}
    assert delay_s["greedy"] < delay_s["max-pressure"] < delay_s["fixed"]


def test_every_decision_is_reported(short: Scenario) -> None:
    seconds: list[float] = []
    run_episode(RULES["greedy"](), short, 1, on_decision=lambda street: seconds.append(street.time_s))
    assert seconds == [short.begin_s + 10 * (i + 1) for i in range(30)]
