"""The question a junction asks: what signal controllers know of themselves, and nothing of the traffic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from iotlam_street.junction import SignalRules
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_traffic.query import ANCHOR_M, PHASE_FEATURES, junction_query


def feature(name: str) -> int:
    return PHASE_FEATURES.index(name)


def test_shapes_and_plan(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        query, plan = junction_query(junction), junction.plan
    assert query.anchors_KHX.shape == (8, len(ANCHOR_M), 2)
    assert query.features_PF.shape == (4, len(PHASE_FEATURES))
    assert {a.dtype for a in (query.anchors_KHX, query.serves_PK, query.features_PF)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(query.serves_PK > 0, plan.serves_PK)
    np.testing.assert_array_equal(query.serves_PK == 0.5, plan.yields_PK)
    np.testing.assert_allclose(query.features_PF[:, feature("share of lanes served")], [0.5, 0.25, 0.5, 0.25])
    steps_m = np.hypot(*np.moveaxis(np.diff(query.anchors_KHX, axis=1), 2, 0))
    assert (steps_m <= np.diff(ANCHOR_M) + 1e-3).all() and (steps_m > 0.8 * np.diff(ANCHOR_M)).all()


def test_a_phase_that_only_yields_on_a_lane_serves_it_half(short: Scenario) -> None:
    (plan,) = read_plans(short.net)
    yields_PK = np.zeros((4, 8), dtype=bool)
    yields_PK[0, 3] = True
    with Street(short, 1, plans=[replace(plan, yields_PK=yields_PK)]) as street:
        query = junction_query(street.junctions[0])
    assert query.serves_PK[0].tolist() == [0, 0, 1, 0.5, 1, 1, 0, 0]
    assert query.features_PF[:, feature("share of those yielding")].tolist() == [0.25, 0, 0, 0]


def test_times_are_the_signals_own(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        for phase in (0, 0, 0, 2):
            street.advance([phase])
        features_PF = junction_query(junction).features_PF
    assert features_PF[:, feature("in force")].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(features_PF[:, feature("green s / 60")] * 60, [0, 0, 7, 0], atol=1e-5)
    np.testing.assert_allclose(features_PF[:, feature("longest red s / 60")] * 60, [10, 10, 0, 0], atol=1e-5)


def test_long_times_are_capped(short: Scenario) -> None:
    with Street(short, 1, SignalRules(max_red_s=1e9)) as street:
        (junction,) = street.junctions
        for _ in range(25):
            street.advance([0])
        features_PF = junction_query(junction).features_PF
    assert features_PF[0, feature("green s / 60")] == pytest.approx(2.0)
    assert features_PF[2, feature("longest red s / 60")] == pytest.approx(3.0)


def test_neighbours_tell_their_lights() -> None:
    scenario, told = find_scenario("ingolstadt7"), ("nearness of the next signals", "what they show")
    with Street(replace(scenario, end_s=scenario.begin_s + 60), 1) as street:
        street.advance([0] * len(street.junctions))
        near = []
        for junction in street.junctions:
            told_P2 = junction_query(junction).features_PF[:, list(map(feature, told))]
            onward_K2 = junction.onward()
            near.append(onward_K2[:, 0].max())
            for told_2, serves_K in zip(told_P2, junction.plan.serves_PK, strict=True):
                np.testing.assert_allclose(told_2, onward_K2[serves_K].mean(axis=0), atol=1e-6)
    assert max(near) > 0.1


def test_it_asks_only_for_what_is_allowed(short: Scenario) -> None:
    with Street(short, 1, SignalRules(decision_s=5)) as street:
        (junction,) = street.junctions
        street.advance([2])
        assert junction_query(junction).allowed_P.tolist() == [False, False, True, False]


def test_traffic_changes_nothing(short: Scenario) -> None:
    asked = []
    for seed, routes in ((1, short.routes), (2, ())):
        with Street(Scenario("x", short.net, routes, short.begin_s, short.end_s), seed) as street:
            (junction,) = street.junctions
            for phase in (0, 1, 1, 3):
                street.advance([phase])
            asked.append(junction_query(junction))
    for name in ("anchors_KHX", "serves_PK", "features_PF", "allowed_P"):
        np.testing.assert_array_equal(getattr(asked[0], name), getattr(asked[1], name))
