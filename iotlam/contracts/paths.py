"""Checks of where results go, made before the work that makes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from iotlam.contracts.errors import BadInput


def check_writable(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be written to, without making it.

    Args:
        option: what the user called it, e.g. `--out`.
        folder: where something will be written.

    Raises:
        BadInput: if it, or the first of its parents that exists, is no folder or is read-only.
    """
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):  # asking for rights tells root nothing
            return
    except OSError as error:
        got = "a file" if nearest.is_file() else "no right to write there"
        raise BadInput(
            option, expected="a folder to write to", got=f"{nearest}, {got}", fix="name another folder"
        ) from error
