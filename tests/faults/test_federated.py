from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.contracts import BadInput
from iotlam.model import from_pretrained
from iotlam.training.shards import PRESENT
from iotlam_faults.federated import data, task, told_apart
from iotlam_faults.model import load_model

SIMULATED = {"kind": "simulated", "machines": 4}
PLAN = """
app = "faults"
rounds = {rounds = 2, steps = 1}
devices = [
{name = "press", rank = 1, data = {kind = "simulated", faults = ["inner"], machines = 4}},
{name = "pump", rank = 3, data = {kind = "simulated", faults = ["sound", "ball"], machines = 4, seed = 1}},
]
"""


def test_simulated_devices_have_the_faults_that_were_asked_for() -> None:
    found = data({**SIMULATED, "faults": ["outer"], "machines": 8})
    assert (len(found.learnt), len(found.held_out)) == (6, 2)
    present = np.stack([sample.targets[PRESENT] for sample in (*found.learnt, *found.held_out)])
    assert (present[:, 1] == 1).all()
    again = data({**SIMULATED, "faults": ["outer"], "machines": 8, "seed": 1})
    assert not np.array_equal(again.learnt[0].query.anchors_KHX, found.learnt[0].query.anchors_KHX)


@pytest.mark.skipif("IOTLAM_DATA" not in os.environ, reason="needs CWRU: set IOTLAM_DATA")
def test_a_devices_own_bearings_are_on_one_side_each() -> None:
    found = data({"kind": "set", "name": "cwru", "part": "FE"})
    assert len(found.learnt) > len(found.held_out) > 20
    assert not any(sample.query.allowed_P[3:].any() for sample in found.learnt), "nothing is known of other faults"
    assert 0.5 < told_apart(load_model(None), found.held_out) <= 1.0


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"kind": "radio"}, "one of simulated, set, folder"),
        ({"kind": "set"}, "the name of a set"),
        ({**SIMULATED, "name": "x"}, "no name"),
        ({**SIMULATED, "faults": ["rust"]}, "'rust'"),
        ({**SIMULATED, "machines": 0}, "machines"),
        ({"kind": "folder", "name": "/nowhere"}, "nowhere"),
        ({"kind": "set", "name": "none"}, "none"),
    ],
)
def test_sources_that_are_none_are_refused(source: dict[str, object], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        data(source)


def test_a_base_for_other_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a folder"):
        task(tmp_path / "none")


@pytest.mark.slow
def test_a_plan_is_carried_out_and_ends_in_a_model_of_faults(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    folder = tmp_path / "run"
    told = CliRunner().invoke(app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(folder), "--json"])
    assert told.exit_code == 0, told.output
    rounds = json.loads(told.stdout)["rounds"]
    assert [set(one["shares"]) for one in rounds] == [{"press", "pump"}] * 2
    model = load_model(folder / "model")
    assert model.config.lora_rank == from_pretrained(task(None).base).config.lora_rank + 6  # both devices' in one round
    again = CliRunner().invoke(app, ["federated", "resume", str(folder), "--json"])
    assert json.loads(again.stdout)["rounds"] == []
    table = CliRunner().invoke(app, ["federated", "status", str(folder)]).stdout
    assert len(table.splitlines()) == 3


def test_what_is_no_plan_or_run_is_said_in_one_sentence(tmp_path: Path) -> None:
    for text, why in (
        ("", "the key app"),
        (PLAN.replace("steps", "stops"), "'stops'"),
        (PLAN.replace('"faults"\n', '"horses"\n'), "horses"),
        (PLAN.replace("pump", "press"), "each once"),
        (PLAN.replace("pump", "../pump"), "name"),
        (PLAN.replace("rank = 3", "rank = 0"), "rank"),
    ):
        (tmp_path / "plan.toml").write_text(text)
        told = CliRunner().invoke(app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "o")])
        assert (told.exit_code, why in told.stderr) == (2, True), told.stderr
        assert not (tmp_path / "o").exists()
    for command in ("resume", "status"):
        told = CliRunner().invoke(app, ["federated", command, str(tmp_path)])
        assert told.exit_code == 2 and "name the folder" in told.stderr
