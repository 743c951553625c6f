"""A suite that is interrupted goes on where it was, as long as nothing has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import iotlam
from iotlam.bench.kept import forget, run_kept
from iotlam.contracts import Json

FIRST = {"one": 1, "two": 2}


def doubled(value: int) -> Json:
    if value < 0:
        raise ValueError(value)
    return {"is": 2 * value}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree of its own, and a home to keep things in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (found := tmp_path / "tree" / "iotlam").mkdir(parents=True)
    (found / "__init__.py").write_text("")
    monkeypatch.setattr(iotlam, "__file__", str(found / "__init__.py"))
    git(found.parent, "init", "-q")
    commit(found.parent)
    return found.parent


def git(tree: Path, *what: str) -> None:
    subprocess.run(["git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@b", *what], check=True)


def commit(tree: Path) -> None:
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "--allow-empty", "-m", "x")


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home").rglob("*.json"))


def test_what_was_measured_before_an_interruption_is_taken(tree: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(ValueError, match="-3"):
        run_kept("s", doubled, {**FIRST, "three": -3}, 1, told.append)
    assert [path.name for path in kept(tmp_path)] == ["one.json", "two.json"]
    kept(tmp_path)[0].write_text('{"is": "there"}')
    told.clear()
    found = run_kept("s", doubled, {"three": 3, **FIRST}, 1, told.append)
    assert found == [{"is": 6}, {"is": "there"}, {"is": 4}] and told == [2, 1]
    forget("s")
    assert not kept(tmp_path)


def test_of_another_commit_nothing_is_taken_and_of_changed_files_nothing_kept(tree: Path, tmp_path: Path) -> None:
    run_kept("s", doubled, FIRST, 1, lambda _: None)
    for path in kept(tmp_path):
        path.write_text('{"is": "old"}')
    (tree / "iotlam" / "__init__.py").write_text("changed = True")
    assert run_kept("s", doubled, FIRST, 1, lambda _: None) == [{"is": 2}, {"is": 4}]
    assert len(kept(tmp_path)) == 2
    commit(tree)
    assert run_kept("s", doubled, FIRST, 1, lambda _: None) == [{"is": 2}, {"is": 4}]
    assert len(kept(tmp_path)) == 4
