"""Where recordings lie on this machine, and whether they are what was published.

A folder for each set under one root: `--dir`, else `$IOTLAM_DATA`, else `~/.cache/iotlam/data`. Inside it files may lie
in any subfolder; those of CWRU under any name that has the official record number in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from iotlam.contracts import BadInput, whole_file
from iotlam_faults.data.catalogue import Download, Entry

LOCK = "checksums.json"
"""Checksums of what nobody published one for, and of what was unpacked: pinned when it first came."""

CHUNK = 1 << 20


def default_root() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("IOTLAM_DATA") or Path.home() / ".cache" / "iotlam" / "data")


@dataclass(frozen=True)
class Store:
    """The data sets on this machine.

    Attributes:
        root: the folder above those of the sets.
    """

    root: Path

    def folder(self, name: str) -> Path:
        """The folder of a set."""
        return self.root / name

    @cached_property
    def _indices(self) -> dict[str, dict[str, list[Path]]]:
        return {}

    def find(self, download: Download) -> Path | None:
        """Where a published file lies, None where it is not here."""
        candidates = self._index(download.set).get(download.file, [])
        sized = [path for path in candidates if path.stat().st_size == download.bytes]
        return next(iter(sized or candidates), None)

    def recordings(self, entry: Entry, download: Download) -> list[Path]:
        """The files of an entry: one, or those that its pattern names in what was unpacked; none where not here."""
        if not entry.member:
            path = self.find(download)
            return [path] if path else []
        return sorted(self.folder(entry.set).glob(entry.member), key=_numbers)

    def forget(self, name: str) -> None:
        """Look anew at a set whose files have changed."""
        self._indices.pop(name, None)

    def _index(self, name: str) -> dict[str, list[Path]]:
        """Paths by the name under which their file is published."""
        if name not in self._indices:
            found: dict[str, list[Path]] = {}
            for path in sorted(self.folder(name).rglob("*")):
                if path.is_file():
                    for known in _published_names(name, path):
                        found.setdefault(known, []).append(path)
            self._indices[name] = found
        return self._indices[name]

    def lock(self, name: str) -> dict[str, str]:
        """The pinned checksums of a set: SHA-256 by path in its folder."""
        path = self.folder(name) / LOCK
        if not path.is_file():
            return {}
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            fix = "remove it to pin the present files anew"
            raise BadInput(str(path), expected="JSON of checksums by path", got=str(error), fix=fix) from error

    def pin(self, name: str, checksums: dict[str, str]) -> None:
        """Add checksums to a set's lock."""
        with whole_file(self.folder(name) / LOCK) as partial:
            text = json.dumps(dict(sorted({**self.lock(name), **checksums}.items())), indent=1)
            partial.write_text(text + "\n", encoding="utf-8")


def _published_names(name: str, path: Path) -> list[str]:
    relative = path.name
    if name == "cwru" and path.suffix == ".mat":  # 12k_Drive_End_B007_0_118.mat is 118.mat
        return [f"{int(number)}.mat" for number in re.findall(r"\d+", path.stem)]
    if name == "seu":  # bearingset/ball_20_0.csv
        relative = f"{path.parent.name}/{path.name}"
    return [relative]


def _numbers(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.csv before 10.csv."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def sha256(path: Path, seen: Callable[[int], None] = lambda size: None) -> str:
    """SHA-256 of a file; `seen` is told the bytes as they are read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            seen(len(chunk))
    return digest.hexdigest()


def git_blob(path: Path) -> str:
    """Git's checksum of a file."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_genuine(
    path: Path, download: Download, pinned: str = "", seen: Callable[[int], None] = lambda size: None
) -> bool:
    """Whether a file is what was published: by SHA-256, else by git's checksum, else by the one pinned before."""
    if path.stat().st_size != download.bytes:
        return False
    expected = download.sha256 or ("" if download.git_blob else pinned)
    if expected:
        return sha256(path, seen) == expected
    seen(download.bytes)
    return not download.git_blob or git_blob(path) == download.git_blob
