"""The loss curve: a row a step, and a cost that a resumed run goes on counting."""

from __future__ import annotations

import json
from pathlib import Path

from iotlam.training.curve import METRICS, LossCurve


def test_a_resumed_run_counts_on_past_a_torn_row(tmp_path: Path) -> None:
    path = tmp_path / "run" / METRICS
    first = LossCurve(path.parent)
    assert (first.seconds, first.cpu_seconds) == (0.0, 0.0)
    first.add(1, 0.5)
    path.write_text(json.dumps({"step": 1, "loss": 0.5, "seconds": 100.0, "cpu_seconds": 90.0}) + '\n{"step": 2, "lo\n')
    resumed = LossCurve(path.parent)
    assert (resumed.seconds, resumed.cpu_seconds) == (100.0, 90.0)
    resumed.add(2, 0.25)
    last = json.loads(path.read_text().splitlines()[-1])
    assert last == {"step": 2, "loss": 0.25, "seconds": resumed.seconds, "cpu_seconds": resumed.cpu_seconds}
    assert 100.0 <= last["seconds"] < 200.0 and 90.0 <= last["cpu_seconds"] < 200.0
