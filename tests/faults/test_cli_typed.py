"""What is typed: a decimal comma is refused, and the command on a page makes that page again."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from .test_diagnose import RATE_HZ, run, signal
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


def test_a_decimal_comma_in_a_geometry_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pump.npz", data=signal(seconds=1.0).values_N, rate_hz=RATE_HZ, units="m/s2")
    out = tmp_path / "page.html"
    code, said = run(str(tmp_path / "pump.npz"), "--rpm", "1770", "--geometry", "9,7,94,39", "--out", str(out))
    assert code == 2 and "9 elements of 7 mm on a circle of 94 mm, which fill 21% of it" in said and not out.exists()
