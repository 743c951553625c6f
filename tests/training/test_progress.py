from __future__ import annotations

import pytest

from iotlam.training.progress import Lines, progress


def test_lines_come_every_ten_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines("Training", 4, clock=lambda: now[0])
    for now[0] in (4.0, 8.0, 12.0, 16.0):
        lines(loss=1 / now[0])
    lines.finish()
    assert capsys.readouterr().err.splitlines() == [
        "Training: 3/4  loss=0.08333  12 s",
        "Training: 4/4  loss=0.0625  16 s",
    ]


def test_short_work_prints_nothing_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Reading", total=2) as step:
        step(2)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("Reading", total=2) as step:
        step(1, loss=0.25)
        step()
    shown = capsys.readouterr().err
    assert "2/2" in shown and "loss=0.25" in shown
