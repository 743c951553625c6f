"""One junction in real SUMO: the action rules, reproducibility, what is left behind, and known delays."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, IotlamError
from iotlam_street.junction import LaneTraffic, SignalRules
from iotlam_street.metrics import TripMetrics, read_tripinfo
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street, yellow_between
from iotlam_street.sumo import Sumo
from iotlam_traffic.episode import run_episode
from iotlam_traffic.lanes import lane_view
from iotlam_traffic.query import junction_query
from iotlam_traffic.rules import RULES


@pytest.fixture
def short() -> Scenario:
    """Five minutes of cologne1."""
    scenario = find_scenario("cologne1")
    return replace(scenario, end_s=scenario.begin_s + 300)


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The link states in force in each simulated second, as SUMO tells them."""
    shown: list[str] = []
    run_to = Sumo.run_to

    def watch(self: Sumo, time_s: float) -> None:
        while self.time_s < time_s:
            run_to(self, self.time_s + 1.0)
            shown.append(self.api.trafficlight.getRedYellowGreenState(self.api.trafficlight.getIDList()[0]))

    monkeypatch.setattr(Sumo, "run_to", watch)
    return shown


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which temporary files land."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def runs(states: list[str]) -> list[tuple[str, int]]:
    return [(state, len(list(same))) for state, same in itertools.groupby(states)]


def drive(street: Street, phase: int) -> TripMetrics:
    while not street.done:
        street.advance([phase])
    return street.finish()


