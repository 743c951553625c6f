"""A street that is saved and loaded goes on as if nothing had been."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_street.junction import SignalRules
from iotlam_street.saved import load_street, save_street
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_traffic.rules import RULES


@pytest.fixture
def busy() -> Scenario:
    """Fifteen minutes of cologne1, whose queues reach out of the net while one phase is kept."""
    scenario = find_scenario("cologne1")
    return replace(scenario, end_s=scenario.begin_s + 900)


def fresh(work: object, *arguments: object) -> str:
    """Run in a fresh process, where a seed decides everything."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()  # type: ignore[arg-type, no-any-return]


def undisturbed(scenario: Scenario, saved: Path, trips: Path) -> str:
    with Street(scenario, 1, SignalRules(max_red_s=1e9), list_trips=True) as street:
        while street.time_s < scenario.begin_s + 600:
            street.advance([3])
        assert len(street.api.simulation.getPendingVehicles()) > 10
        save_street(street, saved)
        return to_the_end(street, trips)


def resumed(saved: Path, trips: Path) -> str:
    with load_street(saved, list_trips=True) as street:
        return to_the_end(street, trips)


def to_the_end(street: Street, trips: Path) -> str:
    while not street.done:
        street.advance(RULES["greedy"]().choose(street.junctions))
    street.finish(trips)
    return trips.read_text().partition("<tripinfos")[2]


def test_every_trip_is_the_same(busy: Scenario, tmp_path: Path) -> None:
    saved, trips = tmp_path / "state.json", tmp_path / "trips.xml"
    one = fresh(undisturbed, busy, saved, trips)
    other = fresh(resumed, saved, trips)
    assert len(one) > 100_000 and one == other


def test_a_native_program_is_saved_too(busy: Scenario, tmp_path: Path) -> None:
    with Street(busy, 1, native="actuated") as street:
        for _ in range(5):
            street.advance()
        save_street(street, tmp_path / "state.json")
    with load_street(tmp_path / "state.json", engine="traci") as street:
        assert street.time_s == busy.begin_s + 50 and street.native == "actuated"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"decisions": None}, "decisions"),
        ({"rules": {"colour": 1}}, "colour"),
    ],
)
def test_a_file_that_is_no_state_is_refused(
    busy: Scenario, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "state.json"
    with Street(busy, 1) as street:
        save_street(street, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BadInput, match=f"state.json: expected a saved street, got .*{said}"):
        load_street(path)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a saved street"):
        load_street(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text('{"version": 1')
    with pytest.raises(BadInput, match="expected a saved street"):
        load_street(tmp_path / "torn.json")
