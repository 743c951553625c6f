"""Entry points by group and name: how iotlam reaches sensors and apps without importing them."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from iotlam.contracts import BadInput


@dataclass(frozen=True, slots=True)
class Entry:
    """What a package registered.

    Attributes:
        name: name within its group.
        value: `package.module:object`.
        distribution: the installed distribution that brings it, as its metadata's folder says.
    """

    name: str
    value: str
    distribution: str = ""

    @property
    def module(self) -> str:
        """The module that holds the object."""
        return self.value.partition(":")[0].strip()

    def load(self) -> Any:
        """Import the object.

        Raises:
            Exception: whatever its package raises.
        """
        attributes = self.value.partition(":")[2].partition("[")[0].strip()
        return reduce(getattr, filter(None, attributes.split(".")), importlib.import_module(self.module))


def entries(group: str) -> list[Entry]:
    """What is registered in a group, by name; of a distribution that is found twice, the first on the path.

    Reads `entry_points.txt` of the installed distributions and nothing else of them: `importlib.metadata` parses
    whole METADATA files to name a distribution, which takes most of a listing's time.
    """
    found, seen = [], set()
    for folder in dict.fromkeys(sys.path):
        for distribution, text in _registrations(folder or os.curdir):
            if (key := re.sub(r"[-_.]+", "-", distribution).lower()) not in seen:
                seen.add(key)
                found += [Entry(name, value, distribution) for name, value in _section(text, group)]
    return sorted(found, key=lambda entry: entry.name)


def _registrations(folder: str) -> Iterator[tuple[str, str]]:
    """Name and `entry_points.txt` of each distribution whose metadata lies in a folder of the import path, or a zip."""
    if os.path.isfile(folder):
        from importlib.metadata import distributions

        yield from ((found.name, found.read_text("entry_points.txt") or "") for found in distributions(path=[folder]))
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        in_egg = name == "EGG-INFO" and folder.endswith(".egg")
        if in_egg or name.endswith((".dist-info", ".egg-info")):
            stem, _ = os.path.splitext(os.path.basename(folder) if in_egg else name)
            yield stem.partition("-")[0], _read(os.path.join(folder, name))


def _read(folder: str) -> str:
    try:
        with open(os.path.join(folder, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Names and values under `[group]`; the format is that of the packaging specification on entry points."""
    inside = False
    for line in (line.strip() for line in text.splitlines()) if f"[{group}]" in text else ():
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def names(group: str) -> list[str]:
    """Names registered in a group, sorted, each once."""
    return list(dict.fromkeys(entry.name for entry in entries(group)))


def find(group: str, name: str, kind: str) -> Entry:
    """The entry point of a group with a name.

    Args:
        group: entry-point group, e.g. `iotlam.suites`.
        name: name as the user typed it.
        kind: what the group holds, for the error, e.g. "Suite".

    Raises:
        BadInput: if nothing of that name is registered; lists the names that are.
    """
    known = entries(group)
    found = next((entry for entry in known if entry.name == name), None)
    if found is None:
        raise unknown_name(kind, name, {entry.name for entry in known})
    return found


def load_entry(group: str, name: str, kind: str) -> Any:
    """What the entry point of a group with a name stands for.

    Raises:
        BadInput: if nothing of that name is registered, or its package fails to import.
    """
    entry = find(group, name, kind)
    try:
        return entry.load()
    except Exception as error:
        raise BadInput(
            f"{kind} '{name}'",
            expected=f"'{entry.value}' to load",
            got=f"{type(error).__name__}: {error}",
            fix="see 'iotlam doctor' for what is missing",
        ) from error


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that nobody registered, with the nearest known one."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    fix = f"perhaps '{near[0]}' was meant" if near else "choose one of them, or install the package that brings it"
    return BadInput(kind, expected=f"one of {', '.join(choices) or '(none installed)'}", got=f"'{name}'", fix=fix)
