"""People at crossings: the net's plan, push buttons, clearance, and that no controller starves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam_street.crossings import Crossing, all_red, clearance_s, without_clearance
from iotlam_street.generate import generate_junction
from iotlam_street.junction import Junction, SignalRules
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import LOST_EVERY_S, Street

DURATION_S = 600.0
WALK = Crossing(":c0", (3,), (":w0", ":w1"))


@pytest.fixture(scope="module")
def walkable(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A junction of five arms with crossings and people, one of whose phases is theirs alone."""
    return generate_junction(tmp_path_factory.mktemp("walkable"), 3, DURATION_S, people=True)


@pytest.fixture(scope="module")
def plan(walkable: Scenario) -> SignalPlan:
    return read_plans(walkable.net)[0]


def drive(street: Street, phase: int) -> Iterator[Junction]:
    """Always ask for one phase; the junction after each decision."""
    while not street.done:
        street.advance([phase])
        yield street.junctions[0]


def test_phases_that_only_clear_a_crossing_are_no_choice() -> None:
    states = ["GGrG", "GGrr", "rrGr", "rrrG"]
    assert without_clearance(states, [WALK]) == ["GGrG", "rrGr", "rrrG"]
    assert without_clearance(states, []) == states
    assert all_red("GGrG", [WALK]) == "GGrr"


def test_clearance_is_the_least_time_until_traffic_gets_green() -> None:
    program = [(10.0, "GGrG"), (5.0, "GGrr"), (3.0, "yyrr"), (20.0, "rrGG"), (4.0, "rrGr"), (2.0, "rryr")]
    assert clearance_s(tuple(program), [WALK]) == 6.0
    assert clearance_s(tuple(program), []) == 0.0


def test_crossings_are_read_from_the_net(plan: SignalPlan) -> None:
    assert len(plan.crossings) == len(plan.approaches) == 5
    assert plan.crosses_PC.any(axis=0).all() and plan.clearance_s == 5.0
    alone_P = ~plan.serves_PK.any(axis=1)
    assert alone_P.sum() == 1 and plan.crosses_PC[alone_P].all(), "a phase for people alone stays a choice"
    vehicles = [all_red(state, plan.crossings) for state in plan.green_states]
    assert len(set(vehicles)) == len(vehicles)


def test_a_net_without_crossings_has_no_buttons() -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 10), 1) as street:
        assert street.junctions[0].buttons is None and street.junctions[0].plan.crossings == ()


def test_everybody_crosses_under_a_controller_that_knows_no_one(walkable: Scenario) -> None:
    rules = SignalRules()
    bound_s = rules.max_pedestrian_wait_s + (5 + 1) * rules.decision_s  # five crossings may come due together
    with Street(walkable, 1) as street:
        waited_s = max(float(junction.buttons.waited_s_C.max()) for junction in drive(street, 0) if junction.buttons)
        late = [street.api.person.getWaitingTime(name) for name in street.api.person.getIDList()]
        trips = street.finish()
    assert rules.max_pedestrian_wait_s <= waited_s <= bound_s
    assert max(late, default=0.0) <= bound_s
    assert trips.people and trips.people.count > 20 and trips.people.waiting_s < rules.max_pedestrian_wait_s


def test_without_the_rule_they_would_starve(walkable: Scenario) -> None:
    with Street(walkable, 1, SignalRules(max_pedestrian_wait_s=1e9)) as street:
        waited_s = max(float(junction.buttons.waited_s_C.max()) for junction in drive(street, 0) if junction.buttons)
    assert waited_s > 300.0


def test_people_have_the_nets_time_to_clear_a_crossing(
    walkable: Scenario, plan: SignalPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[float, str]] = []
    show = Junction.show

    def note(junction: Junction, state: str) -> None:
        shown.append((junction.time_s, state))
        show(junction, state)

    monkeypatch.setattr(Junction, "show", note)
    rng = np.random.default_rng(0)
    with Street(walkable, 1) as street:
        while not street.done:
            street.advance([int(rng.integers(len(plan.green_states)))])
    links = [link for crossing in plan.crossings for link in crossing.links]
    ends = 0
    for index, ((_, walk), (red_s, state)) in enumerate(zip(shown, shown[1:], strict=False)):
        for link in links:
            if walk[link] in "Gg" and state[link] not in "Gg":
                ends += 1
                before = all_red(walk, plan.crossings)
                gained = (
                    time_s for time_s, after in shown[index + 1 :] if gains(before, all_red(after, plan.crossings))
                )
                assert next(gained, np.inf) - red_s >= plan.clearance_s
    assert ends > 20


def gains(before: str, after: str) -> bool:
    return any(new in "Gg" and old not in "Gg" for old, new in zip(before, after, strict=True))


def test_a_crossing_is_green_only_when_it_is_called(walkable: Scenario) -> None:
    nobody = replace(walkable, end_s=30.0)
    with Street(nobody, 1) as street:
        junction = street.junctions[0]
        buttons = junction.buttons
        assert buttons and all(buttons.walking(phase) is None for phase in range(len(junction.plan.green_states)))
        phase, column = (int(index[0]) for index in np.nonzero(junction.plan.crosses_PC))
        buttons.called_at_s_C[column] = 0.0
        state = buttons.walking(phase)
        (link,) = junction.plan.crossings[column].links
        assert state and state[link] in "Gg" and np.isnan(buttons.called_at_s_C[column])
        assert all_red(state, junction.plan.crossings) == junction.resting(phase)


def test_people_who_wait_are_part_of_what_is_lost(walkable: Scenario, tmp_path: Path) -> None:
    walk = '<person id="{}" depart="0" departPos="-10"><walk from="in0" to="out2" arrivalPos="20"/></person>'
    routes = tmp_path / "walks.rou.xml"
    routes.write_text(f"<routes>{''.join(walk.format(name) for name in 'abc')}</routes>")
    rules = SignalRules(max_pedestrian_wait_s=1e9)
    with Street(replace(walkable, routes=(routes,), end_s=60.0), 1, rules) as street:
        plan = street.junctions[0].plan
        column = [crossing.id for crossing in plan.crossings].index(":centre_c4")  # on their way
        closed = int(np.flatnonzero(~plan.crosses_PC[:, column])[0])
        lost_s = [float(street.advance([closed])[0]) for _ in range(6)]
        assert street.junctions[0].buttons and street.junctions[0].buttons.waiting_C.sum() == 3
    assert lost_s[-1] == 3 * street.rules.decision_s and LOST_EVERY_S == 5
