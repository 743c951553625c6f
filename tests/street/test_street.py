"""Several junctions at once, SUMO behind TraCI, and what happens when it dies."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, IotlamError
from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import RESCO, Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_street.sumo import Engine
from iotlam_traffic.rules import RULES


@pytest.fixture
def three() -> Scenario:
    """Five minutes of cologne3, which has three signals."""
    scenario = find_scenario("cologne3")
    return replace(scenario, end_s=scenario.begin_s + 300)


def greedily(street: Street) -> None:
    while not street.done:
        street.advance(RULES["greedy"]().choose(street.junctions))


def trips_xml(scenario: Scenario, engine: Engine, path: Path) -> str:
    """SUMO's list of trips, without its header, which names the program and the time of day."""
    with Street(scenario, 1, engine=engine, list_trips=True) as street:
        greedily(street)
        street.finish(path)
    return path.read_text().partition("<tripinfos")[2]


def test_each_junction_has_its_own_lights(three: Scenario) -> None:
    with Street(three, 1) as street:
        assert [len(junction.plan.green_states) for junction in street.junctions] == [3, 4, 4]
        street.advance([1, 0, 2])
        assert [junction.phase for junction in street.junctions] == [1, 0, 2]
        assert [junction.green_since_s - three.begin_s for junction in street.junctions] == [3.0, 0.0, 3.0]
        for junction in street.junctions:
            shown = street.api.trafficlight.getRedYellowGreenState(junction.plan.signal)
            assert shown == junction.plan.green_states[junction.phase]


def test_the_time_lost_before_all_junctions_is_about_the_delay_of_all_trips(three: Scenario) -> None:
    with Street(three, 1) as street:
        lost_s_J = np.zeros(3)
        while not street.done:
            lost_s_J += street.advance(RULES["greedy"]().choose(street.junctions))
        trips = street.finish()
    delay_s = trips.delay_s * trips.vehicles
    assert (lost_s_J > 0.02 * delay_s).all()
    assert 0.7 * delay_s < lost_s_J.sum() < 1.1 * delay_s  # inside junctions and on the way out nothing is counted


def test_a_street_is_locked_while_somebody_stands_inside_a_junction_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotlam_street.street.LOCKED_S", 30.0)
    scenario = find_scenario("cologne1")
    stuck_s, locked = [], []
    with Street(replace(scenario, end_s=scenario.begin_s + 100), 1) as street:
        (junction,) = street.junctions
        while not street.done:
            street.advance([0])  # somebody who turns left finds no gap
            stuck_s.append(junction.stuck_s())
            locked.append(street.locked)
    assert stuck_s == [0.0, 0.0, 0.0, 0.0, 3.0, 13.0, 23.0, 33.0, 43.0, 0.0]
    assert locked == [second > 30.0 for second in stuck_s]


def test_who_stands_inside_a_junction_is_told(three: Scenario) -> None:
    with Street(three, 1) as street:
        seen = 0
        while not street.done:
            street.advance([0, 0, 0])
            vehicle = street.api.vehicle
            names = [name for name in vehicle.getIDList() if vehicle.getRoadID(name).startswith(":")]
            for junction in street.junctions:
                lanes = {inner: k for k, lane in enumerate(junction.plan.lanes) for inner in lane.inside}
                rows = [lanes[vehicle.getLaneID(name)] for name in names if vehicle.getLaneID(name) in lanes]
                inside_K2 = junction.inside()
                assert inside_K2[:, 0].tolist() == np.bincount(rows, minlength=len(inside_K2)).tolist()
                assert (inside_K2[:, 1] <= inside_K2[:, 0]).all()
                seen += len(rows)
        assert seen > 20


def test_all_red_follows_yellow(three: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    with Street(three, 1, SignalRules(all_red_s=2)) as street:
        shown: list[str] = []
        junction = street.junctions[0]
        monkeypatch.setattr(junction, "show", lambda state: shown.append(state))
        street.advance([1, 0, 0])
    old, new = junction.plan.green_states[:2]
    lost = [a in "Gg" and b == "r" for a, b in zip(old, new, strict=True)]
    assert len(shown) == 3 and shown[2] == new
    assert [state == "y" for state in shown[0]] == lost
    assert not set(shown[1]) & set("y") and all(
        state == "r" for state, loses in zip(shown[1], lost, strict=True) if loses
    )


def test_a_wrong_number_of_phases_is_refused(three: Scenario) -> None:
    with Street(three, 1) as street, pytest.raises(ValueError, match="zip"):
        street.advance([0])


@pytest.mark.parametrize("name", RESCO)
def test_every_resco_net_runs(name: str) -> None:
    scenario = find_scenario(name)
    with Street(replace(scenario, end_s=scenario.begin_s + 60), 1) as street:
        greedily(street)
        assert street.finish().vehicles > 0


@pytest.mark.parametrize("native", ["actuated", "delay_based"])
def test_native_programs_run_at_every_signal(three: Scenario, native: str) -> None:
    with Street(three, 1, native=native) as street:  # type: ignore[arg-type]
        for junction in street.junctions:
            assert street.api.trafficlight.getProgram(junction.plan.signal) == f"iotlam-{native}"
        while not street.done:
            street.advance()
        assert street.finish().delay_s < 100.0


# --- TraCI


def test_traci_and_libsumo_write_the_same_trips(three: Scenario, tmp_path: Path) -> None:
    ours, theirs = (trips_xml(three, engine, tmp_path / f"{engine}.xml") for engine in ("libsumo", "traci"))
    assert len(ours) > 10_000 and ours == theirs


def test_two_simulations_at_once_through_traci(three: Scenario, capfd: pytest.CaptureFixture[str]) -> None:
    with Street(three, 1, engine="traci") as one, Street(three, 2, engine="traci") as other, Street(three, 3) as third:
        for street in (one, other, third):
            street.advance([0, 0, 0])
        assert one.time_s == other.time_s == third.time_s == three.begin_s + 10
    assert capfd.readouterr() == ("", "")


def test_sumo_that_dies_is_told_and_leaves_nothing(
    three: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    end = f"SUMO: expected it to run to {three.end_s:g} s, got its end at {three.begin_s + 10:g} s"
    with pytest.raises(IotlamError, match=end), Street(three, 1, engine="traci") as street:
        street.advance([0, 0, 0])
        process = street.api._process
        os.kill(process.pid, signal.SIGKILL)
        greedily(street)
    assert process.poll() is not None and not list(tmp_path.iterdir())
    with Street(three, 1) as again:  # nothing is in the way of the next one
        again.advance([0, 0, 0])


def test_a_window_needs_traci_and_a_screen(three: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="expected engine 'traci'"):
        Street(three, 1, gui=True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match="expected a screen .* got none"):
        Street(three, 1, engine="traci", gui=True)
