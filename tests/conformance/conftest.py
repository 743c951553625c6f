from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iotlam.conformance.broken import Broken, write_broken
from iotlam.conformance.subject import Subject
from iotlam.conformance.target import resolve
from iotlam.conformance.watch import Watch

MakeSubject = Callable[..., Subject]


@pytest.fixture
def make_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSubject]:
    """The template, with edits, as the checks see it, but in this process and unwatched."""

    def make(*edits: tuple[str, str, str]) -> Subject:
        project = write_broken(Broken("", "edited", edits), tmp_path / "project")
        return Subject(resolve(str(project)), Watch(tmp_path))

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "iotlam_thermal"]:
        del sys.modules[name]
