"""Work in parallel, each item in a process of its own.

libsumo runs one simulation per process and repeats a seed exactly only as the first of its process. Processes are
forked from a server that has imported what they need, so that a fresh one costs milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import TypeVar

from iotlam.contracts import IotlamError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    on_done: Callable[[Result], None],
    preload: str = "",
) -> list[Result]:
    """Apply `work` to every item, each in a fresh process; results in the order of the items.

    Processes are forked with `preload` imported, by default the module of `work`.

    An error or Ctrl-C cancels what has not begun, ends the processes, and is raised here.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the new processes
    module = preload or getattr(work, "func", work).__module__  # of what a partial calls
    pool = ProcessPoolExecutor(max(workers, 1), _context(module), _end_tidily, max_tasks_per_child=1)
    try:
        futures = [pool.submit(_unless_ended, work, item) for item in items]
        for future in as_completed(futures):
            on_done(future.result())
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        got = "its end: it crashed, or the system stopped it for want of memory"
        raise IotlamError(f"A process of ours: expected a result, got {got}; run it again.") from error
    except BaseException:
        for process in (pool._processes or {}).values():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context(module: str) -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


class _Ended(BaseException):
    """Raised by SIGTERM in a worker; no plugin can mistake it for its own."""


_working = False


def _end_tidily() -> None:
    """Ctrl-C is the parent's to handle; its SIGTERM unwinds, so that temporary files go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _told_to_end)


def _told_to_end(*_: object) -> None:
    if _working:
        raise _Ended
    os._exit(128 + signal.SIGTERM)


def _unless_ended(work: Callable[[Item], Result], item: Item) -> Result:
    """Work on an item; once told to end, end the process, or the pool would hand it the next one."""
    global _working
    _working = True
    try:
        return work(item)
    except _Ended:
        os._exit(128 + signal.SIGTERM)
    finally:
        _working = False
