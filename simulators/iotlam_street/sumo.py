"""SUMO is started, stepped and stopped here: libsumo in this process, or TraCI to a process of its own."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from iotlam.contracts import BadInput, IotlamError, MissingExtra
from iotlam_street.scenarios import Scenario

Engine = Literal["libsumo", "traci"]
"""libsumo is fast, one simulation per process; TraCI is slower, for several at once and for the window."""

MEMORY_S = 1000
"""How far back SUMO adds up the time that a vehicle stood, where somebody asks for it; its own default is 100 s."""

OLDEST = (1, 28)
"""The oldest SUMO whose results are ours: earlier ones differ by a quarter in delay."""

PACKAGES: dict[Engine, tuple[str, ...]] = {"libsumo": ("libsumo",), "traci": ("traci", "eclipse-sumo")}

_running = False
_labels = itertools.count()


def load_libsumo() -> Any:
    """Import libsumo on first use.

    Raises:
        MissingExtra: if it is not installed.
    """
    return _load("libsumo")


def sumo_program(name: str) -> Path:
    """A program of SUMO's: `sumo`, `sumo-gui`, `netconvert`, `netgenerate`.

    Raises:
        MissingExtra: if SUMO is not installed.
    """
    spec = importlib.util.find_spec("sumo")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("eclipse-sumo", "traffic")
    return Path(spec.submodule_search_locations[0]) / "bin" / name


def run_program(name: str, arguments: Sequence[str]) -> None:
    """Run a program of SUMO's to its end.

    Raises:
        MissingExtra: if SUMO is not installed.
        IotlamError: if it fails.
    """
    done = subprocess.run([str(sumo_program(name)), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = _first_error(done.stderr) or f"exit status {done.returncode}"
        raise IotlamError(f"{name}: expected it to succeed, got: {reason}; change the seed.")


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
        engine: libsumo, or TraCI.
        gui: open SUMO's window; needs TraCI and a screen.
        list_trips: have SUMO list every trip, which costs a seventh of its time.

    Attributes:
        engine: which of the two.
        api: libsumo or the TraCI connection, with this simulation loaded.
        time_s: simulated time.
        tripinfo: where SUMO lists its trips once it is closed, if it does.

    Raises:
        BadInput: if SUMO cannot load the net or the routes, or a window is asked of libsumo.
        IotlamError: if libsumo already runs a simulation.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        additional: Sequence[Path] = (),
        engine: Engine = "libsumo",
        gui: bool = False,
        list_trips: bool = False,
    ) -> None:
        global _running
        if engine == "libsumo" and _running:
            raise IotlamError("SUMO: expected no other simulation in this process, got a running one; close it first.")
        if gui and engine == "libsumo":
            raise BadInput("gui", expected="engine 'traci'", got="'libsumo', which has no window", fix="name it")
        if gui and sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise BadInput(
                "--gui", expected="a screen (DISPLAY)", got="none", fix="leave it away, or forward one to here"
            )
        self.scenario, self.time_s, self.engine = scenario, scenario.begin_s, engine
        self.api = _load(engine)
        self._folder = tempfile.TemporaryDirectory(prefix="iotlam-sumo-")
        self.tripinfo = Path(self._folder.name) / "tripinfo.xml"
        self._log = (Path(self._folder.name) / "errors.txt").open("a+", errors="replace")
        self._reason = ""
        self._open = True
        if engine == "libsumo":
            _running = True
        try:
            with self.quiet():
                self._start(self._arguments(seed, additional, list_trips), gui)
        except Exception as error:  # SUMO's interfaces raise their own types and RuntimeError alike
            self.discard()
            raise self._refused(error) from error
        # Closed by whoever drops it without closing.
        self._forgotten = weakref.finalize(self, _forget if engine == "libsumo" else self.api.close)

    def _start(self, arguments: list[str], gui: bool) -> None:
        if self.engine == "libsumo":
            self.api.start(["sumo", *arguments])
            return
        label = f"iotlam-{next(_labels)}"
        program = str(sumo_program("sumo-gui" if gui else "sumo"))
        with redirect_stdout(io.StringIO()):  # where TraCI says that SUMO is not ready yet
            self.api.start([program, *arguments, *(["--start", "--quit-on-end"] if gui else [])], label=label)
        self.api = self.api.getConnection(label)

    def _arguments(self, seed: int, additional: Sequence[Path], list_trips: bool) -> list[str]:
        scenario = self.scenario
        arguments = ["-n", str(scenario.net), "-r", ",".join(map(str, scenario.routes))]
        if files := [*scenario.additional, *additional]:
            arguments += ["-a", ",".join(map(str, files))]
        arguments += ["-b", str(scenario.begin_s), "-e", str(scenario.end_s), "--seed", str(seed)]
        arguments += ["--time-to-teleport", "-1", "--no-step-log", "--no-warnings", "--duration-log.disable"]
        arguments += ["--waiting-time-memory", str(MEMORY_S)]
        arguments += ["--device.tripinfo.probability", "1", "--precision", "3"]  # milliseconds, SUMO's unit of time
        listing = ["--tripinfo-output", str(self.tripinfo), "--tripinfo-output.write-unfinished"]
        return [*arguments, *(listing if list_trips else [])]

    def gone(self, error: BaseException | None) -> IotlamError | None:
        """What to say if the error means that the process behind TraCI is no more, else None."""
        if self.engine == "libsumo" or type(error).__name__ != "FatalTraCIError":
            return None
        end_s, now_s = self.scenario.end_s, self.time_s
        return IotlamError(f"SUMO: expected it to run to {end_s:g} s, got its end at {now_s:g} s; start it again.")

    def _refused(self, error: Exception) -> IotlamError:
        gone = self.gone(error)
        if gone and not self._reason:
            return gone
        files = " with ".join([self.scenario.net.name, *(path.name for path in self.scenario.routes)])
        lines = (self._reason or str(error)).splitlines() or [type(error).__name__]
        got = lines[0].strip(" .;")
        fix = "check that the routes belong to this net" if "not known" in got else "mend what SUMO names"
        return BadInput(files, expected="a net and routes that SUMO can load", got=got, fix=fix)

    def quiet(self) -> AbstractContextManager[None]:
        """Meanwhile, keep from the user what SUMO prints; it is worth a call for many seconds, not for each."""
        return _stderr_to(self._log.fileno())

    def run_to(self, time_s: float) -> None:
        """Advance, by steps of one second, to a later time; call it within `quiet`.

        Raises:
            BadInput: if SUMO stops on bad demand (routes are read as they come due).
            IotlamError: if SUMO is gone.
        """
        try:
            self.api.simulationStep(time_s)
        except Exception as error:
            self.discard()
            raise self._refused(error) from error
        self.time_s = time_s

    def close(self) -> None:
        """End the simulation; SUMO writes its outputs then."""
        global _running
        if not self._open:  # another one may be running by now
            return
        self._log.seek(0)
        self._reason = _first_error(self._log.read())
        try:
            with self.quiet():
                self.api.close()
        except Exception as error:  # a simulation that failed to load has nothing to close
            self._reason = self._reason or ("" if self.engine == "traci" else str(error))
        finally:
            self._open = False
            self._log.close()
            if self.engine == "libsumo":
                _running = False
            if hasattr(self, "_forgotten"):
                self._forgotten.detach()

    def discard(self) -> None:
        """Close and delete the outputs."""
        self.close()
        self._folder.cleanup()


def _load(engine: Engine) -> Any:
    for package in PACKAGES[engine]:
        check_version(package)
    try:
        return importlib.import_module(engine)
    except ImportError as error:
        raise MissingExtra(engine, "traffic") from error


@lru_cache
def check_version(package: str) -> None:
    """Refuse a package of SUMO's that is too old; one that pip has not installed is taken as it is.

    Raises:
        BadInput: if it is older than `OLDEST`.
    """
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BadInput(
            package, expected=f"SUMO {oldest} or newer", got=version, fix=f"pip install '{package}>={oldest}'"
        )


def _forget() -> None:
    """End the simulation of an object that is gone."""
    global _running
    load_libsumo().close()
    _running = False


def _first_error(said: str) -> str:
    lines = said.splitlines()
    return next((line.removeprefix("Error:").strip(" .") for line in lines if line.startswith("Error:")), "")


@contextmanager
def _stderr_to(descriptor: int) -> Iterator[None]:
    """Send the process's stderr to an open file: SUMO prints its complaints there, and we say them in our words."""
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
