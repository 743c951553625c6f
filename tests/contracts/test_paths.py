"""Where results go is checked before the work that makes them, and checking leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iotlam.contracts import BadInput, check_writable, whole_file


def test_a_folder_that_is_or_could_be_made_is_taken_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "a" / "b", Path("."), Path("c/d"), Path("../e")):
        check_writable("--out", folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "page", "deep/page"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(BadInput, match=r"^--json: expected a folder to write to, got .*taken, a file; name another"):
        check_writable("--json", tmp_path / "taken" / below)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable to root")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(BadInput, match="locked, no right to write there"):
        check_writable("--out", tmp_path / "locked" / "page")


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.txt"
    with whole_file(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]
