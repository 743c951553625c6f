"""Episodes in parallel processes: libsumo runs one simulation per process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, on_done: Callable[[Result], None]
) -> list[Result]:
    """Apply `work` to every item in fresh processes; results in the order of the items.

    An error or Ctrl-C cancels what has not begun, ends the processes, and is raised here.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the new processes
    pool = ProcessPoolExecutor(min(workers, max(len(items), 1)), mp_context=get_context("spawn"))
    try:
        futures = [pool.submit(work, item) for item in items]
        for future in as_completed(futures):
            on_done(future.result())
        return [future.result() for future in futures]
    except BaseException:
        for process in (pool._processes or {}).values():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
