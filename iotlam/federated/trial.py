"""A SuperLink and its SuperNodes, with TLS and node authentication: on this machine, or nodes on hosts of their own.

Where nodes are elsewhere each gets a folder to copy there, with what starts it. All that is started here is written
down with its process id, and that is what is stopped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iotlam.contracts import BadInput, IotlamError, whole_file
from iotlam.federated import QUIET
from iotlam.federated.certificates import HOSTS, certify, make_key
from iotlam.federated.deployed import FOLDER
from iotlam.federated.grids import DEVICE
from iotlam.federated.journal import check_unled
from iotlam.federated.leading import PLAN, keep, read_plan
from iotlam.federated.outcome import JOURNAL
from iotlam.federated.plan import Plan
from iotlam.federated.processes import began, free, over, signal_group

HOST, ANY_HOST = HOSTS[0], "0.0.0.0"
LAST_PORT = 65_535
LINK = "superlink"
START_S, STOP_S = 90.0, 10.0
NODES_S = 180.0
"""A node that was killed is not let in again before the SuperLink has missed it for a minute."""

LET_IN = "SuperNode ID:"
"""What a node's log says when the SuperLink has let it in."""

ADDRESS = "address.json"
"""Of a trial: port and host with which it was last brought up."""

KEY, NODE = "key", "node"
"""Of a device: its private key, and the number by which Flower knows it."""

MARK = "IOTLAM_TRIAL"
"""In the environment of what was started: which part of which trial it belongs to."""

BUNDLE = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "iotlam-rounds"
version = "0.1.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41,<1.43"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "iotlam"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "rounds.apps:server"
clientapp = "rounds.apps:client"

[tool.flwr.app.config]
folder = ""
"""

APPS = """from iotlam.federated import deployed

client = deployed.client
server = deployed.server
"""
"""Flower looks for assignments."""

CONNECTION = """[superlink]
default = "trial"

[superlink.trial]
address = "{address}"
root-certificates = "{certificate}"
"""

START = """#!/bin/sh
# SuperNode of device '{name}'. Have the system start it again when it ends; options of flower-supernode may follow.
cd "$(dirname "$0")" || exit
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
exec flower-supernode --superlink {address} --root-certificates ca.crt --auth-supernode-private-key key \\
  --node-config "{device}=\\"{name}\\" {folder}=\\"$PWD\\"" "$@"
