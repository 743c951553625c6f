"""What is to be checked: a modality that is installed, or the folder of one that is not."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from iotlam.contracts import MANIFEST_NAME, BadInput
from iotlam.plugins.discovery import find, names, unknown_name
from iotlam.plugins.registry import GROUP, package_folders


@dataclass(frozen=True, slots=True)
class Target:
    """A modality to check; nothing of it is imported yet.

    Attributes:
        name: name of its entry point.
        value: what the entry point says, `package:Class`.
        folder: the folder that holds its manifest and code.
        project: the project's folder, None for an installed modality.
        search: folder to put on the import path, None for an installed modality.
        distribution: the installed distribution that brings it, "" for a project.
    """

    name: str
    value: str
    folder: Path
    project: Path | None = None
    search: Path | None = None
    distribution: str = ""

    @property
    def manifest_path(self) -> Path:
        """Where its manifest lies."""
        return self.folder / MANIFEST_NAME


def resolve(name_or_path: str) -> Target:
    """The modality that a user means: an installed one by its name, or a project by its folder.

    Raises:
        BadInput: if there is neither, or the folder is no project of one modality.
    """
    known = names(GROUP)
    if name_or_path in known:
        return _installed(name_or_path)
    path = Path(name_or_path).absolute()
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # too long to be a path, or with a zero in it
        is_folder = False
    if is_folder:
        return _project(path)
    raise unknown_name("Modality, or folder of one", name_or_path, known)


def _installed(name: str) -> Target:
    point = find(GROUP, name, "Modality")
    folders = package_folders(point.module)
    if not folders:
        raise BadInput(
            f"Modality '{name}'",
            expected=f"package '{point.module}' to be importable",
            got="no such package",
            fix="install it again",
        )
    return Target(name, point.value, folders[0], distribution=point.distribution)


def _project(path: Path) -> Target:
    """A modality from the pyproject.toml of its project's folder; code beside it or under src/."""
    pyproject = path / "pyproject.toml"
    try:
        raw = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        points = raw["project"]["entry-points"][GROUP]
        ((name, value),) = points.items()
        module = value.partition(":")[0].split(".")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(
            str(pyproject),
            expected=f'one entry point under [project.entry-points."{GROUP}"]',
            got=f"{type(error).__name__}: {error}",
            fix="name the folder that 'iotlam sensors new' made, or install the package and give the modality's name",
        ) from error
    roots = (path, path / "src")
    search = next((root for root in roots if Path(root, *module).is_dir()), None)
    if search is None:
        raise BadInput(
            f"Modality '{name}'",
            expected=f"a package (a folder) '{'.'.join(module)}' in {path}, as the entry point says",
            got="none",
            fix="let the entry point name the package that holds modality.toml and export the class there",
        )
    return Target(name, value, Path(search, *module), project=path, search=search)
