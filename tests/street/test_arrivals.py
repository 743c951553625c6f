"""Counting who comes to a junction, against what SUMO knows of every vehicle's way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street


def come(street: Street) -> int:
    """Vehicles that are on a road before the only signal, or have been: their way tells."""
    (junction,) = street.junctions
    roads, vehicle = {lane.edge for lane in junction.plan.lanes}, street.api.vehicle
    found = 0
    for name in vehicle.getIDList():
        route = vehicle.getRoute(name)
        found += any(road in roads for road in route[: vehicle.getRouteIndex(name) + 1])
    return found


def test_everybody_who_comes_counts_once() -> None:
    scenario = find_scenario("ingolstadt1")  # its last lanes are shorter than what a car drives in a second
    with Street(replace(scenario, end_s=scenario.begin_s + 300), 1) as street:
        (junction,) = street.junctions
        assert not junction.arrivals.since(0.0).any()
        for turn in range(30):
            street.advance([turn // 3 % len(junction.plan.green_states)])
        count_K, known = junction.arrivals.since(scenario.begin_s), come(street)
        left = len(street.api.vehicle.getIDList()) - known  # not there yet
        scheduled = street.finish()
    departed = scheduled.vehicles - scheduled.never_departed
    assert count_K.shape == (len(junction.plan.lanes),) and (count_K > 0).sum() > len(count_K) / 2
    assert departed > 80 and count_K.sum() == departed - left


def test_the_window_counts_who_came_in_it_and_nobody_before_the_first_question() -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 200), 1) as street:
        arrivals, (junction,) = street.junctions[0].arrivals, street.junctions
        for _ in range(10):
            street.advance([0])
        here = sum(len(street.api.lane.getLastStepVehicleIDs(lane.id)) for lane in junction.plan.lanes)
        assert here <= arrivals.since(0.0).sum() <= here + junction.inside()[:, 0].sum()
        first = arrivals.since(0.0).sum()
        for _ in range(10):
            street.advance([2])
        middle_s = scenario.begin_s + 150
        early, late = arrivals.since(0.0), arrivals.since(middle_s)
        assert first < early.sum() and 0 < late.sum() < early.sum() and (late <= early).all()
        assert not arrivals.since(scenario.end_s + 1).any()
        np.testing.assert_array_equal(arrivals.since(0.0), early)


def test_what_vehicles_have_stood_in_all_is_told_lane_by_lane() -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 200), 1) as street:
        (junction,) = street.junctions
        while not street.done:
            street.advance([0])
        for lane, waited in zip(junction.plan.lanes, junction.waited(), strict=True):
            assert set(waited) == set(street.api.lane.getLastStepVehicleIDs(lane.id))
        longest_s = max(wait_s for waited in junction.waited() for wait_s in waited.values())
    assert longest_s > 100.0  # SUMO's own memory ends there
