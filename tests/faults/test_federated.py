from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.cli.federated import _read, _rows
from iotlam.cli.main import app
from iotlam.contracts import BadInput
from iotlam.federated.leading import read_plan
from iotlam.federated.outcome import Outcome
from iotlam.federated.plan import Plan
from iotlam.model import from_pretrained
from iotlam.training.shards import PRESENT
from iotlam_faults.data.catalogue import Entry
from iotlam_faults.data.folder import own_waveforms
from iotlam_faults.federated import _held_out, check_unlearnt, data, mean_auroc, task, told_apart
from iotlam_faults.model import load_model
from iotlam_faults.protocols import Window
from iotlam_faults.query import FAULTS
from iotlam_faults.recordings import cut
from iotlam_faults.splits import Piece, Split

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


def test_a_device_is_asked_about_what_its_sensors_can_show() -> None:
    asked = {}
    for sensors in (["vibration_orders"], ["current"], ["vibration_orders", "current"]):
        found = data({**SIMULATED, "sensors": sensors})
        assert all(list(sample.tokens) == sensors for sample in (*found.learnt, *found.held_out))
        asked[len(sensors), sensors[0]] = {
            fault for fault, may in zip(FAULTS, found.learnt[0].query.allowed_P, strict=True) if may
        }
    vibration, current, both = asked.values()
    assert (vibration, current) == (set(FAULTS) - {"winding"}, set(FAULTS) - {"misalignment"})
    assert both == set(FAULTS)
    usual = data(SIMULATED)
    assert list(usual.learnt[0].tokens) == ["vibration_orders"]
    assert usual.groups == [0, 1, 2, 3], "a bearing each"


def test_no_kind_of_bearing_is_taken_from_learning_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sound, inner, outer, ball = (frozenset(some) for some in ((), {"inner"}, {"outer"}, {"ball"}))
    assert _held_out([inner, sound, outer, ball]) == [], "as in JNU"
    assert _held_out([sound, inner, outer, ball] * 3) == [4, 5, 6], "machine by machine"
    assert _held_out([sound, ball, inner, outer, ball, inner, outer]) == [4, 5], "as in Analog Devices' recordings"
    assert _held_out([inner] * 3) == []
    of_faults = {
        fault: data({**SIMULATED, "faults": [fault], "machines": 4}).learnt[:1] for fault in ("inner", "outer")
    }
    for kinds, learnt in ((["inner"] * 8, 8), (["inner", "outer"] * 4, 6)):
        monkeypatch.setattr(
            "iotlam_faults.federated.bearings", lambda _, kinds=kinds: [of_faults[one] for one in kinds]
        )
        assert (len(found := data(SIMULATED).learnt), len(data(SIMULATED).held_out)) == (learnt, 8 - learnt)
        assert len({sample.targets[PRESENT].tobytes() for sample in found}) == len(set(kinds))


def test_a_fault_that_nobody_is_asked_about_does_not_count() -> None:
    windows = data({**SIMULATED, "machines": 8, "sensors": ["current"]}).learnt
    present_NP = np.stack([sample.targets[PRESENT] for sample in windows])
    right_NP = present_NP.copy()
    right_NP[:, FAULTS.index("misalignment")] *= -1.0
    assert mean_auroc(right_NP, windows) == 1.0
    assert mean_auroc(-right_NP, windows) == 0.0


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
        ({**SIMULATED, "sensors": ["nose"]}, "'nose'"),
        ({**SIMULATED, "sensors": []}, "got none"),
        ({"kind": "set", "name": "cwru", "sensors": ["current"]}, "of recordings"),
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


def test_rounds_without_own_scores_or_radio_are_in_one_table() -> None:
    """A round that nobody answered has none, in a run whose others do."""
    first = Outcome(0, {"a": 1.0}, {}, {}, {"a": 0.5}, 0.5, 1, 1, -1.0, "", {"a": 0.25})
    some = [first, first.changed(round=1, own_scores={})]
    assert [row["own after"] for row in _rows(some)] == ["0.250", "-"]
    assert all(row.keys() == _rows(some)[0].keys() and "radio s" not in row for row in _rows(some))
    assert "own after" not in _rows(some[1:])[0]
    assert _rows(some)[0]["score before"] == "0.500"


@pytest.mark.slow
def test_an_own_module_is_an_ordinary_model_of_faults(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        PLAN.replace("steps = 1", "steps = 1, distil = {}").replace("machines = 4", "machines = 8")
    )
    folder = tmp_path / "run"
    told = CliRunner().invoke(app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(folder)])
    assert told.exit_code == 0 and " own after " in told.stdout, told.output
    told = CliRunner().invoke(app, ["federated", "own", str(folder), "press"])
    assert told.exit_code == 0, told.output
    assert load_model(folder / "devices" / "press" / "model").config.head == "classify"
    told = CliRunner().invoke(app, ["federated", "own", str(folder), "stranger"])
    assert told.exit_code == 2 and "press, pump" in told.stderr


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
    *rows, last = table.splitlines()
    assert len(rows) == 3 and last == f"2 of 2 rounds: over; the model is in {folder / 'model'}"


def test_a_run_to_which_nobody_has_contributed_ends_in_no_model(tmp_path: Path) -> None:
    text = PLAN.replace("rounds = 2", "rounds = 1").replace("rank", "examples = 1, rank")
    (tmp_path / "plan.toml").write_text(text)
    folder = tmp_path / "run"
    told = CliRunner().invoke(app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(folder)])
    assert told.exit_code == 2 and told.stderr.count("\n") == 1
    assert "got 1 that changed nothing (" in told.stderr and "1 examples" in told.stderr, told.stderr
    assert not (folder / "model").exists() and len(list(folder.glob("round-*.safetensors"))) == 1
    table = CliRunner().invoke(app, ["federated", "status", str(folder)]).stdout
    assert table.endswith("1 of 1 rounds: over; none has changed anything, so there is no model\n")


