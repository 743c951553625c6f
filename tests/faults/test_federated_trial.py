"""A real SuperLink with two SuperNodes, TLS and node authentication."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from flwr.app import Context, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.contracts import BadInput, IotlamError
from iotlam.federated import deployed
from iotlam.federated.certificates import certify, make_key
from iotlam.federated.flower import client_app
from iotlam.federated.grids import LocalGrid
from iotlam.federated.journal import Journal
from iotlam.federated.leading import keep
from iotlam.federated.plan import Plan
from iotlam.federated.runtimes import carry_out
from iotlam.federated.trial import HOST, KEY, LET_IN, Trial
from iotlam_faults.model import load_model

PLAN = """
app = "faults"
rounds = {rounds = 1, steps = 1, deadline_s = 240.0}
devices = [
{name = "press", rank = 1, examples = 4, data = {kind = "simulated", faults = ["inner"], machines = 4}},
{name = "pump", rank = 3, examples = 4, data = {kind = "simulated", machines = 4, seed = 1}},
]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "plan.toml"


@pytest.mark.slow
def test_two_nodes_learn_over_tls_and_a_stranger_is_refused(plan: Path, tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    try:
        up = ["federated", "up", str(plan), "--out", str(folder), "--port", str(port)]
        told = CliRunner().invoke(app, [*up, "--host", "localhost"])
        assert told.exit_code == 0, told.output
        assert elsewhere(Trial(folder).handed_out("press"), tmp_path / "host")
        told = CliRunner().invoke(app, ["federated", "rekey", str(folder), "press"])
        assert told.exit_code == 0 and str(Trial(folder).handed_out("press") / "key") in told.output, told.output
        assert "Failed to activate SuperNode" in stranger(folder, port, tmp_path / "host" / "key"), "the stolen key"
        assert elsewhere(Trial(folder).handed_out("press"), tmp_path / "other")
        said = CliRunner().invoke(app, ["federated", "status", str(folder)])
        assert said.exit_code == 0, "one device of two is there: no round has begun"
        assert not (folder / "journal.jsonl").exists()
        told = CliRunner().invoke(app, ["federated", "resume", str(folder)])
        assert told.exit_code == 2 and "one with devices on hosts of their own" in told.stderr
        assert CliRunner().invoke(app, up[:-2]).exit_code == 2, "as before: with the SuperLink all of it is up"
        told = CliRunner().invoke(app, [*up, "--host", HOST])  # the devices of this machine
        assert told.exit_code == 0, told.output
        again = CliRunner().invoke(app, ["federated", "up", str(plan), "--out", str(folder), "--port", str(port)])
        assert again.exit_code == 2 and "one that is" in again.stderr
        make_key(folder / "stranger")
        assert "Failed to activate SuperNode" in stranger(folder, port, folder / "stranger")
        wait_for(folder / "model" / "config.json", 240)
    finally:
        stopped = CliRunner().invoke(app, ["federated", "down", str(folder)])
    assert all(name in stopped.stdout for name in ("superlink", "press", "pump"))
    assert Trial(folder).running() == {}
    rounds = json.loads(CliRunner().invoke(app, ["federated", "status", str(folder), "--json"]).stdout)["rounds"]
    assert set(rounds[0]["shares"]) == {"press", "pump"}
    assert load_model(folder / "model").config.head == "classify"
    here = carry_out(Plan.from_toml(plan), tmp_path / "process")
    for name in ("adapter_model.safetensors", "iotlam.safetensors"):
        assert (here / name).read_bytes() == (folder / "model" / name).read_bytes(), "the weights of any other runtime"


def elsewhere(handed_out: Path, host: Path) -> bool:
    """Whether a node that has nothing but what was handed out is let in."""
    shutil.copytree(handed_out, host)
    assert {path.name for path in host.iterdir()} == {"plan.json", "ca.crt", "key", "start.sh"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", str(host / "start.sh"), "--port", str(free_port())]
    with (host / "log").open("wb") as log:
        node = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, env={**os.environ, "PATH": path})
    try:
        deadline = time.monotonic() + 120
        while LET_IN not in (said := (host / "log").read_text()):
            assert node.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.5)
    finally:
        node.terminate()
        node.wait(30)
    return True


