"""The channels of a recording: how they are called, found again in another, and read where the recording is known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import downloads
from iotlam_faults.data.recognise import known_notes, recognised
from iotlam_faults.signals import alike, pick, read_signals

from .test_catalogue import data
from .test_diagnose import RATE_HZ, run


def columns(path: Path, **values: np.ndarray) -> Path:
    """A table of named axes."""
    count = len(next(iter(values.values())))
    header = ",".join(["time [s]", *(f"{name} [m/s2]" for name in values)])
    rows = np.column_stack([np.arange(count) / RATE_HZ, *values.values()])
    np.savetxt(path, rows, "%.7g", ",", header=header, comments="")
    return path


def test_channels_of_a_table_are_called_as_its_columns_are(tmp_path: Path) -> None:
    y_N, z_N = np.ones(3000), np.full(3000, 2.0)
    today = read_signals(columns(tmp_path / "today.csv", y=y_N, Z=z_N))
    assert [one.channel for one in today] == ["today.y", "today.Z"]
    for name, value in (("today.y", 1.0), ("y", 1.0), ("z", 2.0), ("TODAY.z", 2.0), ("today", 1.0)):
        assert pick(today, [name])[0].values_N[0] == value
    assert pick(today, ["today"]) == pick(today, []) == today
    only = read_signals(columns(tmp_path / "only.csv", y=y_N))
    assert pick(only, ["y"]) == pick(only, ["only.y"]) == pick(only, ["only"]) == only
    with pytest.raises(BadInput, match="expected one of today.y, today.Z, got 'x'"):
        pick(today, ["x"])


def test_healthy_columns_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    y_N, z_N = np.ones(3000), np.full(3000, 2.0)
    today = read_signals(columns(tmp_path / "today.csv", y=y_N, z=z_N))
    january = read_signals(columns(tmp_path / "january.csv", z=z_N, y=y_N))
    assert [one and one.values_N[0] for one in alike(january, today)] == [1.0, 2.0]
    only = read_signals(columns(tmp_path / "only.csv", z=z_N))
    assert alike(only, today[1:]) == only and alike(only, today) == [None, *only]
    with pytest.raises(BadInput, match="expected a channel of today.y, got only.z in only.csv"):
        alike(only, today[:1])
    unnamed = [replace(only[0], axis="")]
    assert alike(unnamed, today[:1]) == unnamed
    with pytest.raises(BadInput, match="a channel of today.y, today.z, got only in only.csv; .*name its channel"):
        alike(unnamed, today)


@pytest.mark.parametrize(
    ("name", "file", "now"),
    [
        ("cwru", "3001.mat", "today.mat"),
        ("cwru", "109.mat", "line105.mat"),
        ("adi_cbm", "2400_HOR_GS_BaLo_WA_11lb.Wfm.csv", "2.csv"),
    ],
)
def test_a_published_recording_is_read_as_such_whatever_its_name_says(
    tmp_path: Path, name: str, file: str, now: str
) -> None:
    path = data().find(next(one for one in downloads(name) if one.file == file))
    assert path is not None
    shutil.copy(path, tmp_path / now)
    published = recognised(tmp_path / now)
    known = next(iter(published), None)
    assert known is not None and known.file == file
    want, found = read_signals(path), read_signals(tmp_path / now, known_notes(tmp_path / now, published))
    assert [one.channel for one in found] == [one.channel for one in want] and found[0].rate_hz == known.rate_hz
    np.testing.assert_array_equal(found[0].values_N, want[0].values_N)
    code, output = run(str(tmp_path / now), "--healthy", str(tmp_path / now), "--out", str(tmp_path / "page.html"))
    assert code == 0, output
