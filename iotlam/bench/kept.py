"""Measurements of a long suite that outlive an interruption.

Each finished one is kept on disk under the commit that made it. Run again at the same commit, the suite takes what is
there and makes what is missing; a source tree that is changed, or no source tree, keeps nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import iotlam
from iotlam.contracts import Json, whole_file
from iotlam.training.parallel import run_parallel

Item = TypeVar("Item")


def run_kept(
    suite: str,
    work: Callable[[Item], Json],
    items: Mapping[str, Item],
    workers: int,
    on_done: Callable[[int], None],
) -> list[Json]:
    """Measure every item, each in a process of its own; results in the order of the items.

    Args:
        suite: its name.
        work: what is measured of an item.
        items: by names that say which measurement each is, and its options.
        workers: processes.
        on_done: is told how many more are done.
    """
    folder = _folder(suite)
    found = _kept(folder, items) if folder else {}
    on_done(len(found))
    todo = {name: item for name, item in items.items() if name not in found}
    keep = partial(_measured, work, folder)
    made = run_parallel(keep, list(todo.items()), workers, lambda _: on_done(1), work.__module__)
    found |= zip(todo, made, strict=True)
    return [found[name] for name in items]


def forget(suite: str) -> None:
    """Delete what is kept of a suite, of any commit: its result is written."""
    shutil.rmtree(_root(suite), ignore_errors=True)


def _measured(work: Callable[[Item], Json], folder: Path | None, named: tuple[str, Item]) -> Json:
    name, item = named
    result = work(item)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / f"{name}.json") as partial_file:
            partial_file.write_text(json.dumps(result), encoding="utf-8")
    return result


def _kept(folder: Path, items: Mapping[str, Item]) -> dict[str, Json]:
    paths = {name: folder / f"{name}.json" for name in items}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def _folder(suite: str) -> Path | None:
    """Where a suite's measurements are kept; None where no commit says what made them."""
    tree = Path(iotlam.__file__).parent.parent
    try:
        changed, commit = (
            subprocess.run(["git", "-C", str(tree), *what], capture_output=True, text=True, check=True, timeout=60)
            for what in (("status", "--porcelain", "--untracked-files=no"), ("rev-parse", "HEAD"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if changed.stdout.strip() else _root(suite) / commit.stdout.strip()


def _root(suite: str) -> Path:
    return Path.home() / ".cache" / "iotlam" / "bench" / suite
