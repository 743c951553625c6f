"""The loss curve of a run as lines of JSON, and what its steps have cost."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

METRICS = "metrics.jsonl"


class LossCurve:
    """One row a step, appended to a file; a resumed run counts the cost of what came before.

    Args:
        folder: the run's folder, which gets `metrics.jsonl`.

    Attributes:
        seconds, cpu_seconds: wall and processor time of all steps so far.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        self.seconds, self.cpu_seconds = _spent(self._path)
        self._start_s = time.monotonic() - self.seconds
        self._start_cpu_s = time.process_time() - self.cpu_seconds

    def add(self, step: int, loss: float) -> None:
        """Write the row of a finished step."""
        self.seconds = round(time.monotonic() - self._start_s, 2)
        self.cpu_seconds = round(time.process_time() - self._start_cpu_s, 2)
        row = {"step": step, "loss": loss, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        with self._path.open("a") as log:
            log.write(json.dumps(row) + "\n")


def _spent(path: Path) -> tuple[float, float]:
    """Wall and processor seconds of the last row that is whole; a kill may have torn the one after it."""
    rows = path.read_text(errors="replace").splitlines() if path.exists() else []
    for row in reversed(rows):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            last = json.loads(row)
            return float(last["seconds"]), float(last["cpu_seconds"])
    return 0.0, 0.0
