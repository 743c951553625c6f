"""Plugins that are broken on purpose, listed in broken.toml: they prove that the checks can fail.

`iotlam bench plugins` and the tests run them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from iotlam.conformance.kit import LIMIT_S, examine
from iotlam.conformance.results import Report
from iotlam.conformance.scaffold import render
from iotlam.conformance.target import resolve


class Broken(NamedTuple):
    """A mistake in a plugin.

    Attributes:
        check: the one check that must fail.
        mistake: what is wrong, in a few words.
        edits: how the template is changed: file, a text in it ("" for all of it), what stands there instead.
        name: name of the modality.
    """

    check: str
    mistake: str
    edits: Sequence[tuple[str, str, str]] = ()
    name: str = "thermal"


def all_broken() -> list[Broken]:
    """Every broken plugin."""
    text = files("iotlam.conformance").joinpath("broken.toml").read_text(encoding="utf-8")
    return [Broken(**entry) for entry in tomllib.loads(text)["broken"]]


def write_broken(broken: Broken, folder: Path) -> Path:
    """Write the project of a broken plugin to a new folder.

    Raises:
        ValueError: if an edit changes nothing: the template has moved on.
    """
    render(folder, broken.name)
    for file, old, new in broken.edits:
        inside = folder / f"iotlam_{broken.name}" / file
        path = inside if inside.exists() else folder / file
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{broken.mistake}: {file} has no '{old}'")
        path.write_text(text.replace(old, new) if old else new, encoding="utf-8")
    return folder


def examine_broken(broken: Broken, folder: Path, limit_s: float = LIMIT_S) -> Report:
    """What the kit finds of a broken plugin, written to a new folder."""
    return examine(resolve(str(write_broken(broken, folder))), limit_s=limit_s)
