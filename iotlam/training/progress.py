"""Progress of work over two seconds: a bar on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

LINE_EVERY_S = 10.0


class Step(Protocol):
    """Reports that `advance` units of work are done, with figures to show beside them."""

    def __call__(self, advance: int = 1, **values: float) -> None:
        """Count work and show the figures."""
        ...


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Step]:
    """Show the progress of a piece of work.

    Args:
        title: what is being done, e.g. "Training".
        total: units of work in all, None where unknown.

    Example:
        `with progress("Training", total=100) as step: step(1, loss=0.3)`
    """
    if sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        lines = Lines(title, total)
        yield lines
        lines.finish()


class Lines:
    """Plain lines, at most one every ten seconds, and a last one for work that took over two.

    Args:
        title: what is being done.
        total: units of work in all, None where unknown.
        clock: seconds, monotonic.
    """

    def __init__(self, title: str, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._total, self._clock = title, total, clock
        self._done, self._values = 0, ""
        self._begun = self._printed = clock()

    def __call__(self, advance: int = 1, **values: float) -> None:
        """Count work, and print a line if the last is old enough."""
        self._done += advance
        self._values = _figures(values) if values else self._values
        if self._clock() - self._printed >= LINE_EVERY_S:
            self._print()

    def finish(self) -> None:
        """Print the last line, unless the work was short."""
        if self._clock() - self._begun >= 2.0:
            self._print()

    def _print(self) -> None:
        self._printed = self._clock()
        count = f"{self._done}/{self._total}" if self._total else str(self._done)
        seconds = f"{self._printed - self._begun:.0f} s"
        print("  ".join(filter(None, [f"{self._title}: {count}", self._values, seconds])), file=sys.stderr, flush=True)


def _bar(title: str, total: int | None) -> Iterator[Step]:
    # rich takes 50 ms to import: only where a bar is drawn.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    ]
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, figures="")

        def step(advance: int = 1, **values: float) -> None:
            bar.advance(task, advance)
            if values:
                bar.update(task, figures=_figures(values))

        yield step


def _figures(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())
