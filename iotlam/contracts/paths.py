"""Where results go: checked before the work that makes them, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def check_page_path(option: str, page: Path) -> None:
    """Refuse, before any work, a page that could not be written.

    Args:
        option: what the user called it.
        page: the file.

    Raises:
        BadInput: if it does not end in .html, is a folder, or its folder cannot be written to.
    """
    if page.suffix != ".html" or page.is_dir():
        raise BadInput(option, expected="a file that ends in .html", got=f"'{page}'", fix="name one, as in page.html")
    check_writable(option, page.parent)


@contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """Write a file as a whole or not at all.

    Args:
        path: the file; folders that are missing are made.
        durable: wait until it is on the disk, so that it is there after a power failure.

    Yields:
        Where to write: beside `path`, which it replaces at the end; it is removed where anything fails before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        if durable:
            sync(partial)
        os.replace(partial, path)
        if durable:
            sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or what a folder lists, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_files(folder: Path, last: str) -> Iterator[Path]:
    """Write files that belong together, or none of them; whatever else is in the folder stays.

    Args:
        folder: where they go; made where it is missing.
        last: name of the file that is replaced after all others, by which a reader knows that all are there.

    Yields:
        A new folder to write to, whose files take their places at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as new:
        yield Path(new)
        for path in sorted(Path(new).iterdir(), key=lambda path: (path.name == last, path.name)):
            os.replace(path, folder / path.name)
