"""One plan on several runtimes; that on Flower's own servers is in test_federated_trial.py."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.contracts import BadInput
from iotlam.federated.grids import set_identity
from iotlam.federated.leading import Fleet
from iotlam.federated.outcome import Outcome
from iotlam.federated.plan import Plan
from iotlam.federated.processes import began
from iotlam.federated.rounds import Run
from iotlam.federated.runtimes import carry_out

PLAN = """
app = "faults"
rounds = {rounds = 3, steps = 1, deadline_s = 120.0}
devices = [
{name = "press", rank = 1, data = {kind = "simulated", faults = ["inner"], machines = 4}},
{name = "pump", rank = 3, examples = 4, data = {kind = "simulated", machines = 4, seed = 1}},
]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "plan.toml").write_text(PLAN)
    return Plan.from_toml(tmp_path / "plan.toml")


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "model").glob("*.safetensors")}


class Stopped(Exception):
    pass


def stop(_: Run) -> None:
    raise Stopped


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'iotlam[ray]'")
def test_a_run_begun_in_process_ends_under_ray_in_the_same_weights_though_an_actor_is_killed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iotlam.federated.actors import RayGrid

    actors: list[int] = []
    begin = RayGrid._processes

    def noted(grid: RayGrid, seconds: float) -> list[int]:
        actors.extend(found := begin(grid, seconds))
        return found

    monkeypatch.setattr(RayGrid, "_processes", noted)

    def note(run: Run) -> None:
        outcomes.append(run.outcomes[-1])
        if outcomes[-1].round == 1:
            os.kill(actors[-1], signal.SIGKILL)  # the next message goes to this one

    path = os.environ.get("PYTHONPATH")
    carry_out(plan, tmp_path / "process")
    with pytest.raises(Stopped):
        carry_out(plan, tmp_path / "ray", stop)
    outcomes: list[Outcome] = []
    carry_out(plan, tmp_path / "ray", note, "ray")
    assert [outcome.round for outcome in outcomes] == [1, 2]
    assert [(outcome.missing, outcome.refused) for outcome in outcomes] == [({}, {})] * 2
    assert weights(tmp_path / "ray") == weights(tmp_path / "process") != {}
    assert all(began(pid) == -1 for pid in actors), "no process is left"
    assert len(set(actors)) > len(actors) / 2, "one was started anew"
    assert os.environ.get("PYTHONPATH") == path


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'iotlam[ray]'")
def test_an_actor_that_takes_long_to_start_anew_is_no_device_that_crashes_again_and_again() -> None:
    from ray.exceptions import ActorUnavailableError

    from iotlam.federated.actors import RayGrid

    set_identity()
    grid, asked = RayGrid.__new__(RayGrid), Message(RecordDict(), 2, "train", ttl=30.0)
    asked.metadata.__dict__["_message_id"] = "asked"
    left = [5]

    class Backend:
        def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
            if left[0]:
                left[0] -= 1
                raise ActorUnavailableError("The actor is restarting.", None)
            return Message(RecordDict(), reply_to=message), context

    grid._backend = Backend()  # type: ignore[assignment]
    context = Context(1, 2, {}, RecordDict(), {})
    assert grid._ask(asked, context).has_content() and left == [0]
    left[0] = 10**6
    late = Message(RecordDict(), 2, "train", ttl=0.5)
    late.metadata.__dict__["_message_id"] = "late"
    reply = grid._ask(late, context)
    assert "restarting" in (reply.error.reason or "")


def test_a_runtime_that_is_not_there_is_refused_in_one_sentence(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotlam.federated.runtimes.find_spec", lambda name: None)
    for runtime, why in (("ray", "pip install 'iotlam[ray]'"), ("cloud", "expected process or ray, got 'cloud'")):
        arguments = ["federated", "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "o")]
        told = CliRunner().invoke(app, [*arguments, "--runtime", runtime])
        assert (told.exit_code, why in told.stderr) == (2, True), told.stderr
        assert not (tmp_path / "o").exists()


def test_rounds_do_not_begin_without_the_devices_data(plan: Plan, tmp_path: Path) -> None:
    raw = plan.to_raw()
    for data, why in (
        ({"kind": "folder", "name": "nowhere"}, "nowhere/catalogue.csv"),
        ({"kind": "set", "name": "jnu"}, "iotlam faults data get jnu"),
    ):
        raw["devices"][1]["data"] = data
        with pytest.raises(BadInput, match=why):
            carry_out(Plan.from_raw(raw, "Plan"), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_device_has_its_data_when_it_is_asked_for_and_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    data = Plan.data
    monkeypatch.setattr(Plan, "data", lambda self, name: asked.append(name) or data(self, name))
    fleet = Fleet(plan, tmp_path)
    assert asked == []
    assert fleet.device("pump") is fleet.device("pump")
    assert asked == ["pump"]
    with pytest.raises(BadInput, match="a stranger"):
        fleet.device("fan")
