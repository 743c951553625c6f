"""The suite of faults: every case is measured, and figures are those of the rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iotlam.contracts import Json
from iotlam_street.faults import SensorFaults
from iotlam_street.scenarios import Scenario
from iotlam_street.weather import WEATHERS
from iotlam_traffic.controller import SensorController
from iotlam_traffic.evaluate import OURS, Trial, make_controller
from iotlam_traffic.race import digest
from iotlam_traffic.suites.faults import CASES, ONE_DEAD, RIVAL, TWO_DEAD, WHOLE, figures


def rows(**slower: float) -> list[Json]:
    """Ten seconds of delay in every case but those named, by factors; ten times as much for the rival."""
    factor = {name.replace("_", " "): value for name, value in slower.items()}
    return [
        {"fault": case, "scenario": name, "seed": seed, "delay_s": (10.0 + seed) * scale * factor.get(case, 1.0)}
        for name, scale in (("a", 1.0), ("b", 2.0))
        for seed in (1, 2, 3)
        for case in (*CASES, RIVAL)
    ]


def test_figures_are_losses_of_the_worst_case() -> None:
    found = figures(rows(lidar_dead=1.02, video_dead=1.1, video_alone=1.5, actuated=2.0, sigma_30_m=0.9, rain=1.3))
    assert found["one_modality_dead"].value == pytest.approx(0.1) and not found["one_modality_dead"].met
    assert found["sigma_30_m"].value == pytest.approx(-0.1) and found["sigma_30_m"].met
    assert found["half_frames_lost"].value == pytest.approx(0.0)
    assert found["two_dead_over_actuated"].value == pytest.approx(0.75)
    assert found["rain_loss"].value == pytest.approx(0.3) and found["rain_loss"].met is None


def test_the_worse_map_counts() -> None:
    uneven = [
        {**row, "delay_s": row["delay_s"] * 1.2} if (row["scenario"], row["fault"]) == ("b", "detection 72 %") else row
        for row in rows()
    ]
    assert figures(uneven)["detection_72_pct"].value == pytest.approx(0.2)


def test_cases_are_what_they_are_called() -> None:
    assert CASES[WHOLE].faults == SensorFaults()
    assert sorted(case.faults.dead for case in ONE_DEAD.values()) == [("lidar",), ("radar",), ("video",)]
    assert all(len(case.faults.dead) == 2 for case in TWO_DEAD.values())


def test_faults_and_weather_reach_the_sensors_and_the_name_of_an_outcome(short: Scenario) -> None:
    plain = Trial(OURS, short, 1)
    broken = replace(plain, faults=SensorFaults(dead=("radar",)), weather=WEATHERS["rain"])
    assert len({digest(trial) for trial in (plain, broken, replace(plain, weather=WEATHERS["rain"]))}) == 3
    controller = make_controller(broken)
    assert isinstance(controller, SensorController)
    assert controller.faults == broken.faults and controller.weather == broken.weather
