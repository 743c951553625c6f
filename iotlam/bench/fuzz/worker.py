"""Reading one file after another in a process of its own, with a limit of time and a gauge of memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from iotlam.conformance.worker import clean_context
from iotlam.contracts import IotlamError, PluginError
from iotlam.plugins import LoadedModality, load

MOST_ADDRESS_BYTES = 4 << 30
"""Address space a case may claim, touched or not: beyond it an allocation fails, which counts as a crash."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file.

    Attributes:
        kind: it gave frames such as the manifest says, it was refused by an error of ours, or anything else happened.
        text: the error, "" for frames.
        peak_bytes: the most memory that reading took.
    """

    kind: Literal["frames", "refused", "crash"]
    text: str
    peak_bytes: int


class ReaderProcess:
    """A process that reads files of one modality; one that dies or hangs is replaced."""

    def __init__(self, modality: str, limit_s: float) -> None:
        """Say what to read.

        Args:
            modality: name of the modality.
            limit_s: the most time that one file may take.
        """
        self._modality, self._limit_s = modality, limit_s

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def read(self, path: Path) -> Outcome:
        """Read a file to its end."""
        try:
            self._pipe.send(path)
            if self._pipe.poll(self._limit_s):
                outcome: Outcome = self._pipe.recv()
                return outcome
            text = f"no end after {self._limit_s:g} s"
        except (EOFError, ConnectionError):
            self._process.join(5.0)
            text = f"the process died with exit code {self._process.exitcode}"
        self._stop()
        self._start()
        return Outcome("crash", text, 0)

    def _start(self) -> None:
        context = clean_context()
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._modality), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # the plugin is loaded: from here on the clock runs

    def _stop(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, modality: str) -> None:
    """Answer every path with an outcome until the other end goes away."""
    plugin = load(modality)
    warnings.simplefilter("error", RuntimeWarning)  # numpy's, of numbers that a reader did not look at
    gauge = MemoryGauge()
    _limit_address_space()
    gc.collect()
    gc.freeze()  # only what a case leaves is looked through between cases
    pipe.send("ready")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        gc.collect()
        gauge.start()
        kind, text = _read(plugin, path)
        pipe.send(Outcome(kind, text, gauge.peak_bytes()))


def _read(plugin: LoadedModality, path: Path) -> tuple[Literal["frames", "refused", "crash"], str]:
    wanted, shapes = plugin.manifest, set()
    try:
        for frame in plugin.read(path):
            shapes.add((str(frame.data.dtype), frame.data.ndim))
    except PluginError as error:  # the registry's word for whatever a reader should not raise
        return "crash", str(error)
    except IotlamError as error:
        return "refused", str(error)
    except BaseException as error:
        return "crash", f"{type(error).__name__}: {error}"
    if shapes != {(wanted.dtype, len(wanted.dims))}:
        return "crash", f"frames of {shapes or 'nothing'} instead of {wanted.dtype} ({', '.join(wanted.dims)})"
    return "frames", ""


def _limit_address_space() -> None:
    if not sys.platform.startswith("linux"):
        return
    import resource

    used = _status_bytes("VmSize")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_ADDRESS_BYTES, hard))


class MemoryGauge:
    """The most memory taken since `start`.

    On Linux this is the high-water mark of the resident memory, which counts libraries in C too; elsewhere what
    Python and numpy allocate.
    """

    def __init__(self) -> None:
        self._resident = _forget_high_water()
        self._before = 0

    def start(self) -> None:
        """Begin anew; memory that earlier work has freed is given back first, so that taking it again counts."""
        if self._resident:
            _give_back()
            _forget_high_water()
            self._before = _status_bytes("VmRSS")
        else:
            tracemalloc.start()

    def peak_bytes(self) -> int:
        """The most that was taken."""
        if self._resident:
            return max(_status_bytes("VmHWM") - self._before, 0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak


def _forget_high_water() -> bool:
    """Set the high-water mark back to what is resident now; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))
