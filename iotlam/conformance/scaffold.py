"""Writing the package of a new modality from the template, which is itself a package that works."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path

from iotlam.contracts import BadInput, check_writable
from iotlam.plugins import names
from iotlam.plugins.registry import GROUP

WORD, CLASS = "newsensor", "NewSensor"
NAME = re.compile(r"[a-z][a-z0-9_]*")


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
            expected="lower-case letters, digits and _, a letter first",
            got=f"'{name}'",
            fix="write it as in thermal_camera",
        )
    if name in names(GROUP):
        raise BadInput("Argument NAME", expected="a name not in use", got=f"'{name}'", fix="choose another name")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput("--out", expected="a new or empty folder", got=f"{out}, which is in use", fix="name another")
    check_writable("--out", out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved there as a whole: nothing half-written stays behind.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        project = Path(folder) / "project"
        render(project, name)
        if out.exists():
            out.rmdir()
        os.replace(project, out)
    return sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())


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
