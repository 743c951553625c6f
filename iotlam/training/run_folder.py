"""The folder of a training run: made by one set of options, and resumed by the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iotlam.contracts import BadInput, check_writable, whole_file
from iotlam.training.curve import METRICS

OPTIONS = "run.json"


def options_of(config: Any, resumable: Sequence[str]) -> str:
    """The options that make a run what it is, as JSON text: all of a dataclass but those that may differ later on."""
    return json.dumps({name: value for name, value in asdict(config).items() if name not in resumable}, indent=2)


def claim(folder: Path, options: str, strangers: Sequence[str] = ()) -> None:
    """Write a run's options into its folder, or compare them.

    Args:
        folder: made if absent.
        options: as JSON text.
        strangers: files that a folder without options must not hold: something else made them.

    Raises:
        BadInput: if the folder holds a run with other options, or strangers, or cannot be written.
    """
    path, mine = folder / OPTIONS, options + "\n"
    others = path.exists() and path.read_text(errors="replace") != mine
    found = not path.exists() and [name for name in strangers if (folder / name).exists()]
    if others or found:
        raise BadInput(
            str(folder),
            expected="an empty folder or a run with the same options",
            got=f"{', '.join(found)} of something else" if found else "a run with other options",
            fix="give another --out, or the same options to resume",
        )
    check_writable("--out", folder)
    with whole_file(path) as partial:
        partial.write_text(mine)


def log_metrics(folder: Path, stage: str, **facts: object) -> None:
    """Add a line to a run's `metrics.jsonl`: what a stage came to."""
    with (folder / METRICS).open("a") as file:
        file.write(json.dumps({"stage": stage, **facts}) + "\n")
