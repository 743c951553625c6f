"""Signals a few metres apart choose phases that go together; all others as if they were alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam_street.junction import SHORT_M
from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street
from iotlam_traffic.controller import SensorController
from iotlam_traffic.lanes import SHIPPED, WEIGHTS, LanePolicy, load_lanes
from iotlam_traffic.policy import load_policy
from iotlam_traffic.together import agree


def junction(signal: str, phases: int = 2, **close: NDArray[np.bool_]) -> Any:
    return SimpleNamespace(plan=SimpleNamespace(signal=signal, green_states=("",) * phases), close=close)


def pair(fits_PQ: NDArray[np.bool_]) -> list[Any]:
    return [junction("a", b=fits_PQ), junction("b", a=fits_PQ.T)]


SAME = np.eye(2, dtype=bool)
"""Phase 0 of one goes with phase 0 of the other only, and phase 1 with phase 1."""


@pytest.mark.parametrize(
    "scores, chosen",
    [
        (([1.0, 0.0], [2.0, 0.0]), [0, 0]),  # each gets what it likes best
        (([1.0, 0.0], [0.0, 3.0]), [1, 1]),  # the one that is surer leads
        (([4.0, 0.0], [0.0, 3.0]), [0, 0]),
        (([4.0, -np.inf], [-np.inf, 3.0]), [0, 1]),  # nothing that is allowed goes together
        (([4.0, -1e9], [-1e9, 3.0]), [0, 1]),
        (([0.0, 1.0, -np.inf], [5.0, 0.0, -np.inf]), [0, 0]),  # padded
    ],
)
def test_two_that_are_close_choose_what_goes_together(scores: tuple[list[float], ...], chosen: list[int]) -> None:
    assert agree(pair(SAME), [np.array(one) for one in scores]) == chosen


def test_the_third_of_a_row_follows_the_first_two() -> None:
    row = [junction("a", b=SAME), junction("b", a=SAME, c=SAME), junction("c", b=SAME)]
    assert agree(row, [np.array(one) for one in ([0.0, 3.0], [1.0, 0.0], [9.0, 0.0])]) == [1, 1, 1]


def test_those_that_are_apart_keep_their_own() -> None:
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=4).astype(np.float32) for _ in range(20)]
    assert agree([junction(str(row), 4) for row in range(20)], scores) == [int(one.argmax()) for one in scores]


def test_a_short_road_is_fed_only_where_it_empties() -> None:
    """Two signals of Ingolstadt are 12 m apart, two 15 m; no others there, nor on a grid, are close."""
    policy = LanePolicy(load_lanes(SHIPPED / WEIGHTS))
    with Street(find_scenario("grid4x4"), 1) as grid:
        assert not any(one.close for one in grid.junctions)
    with Street(find_scenario("ingolstadt21"), 1) as street:
        close = {one.plan.signal: sorted(one.close) for one in street.junctions if one.close}
        assert close == {
            "243641585": ["gneJ257"],
            "gneJ257": ["243641585"],
            "30503246": ["30624898"],
            "30624898": ["30503246"],
        }
        by_signal = {one.plan.signal: one for one in street.junctions}
        fed = 0
        while street.time_s < street.scenario.begin_s + 600:
            phases = policy.choose(street.junctions)
            for row, one in enumerate(street.junctions):
                for other in one.close:
                    there = by_signal[other]
                    q = phases[street.junctions.index(there)]
                    onto = [
                        way.lane
                        for k, ways in enumerate(one.next_signals)
                        if one.plan.serves_PK[phases[row], k]
                        for way in ways
                        if way.distance_m < SHORT_M and way.junction.plan is there.plan
                    ]
                    fed += len(onto)
                    assert there.plan.serves_PK[q, onto].all() and not there.plan.yields_PK[q, onto].any()
            street.advance(phases)
    assert fed > 0


def test_who_is_watched_for_a_page_chooses_as_who_is_not() -> None:
    """On a net with close signals, each alone would choose otherwise now and then."""
    policy, lanes = load_policy(None), LanePolicy(load_lanes(SHIPPED / WEIGHTS))
    watched, plain, alone = (SensorController(policy) for _ in range(3))
    differ = 0
    with Street(find_scenario("ingolstadt21"), 1) as street:
        close = [one for one in street.junctions if one.close]
        for _ in range(8):
            phases = plain.choose(close)
            assert [look.phase for look in watched.looks(close)] == phases
            differ += sum(alone.look(one).phase != phase for one, phase in zip(close, phases, strict=True))
            street.advance(lanes.choose(street.junctions))
    assert differ > 0