def stranger(folder: Path, port: int, key: Path) -> str:
    """What a node with a key that is not registered gets to hear."""
    trial = Trial(folder, port)
    node = trial._start(
        "stranger",
        "flower-supernode",
        *("--superlink", f"{HOST}:{port}", "--root-certificates", str(folder / "flower" / "ca.crt")),
        *("--auth-supernode-private-key", str(key), "--port", str(free_port()), "--max-retries", "1"),
    )
    try:
        node.wait(60)
    except subprocess.TimeoutExpired:
        node.kill()
    return (folder / "flower" / "stranger.log").read_text()


def wait_for(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} is not there"
        time.sleep(0.5)


def test_a_trial_that_cannot_be_is_refused_before_anything_is_written(plan: Path, tmp_path: Path) -> None:
    found = Plan.from_toml(plan)
    with socket.socket() as busy:
        busy.bind((HOST, 0))
        busy.listen()
        with pytest.raises(BadInput, match="in use"):
            Trial(tmp_path / "run", busy.getsockname()[1]).up(found)
    unbound = found.changed(devices=tuple(device.changed(examples=None) for device in found.devices))
    with pytest.raises(BadInput, match="bound on its examples"):
        Trial(tmp_path / "run", free_port()).up(unbound)
    for name in ("..", "superlink", "fan\n"):
        raw = found.to_raw()
        raw["devices"][0]["name"] = name
        with pytest.raises(BadInput):
            Plan.from_raw(raw, "Plan")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(BadInput, match="another plan"):
        Trial(tmp_path / "run", free_port()).up(found)
    assert Trial(tmp_path / "none").down() == []


def test_certificates_that_have_expired_are_renewed(tmp_path: Path) -> None:
    certify(tmp_path, now=datetime.now(UTC) - timedelta(days=365 - 0.5))
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert certify(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.read_bytes() != old[path.name]} == set(old)
    assert not certify(tmp_path, ("localhost",)) and certify(tmp_path, ("plant.example", "localhost"))
    (tmp_path / "ca.crt").unlink()
    certify(tmp_path)
    assert (tmp_path / "ca.crt").exists(), "as after a power failure in the middle"


@pytest.mark.slow
def test_a_node_refuses_an_expired_certificate_and_names_it(tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    (folder / "flower" / "home").mkdir(parents=True)
    certify(folder / "flower", now=datetime.now(UTC) - timedelta(days=400))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "flower" / "server.crt", folder / "flower" / "server.key")
    with socket.create_server((HOST, port)) as plain, context.wrap_socket(plain, server_side=True) as server:
        Thread(target=_accept_all, args=(server,), daemon=True).start()
        make_key(folder / "stranger")
        assert "certificate has expired" in stranger(folder, port, folder / "stranger")


