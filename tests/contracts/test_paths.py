"""Where results go is checked before the work that makes them, and checking leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iotlam.contracts import BadInput, check_writable, whole_file, whole_files


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


def test_files_take_their_places_together_and_the_last_one_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "a").write_text("old")
    moved: list[str] = []
    replace_file = os.replace
    monkeypatch.setattr(
        "iotlam.contracts.paths.os.replace",
        lambda source, target: (moved.append(target.name), replace_file(source, target)),
    )
    with pytest.raises(RuntimeError), whole_files(tmp_path, last="a") as new:
        (new / "a").write_text("half")
        raise RuntimeError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"kept": "mine", "a": "old"} and not moved
    with whole_files(tmp_path, last="a") as new:
        for name in "abc":
            (new / name).write_text("new")
    assert moved == ["b", "c", "a"] and (tmp_path / "a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "kept"]