"""
"""What a device on a host of its own is started with, in its folder."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a trial keeps its certificates, keys, logs and processes.

    Attributes:
        run: folder of the run.
        port: of the SuperLink.
        host: by which name or address devices on other hosts reach it; `HOST` where all are on this machine.
    """

    run: Path
    port: int = 8000
    host: str = HOST

    @classmethod
    def of(cls, run: Path, port: int | None = None, host: str = "") -> Trial:
        """The trial of a run, where it was last brought up unless port or host say otherwise."""
        usual = cls(run)
        kept = usual.folder / ADDRESS
        before = json.loads(kept.read_text()) if kept.exists() else {}
        return cls(run, port or before.get("port", usual.port), host or before.get("host", usual.host))

    @property
    def elsewhere(self) -> bool:
        """Whether devices are on hosts of their own."""
        return self.host != HOST

    @property
    def folder(self) -> Path:
        """All that is only of the trial."""
        return self.run / "flower"

    @property
    def processes(self) -> Path:
        """What was started: process id and when it began, by name."""
        return self.folder / "processes.json"

    def up(self, plan: Plan) -> None:
        """Start SuperLink and SuperNodes, and have the run begun; of a trial that is up, what has died.

        Where devices are elsewhere only the SuperLink is started, and folders are written for their hosts. The first
        round begins when all devices are there, or after `deadline_s` when `at_least` are, as does a run that goes on.

        Raises:
            BadInput: if all of it is up already, a port is taken, data of a device are not where it is started, another
                process leads the run, or the folder holds another plan.
            IotlamError: if a part of Flower does not start.
        """
        self._check(plan)
        running = self.running()
        ports = {LINK: self.port}
        if not self.elsewhere:
            ports |= {device.name: self.port + place for place, device in enumerate(plan.devices, 1)}
        missing = {name: port for name, port in ports.items() if name not in running}
        if not missing:
            fix = f"run: iotlam federated down {self.run}"
            raise BadInput(str(self.run), expected="a run that is not up", got="one that is", fix=fix)
        if LINK in running and f'"{HOST}:{self.port}"' not in self._connection.read_text():
            fix = "give the one that it was brought up with"
            raise BadInput("--port", expected="that of the SuperLink that is up", got=str(self.port), fix=fix)
        for name in missing:
            self.kill(name)  # children outlive a parent that was killed
        if LINK in missing:
            check_unled(self.run / JOURNAL)
        if taken := [port for port in missing.values() if not free(port)]:
            raise BadInput("--port", expected="free ports", got=f"{taken[0]}, in use", fix="name another")
        self.folder.mkdir(parents=True, exist_ok=True)
        keep(plan, self.run)
        self._write_bundle()
        with whole_file(self.folder / ADDRESS) as partial:
            partial.write_text(json.dumps({"port": self.port, "host": self.host}))
        try:
            if certify(self.folder, tuple(dict.fromkeys((self.host, *HOSTS)))) and running:
                self.kill()
                missing = ports
            self._start_parts(missing, plan)
        except BaseException:
            self.down(*missing)
            raise

    def _check(self, plan: Plan) -> None:
        """Refuse what cannot be brought up, whatever is up already."""
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", self.host):
            got = f"'{self.host}'"
            raise BadInput("--host", expected="a name or an IPv4 address", got=got, fix="name one, no port")
        if (last := self.port + len(plan.devices)) > LAST_PORT:
            raise BadInput("--port", expected=f"ports up to {LAST_PORT}", got=str(last), fix="name a lower one")
        plan.config_for({})  # refuses a plan that lacks the devices' bounds
        plan.planner(plan.task())  # and one whose base, app or radio is not there
        if not self.elsewhere:
            plan.check_data()
        if (self.run / PLAN).exists() and (self.run / PLAN).read_text() != plan.to_json():
            fix = "give another --out, or the same plan to go on"
            raise BadInput(str(self.run), expected="an empty folder or the same plan", got="another plan", fix=fix)

    def _start_parts(self, missing: Mapping[str, int], plan: Plan) -> None:
        nodes = {name: port for name, port in missing.items() if name != LINK}
        if LINK in missing:
            self._start_link()
        before = {name: self._activations(name) for name in nodes}
        for name, port in nodes.items():
            self.start_node(name, port)
        if self.elsewhere:
            for device in plan.devices:
                self._hand_out(device.name, plan)
        if LINK in missing:  # a run does not outlive its SuperLink
            folder = f"{FOLDER}={json.dumps(str(self.run.absolute()))}"
            self._flwr("run", str(self.folder / "app"), "trial", "-c", folder)
        deadline = time.monotonic() + NODES_S
        while waiting := [name for name in nodes if self._activations(name) == before[name]]:
            if time.monotonic() > deadline:
                log = self._log(waiting[0])
                raise IotlamError(f"SuperNode '{waiting[0]}': expected it to be let in, got nothing; see {log}.")
            for name in set(waiting) - self.running().keys():
                self.start_node(name, nodes[name])
            time.sleep(1.0)

    @property
    def _connection(self) -> Path:
        """Flower's own note of where the SuperLink is."""
        return self.folder / "home" / "config.toml"

    def _activations(self, name: str) -> int:
        """How often a node was let in."""
        log = self._log(name)
        return log.read_text(errors="replace").count(LET_IN) if log.exists() else 0

    def down(self, *names: str) -> list[str]:
        """Stop some parts, or all that was started, with what they have started; returns their names."""
        found = {name: pid for name, pid in self.running().items() if not names or name in names}
        for pid in found.values():
            signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while found.keys() & self.running().keys() and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in names or ("",):  # Flower's own children ignore the gentler signal, and outlive their parents
            self.kill(name)
        if not names:
            self.processes.unlink(missing_ok=True)
        return list(found)

    def running(self) -> dict[str, int]:
        """What was started and still runs: process ids by name."""
        if not self.processes.exists():
            return {}
        known: dict[str, tuple[int, int]] = json.loads(self.processes.read_text())
        return {name: pid for name, (pid, then) in known.items() if began(pid) == then != -1}

    def kill(self, name: str = "") -> None:
        """Kill -9 one part of this trial, or all, with everything that it has started; returns when they are gone."""
        deadline, killed = time.monotonic() + STOP_S, set[int]()
        while (found := self._belonging(name)) or not all(map(over, killed)):
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            killed.update(found)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)

    def _belonging(self, name: str) -> list[int]:
        """Process ids of one part and its children, or of all: they carry the mark."""
        mark, found = f"{MARK}={self.folder.absolute()}/{name}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                marks = [one for one in (entry / "environ").read_bytes().split(b"\0") if one.startswith(mark)]
            except OSError:  # another user's, or gone
                continue
            if marks and (not name or marks[0] == mark):
                found.append(int(entry.name))
        return found

    def start_node(self, name: str, port: int, device: str = "") -> None:
        """Start a SuperNode; its key is made and registered where it has none.

        Args:
            name: that its key is registered under, by which rounds know it.
            port: of its own.
            device: that it says it is; '' for its name.
        """
        self._start(
            name,
            "flower-supernode",
            *("--superlink", f"{HOST}:{self.port}", "--root-certificates", str(self.folder / "ca.crt")),
            *("--auth-supernode-private-key", str(self._key(name)), "--host", HOST, "--port", str(port)),
            *(
                "--node-config",
                f"{DEVICE}={json.dumps(device or name)} {FOLDER}={json.dumps(str(self.run.absolute()))}",
            ),
        )

    def rekey(self, name: str) -> Path | None:
        """Take a device's key back, as of one that was stolen, and give it another; the old one is let in no more.

        A SuperNode of this machine is stopped; `up` starts it with its new key.

        Returns:
            The new key, where the device is on a host of its own and needs it there.

        Raises:
            BadInput: if no device of that name has a key, or the SuperLink is not up.
            IotlamError: if Flower does not do it.
        """
        names = [device.name for device in read_plan(self.run).devices]
        if name not in names:
            raise BadInput(f"Device '{name}'", expected=" or ".join(names), got="none of that name", fix="correct it")
        if LINK not in self.running():
            fix = "bring it up, with 'iotlam federated up'"
            raise BadInput(str(self.run), expected="a run that is up", got="one that is not", fix=fix)
        self.down(name)
        place = self._place(name)
        if (place / NODE).exists():
            node = (place / NODE).read_text()
            nodes = json.loads(self._flwr("supernode", "list", "trial", "--format", "json"))["nodes"]
            if any(one["node-id"] == node and one["status"] != "unregistered" for one in nodes):
                self._flwr("supernode", "unregister", node, "trial")
        (place / KEY).unlink(missing_ok=True)  # until here it can be done again
        key, there = self._key(name), self.handed_out(name)
        return Path(shutil.copy(key, there / KEY)) if there.exists() else None

    def _place(self, name: str) -> Path:
        """Of a device's key, and of the number by which Flower knows it."""
        return self.folder / "nodes" / name

    def _key(self, name: str) -> Path:
        """A device's private key; made and registered where there is none."""
        place = self._place(name)
        key, new = place / KEY, place / f".{KEY}.new"
        if not key.exists():
            place.mkdir(parents=True, exist_ok=True)
            make_key(new)
            said = self._flwr("supernode", "register", f"{new}.pub", "trial", "--name", name, "--format", "json")
            (place / NODE).write_text(str(json.loads(said)["node-id"]))
            Path(f"{new}.pub").replace(f"{key}.pub")
            new.replace(key)  # last: it says that the key is registered
        return key

    def handed_out(self, name: str) -> Path:
        """The folder that a device's host gets."""
        return self.folder / "hosts" / name

    def _hand_out(self, name: str, plan: Plan) -> None:
        """Write what a device's host needs: plan, base model, the server's authority, its own key, what starts it."""
        there = self.handed_out(name)
        there.mkdir(parents=True, exist_ok=True, mode=0o700)
        for source, copy in ((self.folder / "ca.crt", "ca.crt"), (self._key(name), KEY)):
            shutil.copy(source, there / copy)
        if plan.base:
            shutil.copytree(plan.base, there / "base", dirs_exist_ok=True)
        (there / PLAN).write_text((plan.changed(base="base") if plan.base else plan).to_json())
        start = there / "start.sh"
        start.write_text(START.format(name=name, address=f"{self.host}:{self.port}", device=DEVICE, folder=FOLDER))
        start.chmod(0o700)

    def _write_bundle(self) -> None:
        """Flower's bundle: it only names apps that are installed with iotlam."""
        package = self.folder / "app" / "rounds"
        package.mkdir(parents=True, exist_ok=True)
        (package.parent / "pyproject.toml").write_text(BUNDLE)
        (package.parent / "LICENSE").write_text("Apache-2.0\n")
        (package / "__init__.py").write_text("")
        (package / "apps.py").write_text(APPS)

    def _start_link(self) -> None:
        self._connection.parent.mkdir(exist_ok=True)
        connection = CONNECTION.format(address=f"{HOST}:{self.port}", certificate=(self.folder / "ca.crt").absolute())
        self._connection.write_text(connection)
        link = self._start(
            LINK,
            "flower-superlink",
            *(
                "--host",
                ANY_HOST if self.elsewhere else HOST,
                "--port",
                str(self.port),
                "--database",
                str(self.folder / "superlink.db"),
            ),
            *("--ssl-certfile", str(self.folder / "server.crt"), "--ssl-keyfile", str(self.folder / "server.key")),
            *("--ssl-ca-certfile", str(self.folder / "ca.crt")),
            *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        )
        self._wait_for(link)

    def _wait_for(self, link: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and link.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.2)
        log = self._log(LINK)
        raise IotlamError(f"SuperLink: expected it to listen within {START_S:.0f} s, got nothing; see {log}.")

    def _start(self, name: str, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [_tool(command), *arguments],
                stdout=log,
                stderr=log,
                env=self._environment(name),
                start_new_session=True,
            )
        known = json.loads(self.processes.read_text()) if self.processes.exists() else {}
        with whole_file(self.processes) as partial:
            partial.write_text(json.dumps({**known, name: (process.pid, began(process.pid))}))
        return process

    def _flwr(self, *arguments: str) -> str:
        """Carry out a command of Flower's; returns what it prints."""
        found = subprocess.run([_tool("flwr"), *arguments], capture_output=True, text=True, env=self._environment())
        if found.returncode:
            said = " ".join((found.stderr or found.stdout).split())[-300:]
            raise IotlamError(
                f"flwr {arguments[0]}: expected it to be done, got '{said}'; see the logs in {self.folder}."
            )
        return found.stdout

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _environment(self, name: str = "flwr") -> dict[str, str]:
        home = str((self.folder / "home").absolute())
        path = (
            f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # Flower starts its own commands
        )
        ours = {"PATH": path, "FLWR_HOME": home, "NO_COLOR": "1"}
        return os.environ | QUIET | ours | {MARK: f"{self.folder.absolute()}/{name}"}


def _tool(name: str) -> str:
    """A command of Flower's, beside the Python that runs this."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise IotlamError(
            f"{name}: expected to be installed, got no such command; run: pip install 'iotlam[federated]'."
        )
    return found
