"""Trip metrics from a written tripinfo file, and from a road that takes in less than it is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.metrics import TripMetrics, read_tripinfo, sum_trips
from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street

ROW = (
    '<tripinfo id="{}" depart="{}" departDelay="{}" arrival="{}" duration="{}" timeLoss="{}" waitingTime="{}" '
    'routeLength="100" vType="car"/>'
)


def write(folder: Path, *rows: tuple[object, ...]) -> Path:
    path = folder / "tripinfo.xml"
    path.write_text("<tripinfos>" + "".join(ROW.format(*row) for row in rows) + "</tripinfos>")
    return path


@pytest.fixture
def trips(tmp_path: Path) -> TripMetrics:
    """Two that arrived, one still on the road, and two that never got onto it, in 100 s from second 1000."""
    path = write(
        tmp_path,
        ("fast", 1000.0, 0.0, 1030.0, 30.0, 2.0, 0.0),
        ("late", 1025.0, 5.0, 1085.0, 60.0, 20.0, 10.0),
        ("stuck", 1040.0, 0.0, -1.0, 60.0, 50.0, 44.0),
    )
    return read_tripinfo(path, 1000.0, [1060.0, 1090.0], 1100.0)


def test_every_vehicle_counts(trips: TripMetrics) -> None:
    assert (trips.vehicles, trips.unfinished, trips.never_departed) == (5, 1, 2)
    assert trips.delay_s_N.tolist() == [2.0, 25.0, 50.0, 40.0, 10.0]
    assert trips.delay_s == pytest.approx(127.0 / 5)


def test_scheduled_departures_are_before_the_delay(trips: TripMetrics) -> None:
    assert trips.scheduled_s_N.tolist() == [0.0, 20.0, 40.0, 60.0, 90.0]


def test_waiting_is_of_the_departed_and_duration_of_the_finished(trips: TripMetrics) -> None:
    assert trips.waiting_s == pytest.approx(18.0)
    assert trips.trip_s == pytest.approx(45.0)


def test_delay_by_scheduled_departure(trips: TripMetrics) -> None:
    np.testing.assert_allclose(trips.delay_by_departure(25.0, 125.0), [13.5, 50.0, 40.0, 10.0, np.nan])
    np.testing.assert_allclose(trips.delay_by_departure(40.0, 100.0), [13.5, 45.0, 10.0])  # a last, shorter bin


def test_an_empty_road_has_no_delay(tmp_path: Path) -> None:
    trips = read_tripinfo(write(tmp_path), 0.0, [], 10.0)
    assert (trips.delay_s, trips.waiting_s, trips.trip_s, trips.vehicles) == (0.0, 0.0, 0.0, 0)
    assert np.isnan(trips.delay_by_departure(5.0, 10.0)).all()


def test_broken_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tripinfo.xml").write_text("<tripinfos>")
    with pytest.raises(BadInput, match="well-formed"):
        read_tripinfo(tmp_path / "tripinfo.xml", 0.0, [], 10.0)


def test_a_road_sent_more_than_it_takes(tmp_path: Path) -> None:
    scenario = find_scenario("cologne1")
    begin_s, routes = scenario.begin_s, tmp_path / "many.rou.xml"
    span = f'begin="{begin_s}" end="{begin_s + 100}" period="0.5"'
    routes.write_text(f'<routes><flow id="f" {span} from="27115123#2" to="32038056#0"/></routes>')
    with Street(replace(scenario, routes=(routes,), end_s=begin_s + 120), 1, list_trips=True) as street:
        while not street.done:
            street.advance([2])  # that road stays red
        trips = street.finish()
    assert trips.vehicles == 200  # each vehicle once: departed or not
    assert trips.never_departed > 150 and trips.trip_s == 0.0
    assert trips.unfinished == 200 - trips.never_departed > 5
    waiting = slice(-trips.never_departed, None)
    np.testing.assert_allclose(trips.delay_s_N[waiting], 120.0 - trips.scheduled_s_N[waiting])
    assert trips.scheduled_s_N.min() >= 0.0 and trips.scheduled_s_N.max() <= 100.0


@pytest.mark.parametrize(("phase", "never_departed"), [(0, 0), (3, 100)])
def test_sums_are_those_of_the_list(phase: int, never_departed: int) -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 600), 1, list_trips=True) as street:
        while not street.done:
            street.advance([phase])
        sums, listed = sum_trips(street.api), street.finish()
    assert listed.never_departed >= never_departed and listed.unfinished > 50
    assert (sums.vehicles, sums.unfinished, sums.never_departed) == (
        listed.vehicles, listed.unfinished, listed.never_departed
    )  # fmt: skip
    for name in ("delay_s", "waiting_s", "trip_s"):
        assert getattr(sums, name) == pytest.approx(getattr(listed, name), abs=0.002)  # SUMO cuts to milliseconds
    assert len(listed.delay_s_N) == listed.vehicles and len(sums.delay_s_N) == 0
    with pytest.raises(ValueError, match="list_trips"):
        sums.delay_by_departure(60.0, 600.0)


def test_a_list_that_was_not_made_is_refused(tmp_path: Path) -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 20), 1) as street:
        street.advance([0])
        with pytest.raises(ValueError, match="needs a street with list_trips"):
            street.finish(tmp_path / "trips.xml")
    assert not list(tmp_path.iterdir())
