"""Entry points by group and name: how iotlam reaches sensors and apps without importing them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from iotlam.contracts import BadInput


def names(group: str) -> list[str]:
    """Names registered in a group, sorted, each once."""
    return sorted(entry_points(group=group).names)


def find(group: str, name: str, kind: str) -> EntryPoint:
    """The entry point of a group with a name.

    Args:
        group: entry-point group, e.g. `iotlam.suites`.
        name: name as the user typed it.
        kind: what the group holds, for the error, e.g. "Suite".

    Raises:
        BadInput: if nothing of that name is registered; lists the names that are.
    """
    found = tuple(entry_points(group=group, name=name))
    if not found:
        raise unknown_name(kind, name, names(group))
    return found[0]


def load_entry(group: str, name: str, kind: str) -> Any:
    """What the entry point of a group with a name stands for.

    Raises:
        BadInput: if nothing of that name is registered, or its package fails to import.
    """
    point = find(group, name, kind)
    try:
        return point.load()
    except Exception as error:
        raise BadInput(
            f"{kind} '{name}'",
            expected=f"'{point.value}' to load",
            got=f"{type(error).__name__}: {error}",
            fix="see 'iotlam doctor' for what is missing",
        ) from error


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that nobody registered, with the nearest known one."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    fix = f"perhaps '{near[0]}' was meant" if near else "choose one of them, or install the package that brings it"
    return BadInput(kind, expected=f"one of {', '.join(choices) or '(none installed)'}", got=f"'{name}'", fix=fix)
