"""The suite `faults-physics`: what its figures count, and that a quick run works on real records."""

from __future__ import annotations

import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.training.progress import progress
from iotlam_faults.data.catalogue import entries
from iotlam_faults.suites.physics import UNCLEAR, figures, gain_db, physics

from .test_catalogue import data


def row(fault: str, named: str, clear: bool, simple: str = "") -> dict:
    return {"fault": fault, "named": named, "clear_to_experts": clear, "named_by_simple_script": simple}


def test_the_unclear_records_are_those_of_the_published_tables() -> None:
    known = {int(entry.file.removesuffix(".mat")) for entry in entries("cwru") if entry.faults}
    assert known >= UNCLEAR and len(known) == 157 and len(UNCLEAR) == 16 + 15 + 19


def test_what_the_figures_count() -> None:
    rows = [
        *(row("inner", "inner", True, "inner") for _ in range(8)),
        row("outer", "", True),
        row("outer", "inner", True, "outer"),
        row("ball", "ball", False),
        row("ball", "outer", False, "outer"),
        row("ball", "", False, "inner"),
    ]
    found = figures(rows)
    assert found["clear_records_right"].value == 0.8 and found["clear_records_right"].anchor.startswith(
        "simple script 0.90"
    )
    assert found["wrong_named_on_unclear"].value == 1 and found["records_beyond_experts"].value == 1
    assert found["wrong_named_on_clear"].value == 1
    assert found["ball_right"].value == pytest.approx(1 / 3) and found["ball_right"].n == 3


def test_what_tracking_gains_is_told_of_the_band_whose_tracked_line_is_highest() -> None:
    assert gain_db(torch.tensor([0.2, 0.8, 0.5]), torch.tensor([0.01, 0.4, 0.1])) == pytest.approx(6.02, abs=0.01)


def test_a_quick_run_works_on_real_records() -> None:
    data()
    result = physics(True, progress)
    assert result.metrics["wrong_named_on_unclear"].value == 0
    assert result.metrics["clear_records_right"].value > 0.8
    assert sum("record" in one for one in result.rows) == 12


def test_without_records_it_says_how_to_get_them(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOTLAM_DATA", str(tmp_path))
    with pytest.raises(BadInput, match="run: iotlam faults data get cwru"):
        physics(True, progress)
