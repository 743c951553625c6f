"""Futures of a running simulation, each in a fork of the process."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from iotlam.contracts import BadInput, IotlamError
from iotlam_street.sumo import Sumo

AT_ONCE = 2
"""Futures that run at the same time."""


def run_forked(futures: Sequence[Callable[[], float]], sumo: Sumo) -> list[float]:
    """Run each future in a copy of this process and of its simulation; see `Street.what_if`."""
    if not hasattr(os, "fork") or sumo.engine != "libsumo":
        raise BadInput(
            "what_if",
            expected="libsumo on a system that forks processes",
            got=sumo.engine if hasattr(os, "fork") else os.name,
            fix="use Linux or macOS and engine 'libsumo'",
        )
    answers: list[float | str] = []
    for first in range(0, len(futures), AT_ONCE):
        started = [_start(future, sumo.tripinfo) for future in futures[first : first + AT_ONCE]]
        answers += [_answer(*each) for each in started]
    if failures := [answer for answer in answers if isinstance(answer, str)]:
        raise IotlamError(f"A future of the street: expected a number, got this failure:\n{failures[0]}")
    return [float(answer) for answer in answers]


def _start(future: Callable[[], float], output: Path) -> tuple[int, int]:
    """Fork; returns the child's process id and the end of the pipe on which it will answer."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:  # the child: whatever happens, it must not come back as a second parent
        os.close(reading)
        _let_go_of(output)
        answer: float | str = float(future())
    except BaseException:
        answer = traceback.format_exc()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _answer(process: int, reading: int) -> float | str:
    """The future's number, or how it failed."""
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(process, 0)
    answer: float | str = json.loads(said) if said else "the process ended without an answer"
    return answer


def _let_go_of(output: Path) -> None:
    """Send what this copy of SUMO writes to nowhere: the file belongs to the run that really happens."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in os.listdir("/dev/fd"):
        try:
            if os.path.samestat(os.fstat(int(descriptor)), os.stat(output)):
                os.dup2(nowhere, int(descriptor))
        except OSError:  # the listing's own descriptor is gone by now
            continue
