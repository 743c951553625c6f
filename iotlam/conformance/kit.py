"""Running the checks of a modality, what each needs first."""

from __future__ import annotations

import time
from collections.abc import Callable

from iotlam.conformance.catalog import all_checks
from iotlam.conformance.results import Report, Result
from iotlam.conformance.target import Target
from iotlam.conformance.worker import Worker

LIMIT_S = 10.0


class Session:
    """The checks of one modality, each run once and when it is first asked for.

    Args:
        target: the modality.
        limit_s: how long one check may take.
    """

    def __init__(self, target: Target, limit_s: float = LIMIT_S) -> None:
        self.target = target
        self._worker = Worker(target, limit_s)
        self._results: dict[str, Result] = {}
        self._stopped = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def result(self, name: str) -> Result:
        """What a check finds; what it needs is run before it."""
        if name not in self._results:
            check = all_checks()[name]
            needed = [self.result(need) for need in check.needs]
            lacking = [found.check for found in needed if found.status in ("failed", "blocked")]
            # Where what it may not do stopped the plugin, the checks of isolation must run to say so.
            if lacking and not (self._stopped and check.area == "isolation"):
                reason = f"it needs {lacking[0]}, which did not pass"
                self._results[name] = Result(name, check.area, check.tier, "blocked", reason)
            else:
                self._results[name] = self._worker.run(check)
                self._stopped |= self._results[name].status == "blocked"
        return self._results[name]


def examine(target: Target, on_result: Callable[[Result], None] = lambda _: None, limit_s: float = LIMIT_S) -> Report:
    """Run every check.

    Args:
        target: the modality.
        on_result: told of each result as it comes.
        limit_s: how long one check may take.
    """
    start = time.monotonic()
    results = []
    with Session(target, limit_s) as session:
        for name in all_checks():
            results.append(session.result(name))
            on_result(results[-1])
    return Report(target.name, tuple(results), time.monotonic() - start)
