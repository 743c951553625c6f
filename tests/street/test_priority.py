"""Priority vehicles: who is one, that signals are green for them, and that their time counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripMetrics
from iotlam_street.priority import PRIORITY_WEIGHT, chosen, has_priority
from iotlam_street.saved import load_street, save_street
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street

EAST, NORTH = ("27115123#2", "32038056#0"), ("28198821#3", "32038051#0")
"""Roads in and out of cologne1, crossing each other."""


@pytest.fixture
def scenario() -> Scenario:
    """Five minutes of cologne1."""
    known = find_scenario("cologne1")
    return replace(known, end_s=known.begin_s + 300.0)


def with_ambulances(scenario: Scenario, folder: Path, *ways: tuple[str, str]) -> Scenario:
    """Nobody but ambulances, one on each way, who enter a second before a decision.

    The roads into cologne1 are shorter than what a vehicle drives in a decision: one that enters earlier may wait.
    """
    trips = [
        f'<trip id="a{number}" type="ambulance" depart="{scenario.begin_s + 9.0}" from="{start}" to="{end}"/>'
        for number, (start, end) in enumerate(ways)
    ]
    routes = folder / "ambulances.rou.xml"
    kind = '<vType id="ambulance" vClass="emergency" speedFactor="1.0"/>'
    routes.write_text(f"<routes>{kind}{''.join(trips)}</routes>")
    return replace(scenario, routes=(routes,), end_s=scenario.begin_s + 120.0)


def always(scenario: Scenario, phase: int, priority: bool) -> TripMetrics:
    with Street(scenario, 1, SignalRules(priority=priority)) as street:
        while not street.done:
            street.advance([phase])
        return street.finish()


def closed_to(scenario: Scenario, road: str) -> int:
    """A phase that does not serve a road."""
    with Street(scenario, 1) as street:
        plan = street.junctions[0].plan
    lanes = [
        index for index, lane in enumerate(plan.lanes) if road in {name.rpartition("_")[0] for name, _ in lane.upstream}
    ]
    return int(np.flatnonzero(~plan.serves_PK[:, lanes].any(axis=1))[0])


def test_names_and_seed_decide_who_has_priority() -> None:
    names = [f"vehicle{number}" for number in range(20_000)]
    one, again, other = ([chosen(name, seed, 0.05) for name in names] for seed in (1, 1, 2))
    assert one == again != other
    assert sum(one) / len(names) == pytest.approx(0.05, abs=0.005)
    assert not any(chosen(name, 1, 0.0) for name in names) and all(chosen(name, 1, 1.0) for name in names)


def test_nothing_is_watched_where_nobody_has_priority(scenario: Scenario, tmp_path: Path) -> None:
    assert not has_priority(scenario) and has_priority(replace(scenario, priority_share=0.01))
    assert has_priority(with_ambulances(scenario, tmp_path, EAST))
    with Street(replace(scenario, end_s=scenario.begin_s + 10.0), 1, SignalRules(priority=True)) as street:
        street.advance([0])
        assert street.priority is None and street.junctions[0].allowed_P.all()


@pytest.mark.parametrize("way", [EAST, NORTH])
def test_an_emergency_vehicle_finds_green_whatever_the_controller_wants(
    scenario: Scenario, tmp_path: Path, way: tuple[str, str]
) -> None:
    alone = with_ambulances(scenario, tmp_path, way)
    phase = closed_to(alone, way[0])
    without, favoured = (always(alone, phase, priority) for priority in (False, True))
    assert without.priority and without.priority.waiting_s > 60.0
    assert favoured.priority and favoured.priority.waiting_s == 0.0 and favoured.unfinished == 0


def test_two_that_cross_are_served_one_after_the_other(scenario: Scenario, tmp_path: Path) -> None:
    both = always(with_ambulances(scenario, tmp_path, EAST, NORTH), 0, True)
    assert both.priority and both.priority.count == 2 and both.unfinished == 0
    assert both.priority.waiting_s <= 30.0


def test_a_lane_red_for_too_long_goes_before(scenario: Scenario, tmp_path: Path) -> None:
    alone = with_ambulances(scenario, tmp_path, NORTH)
    with Street(alone, 1, SignalRules(priority=True)) as street:
        junction, limited = street.junctions[0], 0
        while not street.done:
            allowed_P = junction.allowed_P
            if not allowed_P.all():
                limited += 1
                junction.served_at_s_K[0] -= 200.0
                overdue_P = junction.plan.serves_PK[:, 0]
                assert (junction.allowed_P <= overdue_P).all() and junction.allowed_P.any()
                junction.served_at_s_K[0] += 200.0
            street.advance([0])
    assert limited


def test_trips_tell_priority_vehicles_from_others(scenario: Scenario) -> None:
    trips = always(replace(scenario, priority_share=0.2), 0, False)
    assert trips.priority and trips.others
    assert trips.priority.count + trips.others.count == trips.vehicles
    assert 0.1 < trips.priority.count / trips.vehicles < 0.3
    mean_s = (
        trips.priority.count * trips.priority.delay_s + trips.others.count * trips.others.delay_s
    ) / trips.vehicles
    assert mean_s == pytest.approx(trips.delay_s)
    assert always(scenario, 0, False).priority is None


def test_what_they_lose_counts_more(scenario: Scenario) -> None:
    lost_s = []
    for share in (0.0, 1.0):
        with Street(replace(scenario, priority_share=share), 1) as street:
            lost_s.append(sum(float(street.advance([0]).sum()) for _ in range(30)))
    assert lost_s[1] / lost_s[0] == pytest.approx(PRIORITY_WEIGHT, rel=0.15)


def test_a_saved_street_keeps_them(scenario: Scenario, tmp_path: Path) -> None:
    rules = SignalRules(priority=True)
    with Street(replace(scenario, priority_share=0.3), 1, rules) as street:
        street.advance([1])
        save_street(street, tmp_path / "street.json")
    with load_street(tmp_path / "street.json") as again:
        assert again.scenario.priority_share == 0.3 and again.rules == rules and again.priority
