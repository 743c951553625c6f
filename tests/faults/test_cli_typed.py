"""The command on a page makes that page again."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest

from .test_diagnose import run, signal
from .test_signals import columns


def test_the_command_on_the_page_makes_the_same_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values_N = signal(seconds=2.0).values_N
    for name in ("today.csv", "jan uary.csv", "may.csv"):
        columns(tmp_path / name, x=values_N, y=values_N[::-1])
    past = ("--healthy", "jan uary.csv", "--healthy", "may.csv")
    typed = ("today.csv", "--rpm", "1770.5", "--geometry", "9,7.94,39.04", "--channel", "y", *past, "--part", "DE")
    code, output = run(*typed, "--json")
    assert code == 0, output
    page = (tmp_path / "diagnosis.html").read_text()
    (command,) = re.findall("iotlam faults diagnose [^<]*", page)
    again = shlex.split(html.unescape(command))[3:]
    assert tuple(again) == typed
    (tmp_path / "diagnosis.html").unlink()
    assert run(*again)[0] == 0 and (tmp_path / "diagnosis.html").read_text() == page
