"""Archives of data sets, .zip and .rar, unpacked without any tool of the system."""

from __future__ import annotations

import fnmatch
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from iotlam.contracts import BadInput, MissingExtra, whole_file
from iotlam_faults.data.catalogue import Download
from iotlam_faults.data.store import Store, sha256

ARCHIVES = (".zip", ".rar")

Open = Callable[[str], IO[bytes]]


def unpack(store: Store, download: Download, archive: Path, patterns: Sequence[str]) -> list[Path]:
    """Unpack what is worth it, beside the archive; members that are already here, and as pinned, are left.

    Args:
        store: where the set lies; members' checksums are pinned there.
        download: the archive as published.
        archive: where it lies.
        patterns: paths of members that are wanted.

    Raises:
        BadInput: if it is damaged, a member would lie outside of the folder, or cannot be written.
        MissingExtra: if a .rar is to be unpacked and `rars` is not installed.
    """
    opened = _zip if archive.suffix == ".zip" else _rar
    with opened(archive) as (names, open_member):
        wanted = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        return [_write(store, download, name, open_member) for name in wanted]


@contextmanager
def _zip(archive: Path) -> Iterator[tuple[list[str], Open]]:
    """Names of an archive's files, and how to open one."""
    try:
        with zipfile.ZipFile(archive) as file:
            yield file.namelist(), file.open
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(archive, error) from error


@contextmanager
def _rar(archive: Path) -> Iterator[tuple[list[str], Open]]:
    """The same of a .rar."""
    try:
        import rars
    except ImportError as error:
        raise MissingExtra("rars", "faults") from error
    try:
        file = rars.RarFile(str(archive))
        yield file.namelist(), file.open
    except rars.Error as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> BadInput:
    return BadInput(str(archive), expected="a whole archive", got=str(error), fix="remove it and download it again")


def _write(store: Store, download: Download, name: str, open_member: Open) -> Path:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise BadInput(f"Archive '{download.file}'", expected="paths inside of it", got=name, fix="do not trust it")
    target = store.folder(download.set) / parts
    pinned = store.lock(download.set).get(str(parts))
    if target.exists() and (pinned is None or sha256(target) == pinned):
        return target
    try:
        with open_member(name) as source, whole_file(target) as partial, partial.open("wb") as file:
            shutil.copyfileobj(source, file)
        store.pin(download.set, {str(parts): sha256(target)})
    except OSError as error:
        fix = "make room, or name another --dir"
        raise BadInput(str(target), expected="to write it", got=error.strerror or str(error), fix=fix) from error
    return target