def _accept_all(server: ssl.SSLSocket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except ssl.SSLError:
            continue
        except OSError:
            return  # closed


def test_a_part_that_is_killed_leaves_nothing_and_the_others_run_on(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    (trial.folder / "home").mkdir(parents=True)
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    parts = {name: trial._start(name, Path(sys.executable).name, "-c", child) for name in ("press", "pump")}
    while len(trial._belonging("press")) < 2 or len(trial._belonging("")) < 4:
        time.sleep(0.05)
    parts["press"].kill()  # its child goes on
    parts["press"].wait()
    assert set(trial.running()) == {"pump"}
    assert len(trial._belonging("press")) == 1
    trial.kill("press")
    assert trial._belonging("press") == []
    assert len(trial._belonging("")) == 2
    assert trial.down() == ["pump"]
    assert trial._belonging("") == []


def test_what_is_up_is_not_mended_at_another_port(plan: Path, tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run", free_port())
    (trial.folder / "home").mkdir(parents=True)
    (trial.folder / "home" / "config.toml").write_text(f'address = "{HOST}:{trial.port}"')
    trial._start("superlink", Path(sys.executable).name, "-c", "import time; time.sleep(60)")
    try:
        with pytest.raises(BadInput, match="that of the SuperLink that is up"):
            Trial(tmp_path / "run", trial.port + 1).up(Plan.from_toml(plan))
    finally:
        assert trial.down() == ["superlink"]


def test_a_key_is_taken_back_of_a_device_of_a_run_that_is_up(plan: Path, tmp_path: Path) -> None:
    trial = Trial(tmp_path / "run")
    with pytest.raises(BadInput, match="a federated run"):
        trial.rekey("press")
    keep(Plan.from_toml(plan), trial.run)
    for name in ("fan", "../press", ""):
        with pytest.raises(BadInput, match="expected press or pump, got none"):
            trial.rekey(name)
    with pytest.raises(BadInput, match="a run that is up"):
        trial.rekey("press")


def test_a_key_is_taken_back_before_another_is_made_and_so_again_after_a_failure(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, said, registered = Trial(tmp_path / "run"), list[tuple[str, ...]](), list[str]()
    keep(Plan.from_toml(plan), trial.run)

    def flwr(_: Trial, *arguments: str) -> str:
        said.append(arguments)
        match arguments[1]:
            case "list":
                return json.dumps({"nodes": [{"node-id": one, "status": "online"} for one in registered]})
            case "unregister":
                registered.remove(arguments[2])
            case "register" if len(said) == 4:
                raise IotlamError("flwr supernode: expected it to be done, got no answer.")
            case "register":
                registered.append(str(len(said)))
        return json.dumps({"node-id": len(said)})

    monkeypatch.setattr(Trial, "_flwr", flwr)
    monkeypatch.setattr(Trial, "running", lambda _: {"superlink": 1})
    monkeypatch.setattr(Trial, "kill", lambda *_: None)
    monkeypatch.setattr("iotlam.federated.trial.signal_group", lambda *_: None)
    stolen = trial._key("press").read_bytes()
    with pytest.raises(IotlamError):
        trial.rekey("press")
    assert registered == [] and not (trial._place("press") / KEY).exists()
    trial.rekey("press")
    assert len(registered) == 1 and trial._key("press").read_bytes() != stolen


def test_status_says_why_a_server_has_stopped(plan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    keep(Plan.from_toml(plan), folder)
    (folder / "journal.jsonl").write_text('{"line": 0}\n')
    with LocalGrid(client_app(lambda *_: pytest.fail("nobody is asked")), []) as grid:
        there = [NodeInfo(node_id=node, name=name) for node, name in enumerate(("press", "pump"), 2)]
        grid.get_nodes = lambda: there  # type: ignore[method-assign]
        with pytest.raises(BadInput, match="an unbroken chain"):
            deployed.main(grid, Context(1, 1, {}, RecordDict(), {"folder": str(folder)}))
    (folder / "journal.jsonl").unlink()
    told = CliRunner().invoke(app, ["federated", "status", str(folder)])
    assert told.exit_code == 0 and "not over; its server has stopped: " in told.stdout
    assert "an unbroken chain" in " ".join(told.stdout.split())


def test_what_cannot_run_is_not_brought_up(plan: Path, tmp_path: Path) -> None:
    found = Plan.from_toml(plan)
    for wrong, why in ((found.changed(app="fautls"), "fautls"), (found.changed(base=str(tmp_path / "none")), "none")):
        with pytest.raises(BadInput, match=why):
            Trial(tmp_path / "run", free_port()).up(wrong)
    assert not (tmp_path / "run").exists()


def test_what_is_led_or_has_no_data_is_not_brought_up(plan: Path, tmp_path: Path) -> None:
    folder, found = tmp_path / "run", Plan.from_toml(plan)
    keep(found, folder)
    with Journal(folder / "journal.jsonl"), pytest.raises(BadInput, match="another process"):
        Trial(folder, free_port()).up(found)
    assert {path.name for path in folder.iterdir()} == {"plan.json", "journal.jsonl"}
    raw = found.to_raw()
    raw["devices"][1]["data"] = {"kind": "folder", "name": "nowhere"}
    with pytest.raises(BadInput, match="nowhere/catalogue.csv"):
        Trial(tmp_path / "other", free_port()).up(Plan.from_raw(raw, "Plan"))
    assert not (tmp_path / "other").exists()


def test_a_trial_is_where_it_was_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    assert Trial.of(tmp_path) == Trial(tmp_path)
    (tmp_path / "flower").mkdir()
    (tmp_path / "flower" / "address.json").write_text('{"port": 9000, "host": "plant.example"}')
    assert Trial.of(tmp_path) == Trial(tmp_path, 9000, "plant.example")
    assert Trial.of(tmp_path, 9100, HOST) == Trial(tmp_path, 9100)


def test_keys_are_readable_by_their_owner_only_and_a_valid_certificate_stays(tmp_path: Path) -> None:
    certify(tmp_path)
    first = (tmp_path / "server.crt").read_bytes()
    assert not certify(tmp_path)
    assert (tmp_path / "server.crt").read_bytes() == first
    make_key(tmp_path / "node")
    assert (tmp_path / "node.pub").read_text().startswith("ecdsa-sha2-nistp384 ")
    for secret in ("server.key", "node"):
        assert (tmp_path / secret).stat().st_mode & 0o077 == 0
