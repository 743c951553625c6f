from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.contracts import BadInput
from iotlam.training.shards import TEACHER
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.federated import Source, _recordings, agreed, check, data
from iotlam_traffic.policy import load_policy

PLAN = """
app = "traffic"
rounds = {rounds = 1, steps = 1}
radio = {band_hz = 1e6}

[[devices]]
name = "cologne"
rank = 2
data = {map = "cologne1", episodes = 2, span_s = 60, folder = "FOLDER"}
hardware = {compute_flops = 1e10, memory_bytes = 1000000000, energy_j_per_flop = 1e-10, position_m = [90, 0, 0]}

[[devices]]
name = "ingolstadt"
rank = 4
data = {map = "ingolstadt1", episodes = 1, span_s = 60, folder = "FOLDER", sensors = ["lidar"]}
hardware = {compute_flops = 1e11, memory_bytes = 1000000000, energy_j_per_flop = 1e-10, position_m = [0, 80, 0]}
"""


@pytest.mark.slow
def test_two_cities_learn_one_policy(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace("FOLDER", str(tmp_path / "episodes")))
    told = CliRunner().invoke(
        app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "run"), "--json"]
    )
    assert told.exit_code == 0, told.output
    model = load_policy(tmp_path / "run" / "model")
    found = data({"map": "cologne1", "episodes": 2, "span_s": 60, "folder": str(tmp_path / "episodes")})
    assert len(found.learnt) == len(found.held_out) == 6
    assert 0.0 <= agreed(model, found.held_out) <= 1.0
    wrong = [sample for sample in found.held_out if np.ptp(sample.targets[TEACHER]) > 0]
    turned = [type(one)(one.tokens, one.query, {TEACHER: -one.targets[TEACHER]}) for one in wrong]
    assert agreed(model, wrong) > agreed(model, turned)
    table = CliRunner().invoke(app, ["federated", "status", str(tmp_path / "run")]).stdout
    assert "radio s" in table


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({}, "map"),
        ({"map": "nowhere"}, "nowhere"),
        ({"map": "cologne1", "sensors": ["vibration"]}, "vibration"),
        ({"map": "cologne1", "sensors": []}, "none"),
        ({"map": "cologne1", "episodes": 0}, "episodes"),
        ({"map": "cologne1", "seed": 10**6}, "seed"),
    ],
)
def test_sources_that_are_none_are_refused(source: dict[str, object], why: str) -> None:
    for refuses in (check, data):
        with pytest.raises(BadInput, match=why):
            refuses(source)


def test_a_net_that_has_changed_is_recorded_anew(config_in: Callable[[Path], Path], tmp_path: Path) -> None:
    path = config_in(tmp_path)
    routes = find_scenario(str(path)).routes[0]
    own = tmp_path / "own.rou.xml"
    own.write_bytes(routes.read_bytes())
    path.write_text(path.read_text().replace(str(routes), str(own)))
    wanted = Source(str(path), episodes=1, folder=str(tmp_path / "episodes"))
    (before,) = _recordings(wanted)
    assert _recordings(wanted) == [before]
    own.write_bytes(routes.read_bytes() + b"<!-- one car less -->")
    assert _recordings(wanted)[0].folder != before.folder
