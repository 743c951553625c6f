"""Webster's formula on flows written down by hand, and his rule in charge."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street
from iotlam_traffic.rules import WARM_UP_S, WINDOW_S, Webster
from iotlam_traffic.webster import LONGEST_CYCLE_S, SHORTEST_CYCLE_S, cycle

EACH = np.eye(2, dtype=bool)


@pytest.mark.parametrize(
    ("arrival_hz", "decisions"),
    [
        # Y = .8, L = 8: C = 17 / .2 = 85; greens 77 * 3/8 = 29 and 48, and 4 s lost with each
        ((0.15, 0.25), [3, 5]),
        # Y = .6: C = 42.5, raised to 60; greens 17 and 35
        ((0.1, 0.2), [2, 4]),
        # Y >= 1: the longest
        ((0.5, 0.5), [6, 6]),
        # nobody: equal greens; almost nobody in one: still one decision
        ((0.0, 0.0), [3, 3]),
        ((0.0, 0.3), [1, 6]),
    ],
)
def test_greens_are_in_proportion_to_critical_flows(arrival_hz: tuple[float, float], decisions: list[int]) -> None:
    shown = cycle(np.array(arrival_hz), EACH, SignalRules())
    assert [(phase, len(list(same))) for phase, same in itertools.groupby(shown)] == list(enumerate(decisions))


def test_the_busiest_lane_decides_and_a_lane_of_two_phases_divides_its_flow() -> None:
    rules = SignalRules()
    lanes = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)
    assert cycle(np.array([0.15, 0.01, 0.25]), lanes, rules) == cycle(np.array([0.15, 0.25]), EACH, rules)
    shared = np.array([[1, 0, 1], [0, 1, 1]], dtype=bool)
    assert cycle(np.array([0.15, 0.25, 0.3]), shared, rules) == cycle(np.array([0.15, 0.25]), EACH, rules)


def test_a_phase_for_nobody_on_wheels_is_left_out() -> None:
    serves = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    assert set(cycle(np.array([0.2, 0.1]), serves, SignalRules())) == {0, 2}


def test_every_cycle_is_whole_and_within_its_bounds() -> None:
    rng, rules = np.random.default_rng(0), SignalRules()
    for _ in range(300):
        phases, lanes = rng.integers(2, 7), rng.integers(1, 9)
        serves = rng.random((phases, lanes)) < 0.4
        serves[0, 0] = True
        shown = cycle(rng.exponential(0.1, lanes), serves, rules)
        served = np.flatnonzero(serves.any(axis=1))
        assert [phase for phase, _ in itertools.groupby(shown)] == served.tolist()
        slack_s = len(served) * rules.decision_s  # rounding, and one decision for each
        assert SHORTEST_CYCLE_S - slack_s / 2 <= len(shown) * rules.decision_s <= LONGEST_CYCLE_S + slack_s


def test_in_charge_it_shows_the_phases_in_turn() -> None:
    scenario = find_scenario("cologne3")
    rule, shown = Webster(), []
    with Street(replace(scenario, end_s=scenario.begin_s + 900), 101) as street:
        while not street.done:
            street.advance(rule.choose(street.junctions))
            shown.append([junction.phase for junction in street.junctions])
        plans = [junction.plan for junction in street.junctions]
    for row, plan in enumerate(plans):
        turns = [phase for phase, _ in itertools.groupby(phases[row] for phases in shown)]
        size = len(plan.green_states)
        assert turns == [turn % size for turn in range(len(turns))] and len(turns) > 2 * size


def test_a_cycle_is_timed_by_the_last_ten_minutes_and_the_first_by_nothing() -> None:
    asked_s: list[float] = []

    def since(moment_s: float) -> NDArray[np.int64]:
        asked_s.append(moment_s)
        return np.array([30, 50])

    plan = SimpleNamespace(signal="a", serves_PK=EACH)
    junction: Any = SimpleNamespace(plan=plan, rules=SignalRules(), time_s=0.0, arrivals=SimpleNamespace(since=since))
    rule, shown = Webster(), []
    for junction.time_s in np.arange(1000.0, 3000.0, 10.0):
        shown.append(rule.phase(junction))
    assert shown[:12] == [0, 0, 0, 1, 1, 1] * 2 and WARM_UP_S == 120.0
    first = cycle(np.array([30, 50]) / 120.0, EACH, SignalRules())
    assert shown[12 : 12 + len(first)] == first != shown[:6]
    last = cycle(np.array([30, 50]) / WINDOW_S, EACH, SignalRules())
    assert shown[-2 * len(last) :] in (last[k:] + last + last[:k] for k in range(len(last)))
    assert asked_s[:3] == [1000.0] * 3 and all(moment_s >= 1000.0 for moment_s in asked_s)
    assert max(asked_s) >= 3000.0 - WINDOW_S - 10.0 * len(last) > 2000.0
