"""Seeing what a plugin does to the machine. For a process of its own: an audit hook cannot be taken away."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NETWORK = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
           "socket.gethostbyname", "socket.gethostbyaddr"}  # fmt: skip
PROCESSES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
# Where the arguments of an event hold a path, and the folder's descriptor that it may be relative to.
PATHS = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),),
    "os.truncate": ((0, None),),
    "sqlite3.connect": ((0, None),),
}


class Watch:
    """Records and forbids network, processes and writing outside one temporary folder; catches what is printed.

    What C code does without Python's knowledge is not seen.

    Attributes:
        tmp: the folder that may be written to.
        network, processes, writes: what was tried, each in a few words.
        pickles: classes that a pickle named.
        latest: the last thing that was tried and is not allowed.

    Args:
        tmp: an absolute path.
    """

    def __init__(self, tmp: Path) -> None:
        self.tmp, self.latest = tmp, ""
        self.network: list[str] = []
        self.processes: list[str] = []
        self.writes: list[str] = []
        self.pickles: list[str] = []
        self._output = os.open(self.tmp / ".output", os.O_CREAT | os.O_RDWR)

    def begin(self) -> None:
        """Turn to the temporary folders, catch the output and start watching."""
        work = self.tmp / "work"
        work.mkdir()
        os.chdir(work)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.tmp)
        sys.dont_write_bytecode = True
        for descriptor in (1, 2):
            os.dup2(self._output, descriptor)
        sys.addaudithook(self._see)

    @property
    def forbidden(self) -> int:
        """How much was tried that is not allowed."""
        return len(self.network) + len(self.processes) + len(self.writes)

    def output(self) -> str:
        """All that was printed so far."""
        sys.stdout.flush()
        sys.stderr.flush()
        return os.pread(self._output, 100_000, 0).decode("utf-8", "replace")

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event in NETWORK:
            self._forbid(
                self.network, f"{event.partition('.')[2]} {args[-1] if event == 'socket.connect' else args[0]}"
            )
        elif event in PROCESSES:
            self._forbid(self.processes, f"{event} {args[0] if args else ''}".strip())
        elif event == "pickle.find_class":
            self.pickles.append(".".join(map(str, args)))
        elif event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            self._see_path(args[0])
        elif event in PATHS:
            for path, folder in PATHS[event]:
                self._see_path(args[path], -1 if folder is None else args[folder])

    def _see_path(self, path: Any, folder: int = -1) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        base = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else ""
        place = os.path.abspath(os.path.join(base, os.fsdecode(path)))
        work = str(self.tmp / "work")
        inside = place.startswith(f"{self.tmp}{os.sep}") and not place.startswith(work)
        if not inside and not place.startswith("/dev/"):
            # The working folder stands for the user's: a plugin must not leave files there either.
            self._forbid(self.writes, place.replace(work, "the working folder"))

    def _forbid(self, record: list[str], what: str) -> None:
        self.latest = what
        record.append(what)
        raise PermissionError(f"not allowed to a modality: {what}")


def anonymous_kb(field: str) -> int | None:
    """A figure of /proc/self/status in kB, None where there is no such file (not Linux)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def private_mb() -> float | None:
    """Memory of this process without files mapped into it, megabytes."""
    kilobytes = anonymous_kb("RssAnon")
    return None if kilobytes is None else kilobytes / 1024


def peak_private_mb() -> float | None:
    """The most that `private_mb` has been, as far as it can be told: mapped files only grow."""
    peak, mapped, shared = (anonymous_kb(field) for field in ("VmHWM", "RssFile", "RssShmem"))
    return None if peak is None or mapped is None or shared is None else (peak - mapped - shared) / 1024


@contextmanager
def open_files() -> Iterator[list[int]]:
    """Counts the files that a block leaves open; the list holds the one number at the end (empty: cannot be told)."""
    counts: list[int] = []
    folder = Path("/proc/self/fd")
    before = len(os.listdir(folder)) if folder.exists() else None
    yield counts
    if before is not None:
        counts.append(len(os.listdir(folder)) - before)
