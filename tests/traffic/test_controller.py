from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from iotlam.contracts import BadInput, PluginError
from iotlam_street.faults import SensorFaults
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_street.weather import WEATHERS
from iotlam_traffic.controller import SensorController
from iotlam_traffic.policy import load_policy


def test_lights_go_on_without_a_sensor_that_fails(short: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    controller = SensorController(load_policy(None))
    names, working = list(controller.processor.plugins), controller.processor.plugins["video"]

    def fail(_: object) -> None:
        raise PluginError("video", "tokenize", ZeroDivisionError("lens"))

    with Street(short, 1) as street:
        (junction,) = street.junctions
        street.advance(controller.choose(street.junctions))
        controller.processor.plugins["video"] = SimpleNamespace(tokenize=fail)  # type: ignore[assignment]
        for _ in range(2):
            look = controller.look(junction)
            assert list(look.tokens) == [name for name in names if name != "video"]
            street.advance([look.phase])
        controller.processor.plugins["video"] = working
        assert list(controller.look(junction).tokens) == names
    assert "ZeroDivisionError: lens" in str(controller.problems["video"])
    assert [record.message.startswith("going on without video") for record in caplog.records] == [True]


def test_junctions_answered_at_once_choose_what_each_alone_would() -> None:
    scenario = find_scenario("cologne3")
    together, alone = SensorController(load_policy(None)), SensorController(load_policy(None))
    with Street(replace(scenario, end_s=scenario.begin_s + 120), 1) as street:
        while not street.done:
            looks = [alone.look(junction) for junction in street.junctions]
            phases = together.choose(street.junctions)
            assert phases == [look.phase for look in looks]
            street.advance(phases)
    assert len(together.seconds) == len(alone.seconds) == 36


def test_a_sensor_that_the_policy_never_saw_is_refused() -> None:
    with pytest.raises(BadInput, match="one of lidar, radar, video, got 'sonar'"):
        SensorController(load_policy(None), ["sonar"])


def test_lights_go_on_blind_and_in_the_rain(short: Scenario) -> None:
    policy = load_policy(None)
    with Street(short, 1) as street:
        (junction,) = street.junctions
        street.advance(SensorController(policy).choose(street.junctions))
        half = SensorController(policy, faults=SensorFaults(dead=("lidar",), lost=0.5), weather=WEATHERS["rain"])
        assert "lidar" not in half.look(junction).frames
        blind = SensorController(policy, faults=SensorFaults(lost=1.0)).look(junction)
        assert not any(blind.tokens.values()) and junction.allowed_P[blind.phase]
