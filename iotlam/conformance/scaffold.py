"""Writing the package of a new modality from the template, which is itself a package that works."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from iotlam.contracts import BadInput, check_writable
from iotlam.plugins import names
from iotlam.plugins.registry import GROUP

WORD, CLASS = "newsensor", "NewSensor"
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def write_package(name: str, out: Path) -> list[Path]:
    """Write a complete package: manifest, encoder, reader, sample, example file, test, README and CI file.

    Args:
        name: name of the modality.
        out: folder of the new project; must not exist, or be empty.

    Returns:
        The files, relative to `out`.

    Raises:
        BadInput: if the name cannot be used or is taken, or the folder is not empty.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            "Argument NAME",
            expected="lower-case letters, digits and _, a letter first, at most 60",
            got=f"'{name}'",
            fix="write it as in thermal_camera",
        )
    if name in names(GROUP) or find_spec(f"iotlam_{name}") is not None:
        raise BadInput("Argument NAME", expected="a name not in use", got=f"'{name}'", fix="choose another name")
    try:
        out = out.resolve()  # also for '.' and for links
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadInput("--out", expected="a new or empty folder", got=f"{out}, which is in use", fix="name another")
        check_writable("--out", out)
        _place(name, out)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        got = f"{out.name[:80]}: {getattr(error, 'strerror', None) or error}"
        raise BadInput("--out", expected="a folder that can be made", got=got, fix="name another") from error
    return sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())


def _place(name: str, out: Path) -> None:
    """Write the project beside its place and move it there: nothing half-written stays behind."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".new-") as folder:
        project = Path(folder) / "project"
        render(project, name)
        out.mkdir(exist_ok=True)
        for path in project.iterdir():
            os.replace(path, out / path.name)


def render(target: Path, name: str) -> None:
    """Copy the template to a new folder, with a name in place of its own in paths and texts."""
    source = Path(str(files("iotlam.conformance"))) / "template"
    for path in sorted(source.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        copy = target / _renamed(str(path.relative_to(source)), name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_renamed(path.read_text(encoding="utf-8"), name), encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    return text.replace(CLASS, "".join(part.capitalize() for part in name.split("_"))).replace(WORD, name)


def register(site: Path, name: str, value: str, description: str = "") -> None:
    """Make a package's modality known as an installer would, by the metadata of a distribution.

    Args:
        site: folder on the import path.
        name: name of the modality.
        value: `package:Class`.
        description: README of the distribution.
    """
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\n"
    (info / "METADATA").write_text(head + description, encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n", encoding="utf-8")
