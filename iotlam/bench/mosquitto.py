"""A Mosquitto of one's own on this machine: for tests and measurements, which kill it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from iotlam.contracts import BadInput

UP_S = 10.0
OPEN = "allow_anonymous true\n"


class Mosquitto:
    """A broker without persistence: what it holds is lost when it dies.

    Args:
        folder: of its configuration.
        more: lines of configuration, for instance who may connect.

    Raises:
        BadInput: if Mosquitto is not installed.
    """

    def __init__(self, folder: Path, more: str = OPEN) -> None:
        self._program = find_mosquitto()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nmax_queued_messages 0\n{more}", encoding="utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """For `MqttTransport`."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process; it must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_down(self) -> bool:
        """Whether it has been killed, or not been started."""
        return self._process is None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            BadInput: if it does not.
        """
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise BadInput("Mosquitto", expected=f"an answer in {UP_S:g} s", got="none", fix=f"try: {self._program} -h")

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def find_mosquitto() -> str:
    """Where the program lies.

    Raises:
        BadInput: if it is not installed.
    """
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        fix = "apt-get install mosquitto"
        raise BadInput("Mosquitto", expected="the broker, version 2", got="not installed", fix=fix)
    return program
