"""A process of its own for the plugin under check: whatever it does, the kit goes on."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iotlam.conformance.catalog import Check, Failed, NotApplicable, all_checks
from iotlam.conformance.results import Result
from iotlam.conformance.target import Target
from iotlam.contracts import BadInput, IotlamError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

START_LIMIT_S = 120.0


class Worker:
    """Runs checks of one modality in another process, and starts a new one where that dies or hangs.

    Args:
        target: the modality.
        limit_s: how long one check may take.
    """

    def __init__(self, target: Target, limit_s: float) -> None:
        self._target, self._limit_s = target, limit_s
        self._tmp = tempfile.TemporaryDirectory(prefix="iotlam-check-", ignore_cleanup_errors=True)
        self._process: Any = None
        self._starts = 0

    def run(self, check: Check) -> Result:
        """What a check finds."""
        if self._process is None:
            self._start()
        start = time.perf_counter()
        try:
            self._pipe.send(check.name)
            if self._pipe.poll(self._limit_s):
                return Result.from_raw(self._pipe.recv(), "Result")
            got = f"no end within {self._limit_s:g} s"
        except (EOFError, OSError):
            got = "the end of the whole process"
        self._stop()
        reason = sentence(self._target.name, Failed(check.name, expected="the check to end", got=got, fix=FIXES[0]))
        return Result(check.name, check.area, check.tier, "failed", reason, seconds=time.perf_counter() - start)

    def close(self) -> None:
        """End the process and remove its files."""
        self._stop()
        self._tmp.cleanup()

    def _start(self) -> None:
        context = clean_context()
        self._pipe, theirs = context.Pipe()
        self._starts += 1
        folder = Path(self._tmp.name).resolve() / str(self._starts)
        folder.mkdir()
        self._process = context.Process(target=_serve, args=(theirs, self._target, folder), daemon=True)
        self._process.start()
        theirs.close()
        try:
            started = self._pipe.poll(START_LIMIT_S) and self._pipe.recv()
        except EOFError:
            started = False
        if not started:
            self._stop()
            raise BadInput(
                "Conformance kit",
                expected="a process of its own to start",
                got="none",
                fix="call it under: if __name__ == '__main__'",
            )

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


FIXES = ("find the loop, wait or exit in the plugin and remove it", "mend the plugin so that the check can run")


def sentence(name: str, failed: Failed) -> str:
    """What a check found wrong, with the name of the modality."""
    return f"Modality plugin '{name}', {failed}."


def clean_context() -> SpawnContext | ForkServerContext:
    """A server that has loaded torch and forks a clean worker in milliseconds; else new interpreters."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iotlam.conformance.preload"])
    return context


def _serve(pipe: Connection, target: Target, folder: Path) -> None:
    """Main function of the worker: names of checks come in, results go out."""
    import torch

    from iotlam.conformance import preload  # noqa: F401  (where there is no server that has loaded it)
    from iotlam.conformance.subject import Subject
    from iotlam.conformance.watch import Watch

    torch.set_num_threads(1)
    checks = all_checks()
    subject = Subject(target, Watch(folder))
    subject.watch.begin()
    pipe.send("ready")
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        pipe.send(run_check(checks[name], subject).to_raw())


def run_check(check: Check, subject: Any) -> Result:
    """Run a check in this process; every way to fail becomes a result."""
    start, forbidden = time.perf_counter(), subject.watch.forbidden
    status, reason, facts = "passed", "", {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            facts = dict(check.body(subject) or {})
    except NotApplicable as error:
        status, reason = "not applicable", str(error)
    except BaseException as error:  # the plugin may raise anything, and the next check must run
        status, reason = "failed", _explained(check, subject.name, error)
        if subject.watch.forbidden > forbidden and check.area != "isolation":
            status, reason = "blocked", f"the plugin tried what it may not: {subject.watch.latest}"
    seconds = time.perf_counter() - start
    return Result.from_raw(
        {
            "check": check.name,
            "area": check.area,
            "tier": check.tier,
            "status": status,
            "reason": reason,
            "facts": {name: float(value) for name, value in facts.items()},
            "seconds": seconds,
        },
        "Result",
    )


def _explained(check: Check, name: str, error: BaseException) -> str:
    if isinstance(error, Failed):
        return sentence(name, error)
    if isinstance(error, IotlamError):
        return str(error)
    got = f"{type(error).__name__}: {error}"
    return sentence(name, Failed(check.name, expected="the check to run", got=got, fix=FIXES[1]))
