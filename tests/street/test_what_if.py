"""Futures in forks: exactly what would happen, and nothing of it happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, IotlamError
from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street


@pytest.fixture
def busy() -> Scenario:
    """Twenty minutes of cologne1."""
    scenario = find_scenario("cologne1")
    return replace(scenario, end_s=scenario.begin_s + 1200)


def turning(first: int, decisions: int) -> Callable[[Street], float]:
    """A future: phases in turn; tells the place and the speed of all vehicles at its end, as one number."""

    def future(street: Street) -> float:
        for turn in range(decisions):
            street.advance([(first + turn) % 4])
        return fingerprint(street)

    return future


def fingerprint(street: Street) -> float:
    vehicle = street.api.vehicle
    rows = [(*vehicle.getPosition(name), vehicle.getSpeed(name)) for name in vehicle.getIDList()]
    waiting = len(street.api.simulation.getPendingVehicles())
    return float(np.sin(np.array(rows)).sum()) + 1000.0 * len(rows) + 1e6 * waiting


def test_a_future_is_what_happens_when_it_is_lived(busy: Scenario) -> None:
    with Street(busy, 1, SignalRules(max_red_s=1e9)) as street:
        for _ in range(60):
            street.advance([3])  # queues that reach out of the net
        assert street.api.simulation.getPendingVehicles()
        told = street.what_if([turning(0, 30), turning(1, 30), turning(0, 30)])
        lived = turning(0, 30)(street)
    assert told[0] == told[2] == lived != told[1]


def test_looking_ahead_changes_no_trip(busy: Scenario, tmp_path: Path) -> None:
    written = []
    for looks in (False, True):
        with Street(replace(busy, end_s=busy.begin_s + 400), 1, list_trips=True) as street:
            while not street.done:
                if looks:
                    street.what_if([turning(1, 8), turning(2, 8)])
                street.advance([int(street.time_s // 20) % 4])
            street.finish(tmp_path / "trips.xml")
        written.append((tmp_path / "trips.xml").read_text().partition("<tripinfos")[2])
    assert len(written[0]) > 10_000 and written[0] == written[1]


def test_a_future_that_fails_is_told_and_the_street_goes_on(
    busy: Scenario, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    children, fork = [], os.fork

    def watched() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", watched)

    def fails(street: Street) -> float:
        raise ZeroDivisionError("no such future")

    def ends(street: Street) -> float:
        os._exit(3)

    with Street(busy, 1) as street:
        for future, said in ((fails, "no such future"), (ends, "ended without an answer")):
            with pytest.raises(IotlamError, match=said):
                street.what_if([turning(0, 1), future])
        street.advance([0])
    assert capfd.readouterr() == ("", "")
    assert len(children) == 4
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)  # nobody is left, not even as a zombie


def test_traci_cannot_fork(busy: Scenario) -> None:
    with Street(busy, 1, engine="traci") as street, pytest.raises(BadInput, match="expected libsumo .* got traci"):
        street.what_if([turning(0, 1)])