def fresh(rule: str, scenario: Scenario, *seeds: int) -> list[TripMetrics]:
    """Episodes in fresh processes, where a seed decides everything (see `Sumo`)."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(partial(run_episode, RULES[rule](), scenario, list_trips=True), seeds))


# --- action rules


def test_links_that_lose_green_are_yellow_and_the_rest_waits() -> None:
    assert yellow_between("GGggrr", "GrgGGr") == "Gyggrr"
    assert yellow_between("Gr", "rG") == "yr"
    assert yellow_between("Gg", "Gg") == "Gg"


def test_a_change_shows_yellow_for_three_seconds_then_the_new_green(short: Scenario, states: list[str]) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        greens = junction.plan.green_states
        for phase in (0, 2, 2, 1):
            street.advance([phase])
            assert junction.phase == phase
    assert runs(states) == [
        (greens[0], 10),
        ("rrrrryyyyyrrrrryyyyy", 3),
        (greens[2], 17),
        ("yyyyyrrrrryyyyyrrrrr", 3),
        (greens[1], 7),
    ]


def test_links_green_in_both_phases_stay_green(short: Scenario, states: list[str]) -> None:
    with Street(short, 1, SignalRules(yellow_s=4)) as street:
        street.advance([0])
        street.advance([1])
    assert runs(states)[1:] == [("rrrrryyyggrrrrryyygg", 4), ("rrrrrrrrGGrrrrrrrrGG", 6)]


def test_least_green_is_kept_when_decisions_come_often(short: Scenario, states: list[str]) -> None:
    with Street(short, 1, SignalRules(decision_s=5)) as street:
        (junction,) = street.junctions
        seen = []
        while not street.done:
            seen.append(junction.allowed_P.sum())
            street.advance([(junction.phase + 1) % 4])
        greens = junction.plan.green_states
    assert set(seen) == {1, 4}
    whole = runs(states)[:-1]
    assert len(whole) > 30
    assert {seconds for state, seconds in whole if state in greens} == {7}
    assert {seconds for state, seconds in whole if state not in greens} == {3}


def test_a_lane_that_waits_too_long_limits_the_choice(short: Scenario) -> None:
    with Street(short, 1, SignalRules(max_red_s=40.0)) as street:
        (junction,) = street.junctions
        plan, red_s_K = junction.plan, np.zeros(8)
        while not street.done:
            waits = junction.time_s - junction.served_at_s_K
            if waits.max() >= 40.0:
                np.testing.assert_array_equal(junction.allowed_P, plan.serves_PK[:, waits.argmax()])
            street.advance([0])  # only ever this one; the rule must break in
            red_s_K = np.where(plan.serves_PK[junction.phase], 0.0, red_s_K + 10.0)
            assert red_s_K.max() <= 60.0  # 40 s, then each of the two groups in its turn
    assert junction.served_at_s_K.min() > short.begin_s


def test_a_lane_that_no_phase_serves_does_not_hide_the_others(short: Scenario) -> None:
    with Street(short, 1, SignalRules(max_red_s=40.0)) as street:
        (junction,) = street.junctions
        serves_PK = junction.plan.serves_PK.copy()
        serves_PK[:, 0] = False
        junction.plan = replace(junction.plan, serves_PK=serves_PK)
        for _ in range(5):
            street.advance([0])
        assert junction.phase != 0


def test_a_forbidden_phase_is_replaced(short: Scenario) -> None:
    with Street(short, 1, SignalRules(decision_s=5, max_red_s=30.0)) as street:
        (junction,) = street.junctions
        street.advance([1])
        street.advance([3])  # two seconds of green are too few
        assert junction.phase == 1
        while junction.phase == 1:
            allowed_P = junction.allowed_P
            street.advance([1])
        assert not allowed_P[1] and junction.phase == int(allowed_P.argmax())


def test_a_fraction_of_a_second_at_the_end_is_simulated(short: Scenario) -> None:
    with Street(replace(short, end_s=short.begin_s + 12.5), 1) as street:
        (junction,) = street.junctions
        assert drive(street, 0).vehicles > 0
        assert junction.time_s == short.begin_s + 13


# --- what it sees


def test_lane_traffic_stands_where_the_geometry_says(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        for _ in range(12):
            street.advance([0])
        checked = 0
        for row, (lane, traffic) in enumerate(zip(junction.plan.lanes, junction.traffic(), strict=True)):
            assert (np.diff(traffic.distance_N[traffic.own_N]) > 0).all()
            names = street.api.lane.getLastStepVehicleIDs(lane.id)[::-1]
            front_N2 = np.array([street.api.vehicle.getPosition(name) for name in names]).reshape(-1, 2)
            seen_NX = junction.plan.points_back(traffic.distance_N[traffic.own_N])[row]
            # SUMO stretches a lane over its drawn length, so a metre of the one is not quite one of the other
            assert (np.hypot(*(front_N2 - junction.plan.origin_2 - seen_NX).T) < 2.0).all()
            checked += len(names)
    assert checked > 10


def test_what_counts_of_a_lane() -> None:
    traffic = LaneTraffic(
        distance_N=np.array([5, 50, 51, 20], np.float32),
        speed_N=np.array([0.05, 3, 0, 0], np.float32),
        waiting_N=np.zeros(4, np.float32),
        own_N=np.array([True, True, True, False]),
    )
    assert (traffic.within(50.0), traffic.halting(50.0), traffic.halting(60.0)) == (2, 1, 2)


def test_snapshots_are_a_second_apart_and_cars_face_where_they_go(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        assert [shot.t_ns for shot in junction.snapshots] == [0]
        for _ in range(6):
            street.advance([0])
        before, now = junction.snapshots
    assert (before.t_ns, now.t_ns) == (59 * 10**9, 60 * 10**9)
    boxes = now.boxes
    assert len(boxes) > 5 and (np.hypot(*boxes.centre_N2.T) < 130.0).all()
    direction_N2 = np.stack([np.cos(boxes.heading_N), np.sin(boxes.heading_N)], axis=1)
    speed_N = np.hypot(*boxes.velocity_N2.T)
    np.testing.assert_allclose(boxes.velocity_N2, direction_N2 * speed_N[:, None], atol=1e-4)


def test_time_lost_adds_up_to_the_delay(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        lost_s = 0.0
        while not street.done:
            lost_s += street.advance([int(street.time_s // 10) % 4])[0]
        trips = street.finish()
    assert lost_s == pytest.approx(trips.delay_s * trips.vehicles, rel=0.03)


# --- one seed, one episode


def test_a_seed_decides_all_trips(short: Scenario) -> None:
    one, same, other = fresh("greedy", short, 1, 1, 2)
    np.testing.assert_array_equal(one.delay_s_N, same.delay_s_N)
    assert one.vehicles == other.vehicles
    assert not np.array_equal(one.delay_s_N, other.delay_s_N)


def test_the_fixed_program_is_bare_sumo(short: Scenario, tmp_path: Path) -> None:
    (ours,) = fresh("fixed", short, 3)
    spec = importlib.util.find_spec("sumo")
    assert spec is not None and spec.submodule_search_locations is not None
    program = str(Path(spec.submodule_search_locations[0]) / "bin" / "sumo")
    trips = tmp_path / "trips.xml"
    span = ["-b", str(short.begin_s), "-e", str(short.end_s), "--seed", "3", "--time-to-teleport", "-1"]
    output = ["--tripinfo-output", str(trips), "--tripinfo-output.write-unfinished", "--no-step-log"]
    output += ["--precision", "3"]
    files = ["-n", str(short.net), "-r", str(short.routes[0])]
    subprocess.run([program, *files, *span, *output], check=True, capture_output=True)
    bare = read_tripinfo(trips, short.begin_s, [], short.end_s)
    assert bare.vehicles > 150
    np.testing.assert_array_equal(ours.delay_s_N[: bare.vehicles], bare.delay_s_N)
    assert ours.vehicles == bare.vehicles + ours.never_departed  # SUMO's list leaves these out


def test_the_actuated_program_varies_its_greens(short: Scenario, states: list[str], temporary: Path) -> None:
    run_episode(RULES["actuated"](), short, 1)
    first, *others = find_plan_greens(short)
    lengths = [seconds for state, seconds in runs(states) if state == first]
    assert len(set(lengths)) > 1 and max(lengths) <= 50 and min(lengths[:-1]) >= 5
    assert all(any(state == other for state in states) for other in others[1:2])
    assert not list(temporary.iterdir())


def find_plan_greens(scenario: Scenario) -> tuple[str, ...]:
    with Street(replace(scenario, end_s=scenario.begin_s + 1), 1) as street:
        (junction,) = street.junctions
        return junction.plan.green_states


# --- one simulation per process, and nothing left behind


def test_a_second_simulation_is_refused_until_the_first_is_closed(short: Scenario, temporary: Path) -> None:
    with Street(short, 1) as street:
        with pytest.raises(IotlamError, match="close it first"):
            Street(short, 2)
        street.advance([0])  # the first goes on
    with Street(short, 2):
        pass
    assert not list(temporary.iterdir())


def test_leaving_a_finished_episode_does_not_close_the_next(short: Scenario) -> None:
    with Street(short, 1) as first:
        first.advance([0])
        first.finish()
        with Street(short, 2) as second:
            first.__exit__(None, None, None)
            second.advance([0])
            assert second.time_s == short.begin_s + 10


def test_additional_files_reach_sumo(short: Scenario, tmp_path: Path) -> None:
    (tmp_path / "types.add.xml").write_text('<additional><vType id="lorry" length="12"/></additional>')
    edge = short.net.read_text().partition('<edge id="-')[2].partition('"')[0]
    row = f'<trip id="a" type="lorry" depart="{short.begin_s}" from="-{edge}" to="-{edge}"/>'
    (tmp_path / "a.rou.xml").write_text(f"<routes>{row}</routes>")
    scenario = replace(short, routes=(tmp_path / "a.rou.xml",), end_s=short.begin_s + 20)
    with pytest.raises(BadInput, match="lorry"):
        run_episode(RULES["greedy"](), scenario, 1)
    assert run_episode(RULES["greedy"](), replace(scenario, additional=(tmp_path / "types.add.xml",)), 1).vehicles == 1


def test_a_junction_that_is_dropped_without_closing_makes_room(short: Scenario, temporary: Path) -> None:
    street = Street(short, 1)
    street.advance([0])
    del street
    gc.collect()
    with Street(short, 2) as other:
        other.advance([0])
    assert not list(temporary.iterdir())


def test_an_episode_without_vehicles_has_no_figures(short: Scenario, temporary: Path) -> None:
    with pytest.raises(BadInput, match="expected vehicles between 100 and 130 s, got none; choose --begin and --end"):
        run_episode(RULES["greedy"](), replace(short, begin_s=100.0, end_s=130.0), 1)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("fails", [True, False])
def test_no_temporary_folder_is_left(short: Scenario, temporary: Path, fails: bool) -> None:
    try:
        with Street(short, 1) as street:
            assert [path.name.startswith("iotlam-sumo-") for path in temporary.iterdir()] == [True]
            street.advance([0])
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not list(temporary.iterdir())


def test_routes_of_another_net(short: Scenario, temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = find_scenario("ingolstadt1")
    wrong = replace(other, net=short.net)
    with pytest.raises(BadInput) as caught:
        Street(wrong, 1)
    said = str(caught.value)
    assert said.startswith("cologne1.net.xml with ingolstadt1.rou.xml: ")
    assert "is not known; check" in said and "\n" not in said
    assert capfd.readouterr() == ("", "")
    assert not list(temporary.iterdir())
    with Street(short, 1):  # the process can go on
        pass


def test_what_sumo_only_prints_is_the_reason(
    short: Scenario, tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "torn.net.xml"
    net.write_text(short.net.read_text().replace('<connection from="-28198821#4"', '<connection from="nowhere"'))
    with pytest.raises(BadInput, match="torn.net.xml with .*: .* got Unknown from-edge 'nowhere' in connection; mend"):
        Sumo(replace(short, net=net), 1)
    assert capfd.readouterr() == ("", "")
    assert not list(temporary.iterdir())


def test_demand_that_turns_bad_on_the_way(
    short: Scenario, tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    routes = tmp_path / "late.rou.xml"
    depart = short.begin_s + 250
    routes.write_text(f'<routes><trip id="ghost" depart="{depart}" from="nowhere" to="nowhere"/></routes>')
    with pytest.raises(BadInput, match="late.rou.xml.*nowhere.*is not known"):
        with Street(replace(short, routes=(routes,)), 1) as street:
            (junction,) = street.junctions
            drive(street, 0)
    assert capfd.readouterr() == ("", "")
    assert not list(temporary.iterdir())


def test_an_episode_says_nothing_on_stderr(tmp_path: Path) -> None:
    """In a process of its own: SUMO says some things only once."""
    code = (
        "from dataclasses import replace; from iotlam_street.scenarios import find_scenario; "
        "from iotlam_traffic.episode import run_episode; from iotlam_traffic.rules import RULES; "
        "s = find_scenario('cologne1'); run_episode(RULES['greedy'](), replace(s, end_s=s.begin_s + 60), 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert not list(tmp_path.iterdir())


def test_the_plan_of_another_net_is_refused(short: Scenario, temporary: Path) -> None:
    with Street(replace(short, end_s=short.begin_s + 1), 1) as street:
        (junction,) = street.junctions
        plan = junction.plan
    with pytest.raises(BadInput, match="plan of ingolstadt1"):
        Street(find_scenario("ingolstadt1"), 1, plans=[plan])
    assert not list(temporary.iterdir())
    with Street(short, 1):
        pass


# --- a full hour


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule", "delay_s", "within_s"),
    [
        ("cologne1", "fixed", 42.97, 0.05),
        ("cologne1", "greedy", 18.1, 0.3),
        ("cologne1", "max-pressure", 25.05, 0.3),
        ("ingolstadt1", "fixed", 28.16, 0.05),
    ],
)
def test_known_delays_of_a_full_hour(name: str, rule: str, delay_s: float, within_s: float) -> None:
    (trips,) = fresh(rule, find_scenario(name), 1)
    assert trips.delay_s == pytest.approx(delay_s, abs=within_s)


def test_phases_that_lanes_cannot_tell_apart_are_offered_once() -> None:
    scenario = find_scenario("cologne8")
    with Street(scenario, 1, SignalRules(min_green_s=15)) as street:
        junction = street.junctions[3]
        assert junction.allowed_P.all() and junction.offered_P.tolist() == [True, True, True, False]
        assert junction_query(junction).allowed_P.tolist() == junction.offered_P.tolist()
        assert lane_view(junction).allowed_P.tolist() == junction.offered_P.tolist()
        street.advance([3 if one is junction else 0 for one in street.junctions])
        assert junction.offered_P.tolist() == [False, False, False, True]  # it must stay, and is all there is