def test_a_model_that_could_not_be_written_is_written_by_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace("rounds = 2", "rounds = 1"))
    folder = tmp_path / "run"

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("iotlam.federated.leading.save_pretrained", full)
        told = CliRunner().invoke(app, ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(folder)])
    assert told.exit_code == 2 and "no space left" in told.stderr
    status = ["federated", "status", str(folder)]
    last = CliRunner().invoke(app, status).stdout.splitlines()[-1]
    assert last == f"1 of 1 rounds: over, but for its model, which 'iotlam federated resume {folder}' writes"
    assert json.loads(CliRunner().invoke(app, [*status, "--json"]).stdout)["model"] == ""
    (folder / "stopped").write_text("of a SuperLink's server, before")
    assert CliRunner().invoke(app, ["federated", "resume", str(folder)]).exit_code == 0
    assert json.loads(CliRunner().invoke(app, [*status, "--json"]).stdout)["stopped"] == ""
    assert CliRunner().invoke(app, status).stdout.endswith(f"over; the model is in {folder / 'model'}\n")
    assert "learnt by 2 of 2 devices" in (folder / "model" / "README.md").read_text()


def test_a_model_of_a_run_is_not_tested_on_what_its_devices_have(tmp_path: Path) -> None:
    entries = [
        Entry(set="plant", file=f"{name}.wav", bearing=name, rate_hz=1e4, part=part, faults=faults)
        for name, part, faults in (
            ("a", "DE", ("inner",)),
            ("b", "DE", ("ball",)),
            ("c", "FE", ("inner",)),
            ("d", "DE", ()),
        )
    ]
    windows = [Window(Piece(one.file, one.group, 0, 100), one) for one in entries]
    a, b, c, d = (one.piece for one in windows)
    has = {"kind": "folder", "name": str(tmp_path / "plant"), "part": "DE", "faults": ["inner"]}
    (tmp_path / "run" / "plan.json").parent.mkdir()
    (tmp_path / "run" / "plan.json").write_text(json.dumps({"app": "faults", "devices": [{"name": "x", "data": has}]}))
    for model in (tmp_path / "run" / "model", tmp_path / "run" / "devices" / "x" / "model"):
        check_unlearnt(model, [Split("others", (a,), (b, c, d))], windows)
        with pytest.raises(
            BadInput, match="not learnt from the bearings that are tested, got .*run that has from plant/a"
        ):
            check_unlearnt(model, [Split("others", (a,), (b,)), Split("its own", (b, c), (a, d))], windows)
    check_unlearnt(tmp_path / "model", [Split("no run", (b,), (a,))], windows)
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "plan.json").write_text(json.dumps({"devices": [], "base": str(tmp_path / "run" / "model")}))
    with pytest.raises(BadInput, match="run that has from plant/a"):
        check_unlearnt(tmp_path / "next" / "model", [Split("a run before has", (b,), (a,))], windows)
    on_its_host = json.loads((tmp_path / "run" / "plan.json").read_text()) | {"base": "base"}
    (tmp_path / "run" / "plan.json").write_text(json.dumps(on_its_host))
    check_unlearnt(tmp_path / "run" / "devices" / "model", [Split("others", (a,), (b, c, d))], windows)
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(BadInput, match="the plan of a federated run"):
        check_unlearnt(tmp_path / "run" / "model", [Split("its own", (b,), (a,))], windows)


def test_own_recordings_are_known_by_their_samples(tmp_path: Path) -> None:
    def recorded(place: str, seed: int, begin: int = 0) -> list[Window]:
        (tmp_path / place).mkdir(parents=True)
        for name, number in (("a", seed), ("b", seed + 1)):
            values_N = np.random.default_rng(number).normal(size=20_000)[begin:]
            np.savez(tmp_path / place / f"{name}.npz", data=values_N, rate_hz=6000.0, units="m/s2")
        table = "file,bearing,faults,rpm,model\na.npz,a,inner,1480,6205\nb.npz,b,,1480,6205\n"
        (tmp_path / place / "catalogue.csv").write_text(table)
        return list(cut(own_waveforms(tmp_path / place)).windows)

    learnt, others, copies = recorded("one/plant", 1), recorded("two/plant", 5), recorded("copies", 1, begin=500)
    has = {"kind": "folder", "name": str(tmp_path / "one" / "plant"), "faults": ["inner"]}
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)

    def check(windows: list[Window], **data: object) -> None:
        (model.parent / "plan.json").write_text(json.dumps({"devices": [{"name": "x", "data": has | data}]}))
        a, b = ([one.piece for one in windows if one.piece.group.endswith(f"/{name}")] for name in "ab")
        check_unlearnt(model, [Split("a", tuple(b), tuple(a))], windows)

    check(others)
    for windows in (learnt, copies):
        with pytest.raises(BadInput, match="that has from"):
            check(windows)
        check(windows, faults=["ball"])
    with pytest.raises(BadInput, match="that has from plant/a"):
        check(others, name="plant")


def test_a_plans_base_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.toml").write_text('base = "trained"\n' + PLAN)
    monkeypatch.chdir(tmp_path)
    assert _read(tmp_path / "plan.toml").base == str(tmp_path / "trained")
    (tmp_path / "press" / "base").mkdir(parents=True)  # a device's host: the base is beside its plan
    (tmp_path / "press" / "plan.json").write_text(Plan.from_toml(tmp_path / "plan.toml").changed(base="base").to_json())
    monkeypatch.chdir("/")
    assert read_plan(tmp_path / "press").base == str(tmp_path / "press" / "base")


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
