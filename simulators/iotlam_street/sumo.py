"""SUMO is started, stepped and stopped here: libsumo in this process, one simulation at a time."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iotlam.contracts import BadInput, IotlamError, MissingExtra
from iotlam_street.scenarios import Scenario

_running = False


def load_libsumo() -> Any:
    """Import libsumo on first use.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return importlib.import_module("libsumo")
    except ImportError as error:
        raise MissingExtra("libsumo", "traffic") from error


class Sumo:
    """A running SUMO simulation.

    libsumo holds one simulation per process, so a second one is refused until this one is closed.

    In a fresh process a seed decides everything. In one that has run other simulations the same seed can
    take another course after some minutes: SUMO 1.28 settles who yields inside a junction by the order of
    objects in memory, even without us. Figures to be repeated exactly are made in fresh processes.

    Args:
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        additional: further SUMO input files, e.g. an actuated program.

    Raises:
        BadInput: if SUMO cannot load the net or the routes.
        IotlamError: if this process already runs a simulation.
    """

    def __init__(self, scenario: Scenario, seed: int, additional: Sequence[Path] = ()) -> None:
        global _running
        if _running:
            raise IotlamError("SUMO: expected no other simulation in this process, got a running one; close it first.")
        self.scenario = scenario
        self.api = load_libsumo()
        self._folder = tempfile.TemporaryDirectory(prefix="iotlam-sumo-")
        self._forgotten = weakref.finalize(self, _forget)  # closed by whoever drops it without closing
        self.tripinfo = Path(self._folder.name) / "tripinfo.xml"
        self._log = Path(self._folder.name) / "errors.txt"
        self._reason = ""
        self._open = _running = True
        try:
            with _stderr_to(self._log):
                self.api.start(self._arguments(seed, additional))
        except Exception as error:  # libsumo raises its own types and RuntimeError alike
            self.discard()
            raise self._refused(error) from error

    def _arguments(self, seed: int, additional: Sequence[Path]) -> list[str]:
        scenario = self.scenario
        arguments = ["sumo", "-n", str(scenario.net), "-r", ",".join(map(str, scenario.routes))]
        if files := [*scenario.additional, *additional]:
            arguments += ["-a", ",".join(map(str, files))]
        arguments += ["-b", str(scenario.begin_s), "-e", str(scenario.end_s), "--seed", str(seed)]
        arguments += ["--time-to-teleport", "-1", "--no-step-log", "--no-warnings", "--duration-log.disable"]
        return [*arguments, "--tripinfo-output", str(self.tripinfo), "--tripinfo-output.write-unfinished"]

    def _refused(self, error: Exception) -> BadInput:
        files = " with ".join([self.scenario.net.name, *(path.name for path in self.scenario.routes)])
        lines = (self._reason or str(error)).splitlines() or [type(error).__name__]
        got = lines[0].strip(" .;")
        fix = "check that the routes belong to this net" if "not known" in got else "mend what SUMO names"
        return BadInput(files, expected="a net and routes that SUMO can load", got=got, fix=fix)

    def step(self) -> None:
        """Advance by one second.

        Raises:
            BadInput: if SUMO stops on bad demand (routes are read as they come due).
        """
        try:
            with _stderr_to(self._log):
                self.api.simulationStep()
        except Exception as error:
            self.discard()
            raise self._refused(error) from error

    def close(self) -> None:
        """End the simulation; SUMO writes its outputs then."""
        global _running
        if not self._open:  # another one may be running by now
            return
        self._reason = _first_error(self._log)
        try:
            with _stderr_to(self._log):
                self.api.close()
        except Exception as error:  # a simulation that failed to load has nothing to close
            self._reason = self._reason or str(error)
        finally:
            self._open = _running = False
            self._forgotten.detach()

    def discard(self) -> None:
        """Close and delete the outputs."""
        self.close()
        self._folder.cleanup()


def _forget() -> None:
    """End the simulation of an object that is gone."""
    global _running
    load_libsumo().close()
    _running = False


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.removeprefix("Error:").strip(" .") for line in lines if line.startswith("Error:")), "")


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Send the process's stderr to a file: SUMO prints its complaints there, and we say them in our words."""
    sys.stderr.flush()
    saved = os.dup(2)
    with path.open("a") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
