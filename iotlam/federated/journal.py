"""An append-only journal: on disk when `append` returns, and chained by hashes: what is damaged is seen."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from iotlam.contracts import BadInput, Json
from iotlam.federated.appended import Appended

START = "0" * 64
"""What the first record follows."""


class Journal:
    """Records of a run, one JSON line each; one process at a time writes.

    A line that was cut off at the end, as by a power failure, is removed: nobody was told that it is there.

    Args:
        path: the file; made where it is missing.

    Raises:
        BadInput: if another process writes it, it cannot be written, or a line is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = Appended(path)
        except OSError as error:
            got, fix = str(error), "name another folder"
            raise BadInput(str(path), expected="a journal that can be written", got=got, fix=fix) from error
        try:
            _lock(self._file, path)
            self.records, good = read(path)
            self._file.cut(good)
        except BaseException:
            self._file.close()
            raise
        self._last = self.records[-1]["hash"] if self.records else START

    def append(self, kind: str, **facts: Any) -> Json:
        """Write a record; it is on the disk when this returns.

        Args:
            kind: what happened.
            facts: JSON values.

        Returns:
            The record as written.

        Raises:
            BadInput: if the disk is full; the journal is as it was.
        """
        record = sealed({"line": len(self.records), "after": self._last, "kind": kind, **facts})
        self._file.append((json.dumps(record) + "\n").encode())
        self.records.append(record)
        self._last = record["hash"]
        return record

    def of(self, kind: str) -> list[Json]:
        """All records of a kind."""
        return [record for record in self.records if record["kind"] == kind]

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_unled(path: Path) -> None:
    """Refuse a run that another process leads.

    Args:
        path: its journal; there is none of a run that has not begun.
    """
    if path.exists():
        with path.open("rb") as file:
            _lock(file, path)


def _lock(file: Appended | BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        expected, fix = "a run that nobody else leads", "wait until it ends, or stop it"
        raise BadInput(str(path), expected=expected, got="another process", fix=fix) from error


def read(path: Path) -> tuple[list[Json], int]:
    """Records of a journal, and the bytes that they take; a last line that was cut off is left out.

    Raises:
        BadInput: if a record is not what was written, or not where it was written.
    """
    records: list[Json] = []
    last, good = START, 0
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise BadInput(str(path), expected="a journal", got=str(error), fix="name the folder of a run") from error
    for number, line in enumerate(lines):
        if number == len(lines) - 1 and not line.endswith(b"\n"):
            break
        record = _parsed(line)
        if record is None or record != sealed(record) or (record["line"], record["after"]) != (number, last):
            got = f"another line {number} than was written"
            raise BadInput(str(path), expected="an unbroken chain", got=got, fix="restore the file from a copy")
        records.append(record)
        last, good = record["hash"], good + len(line)
    return records, good


def sealed(record: Json) -> Json:
    """A record with the hash of all else in it."""
    body = {key: value for key, value in record.items() if key != "hash"}
    return {**body, "hash": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def _parsed(line: bytes) -> Json | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and {"line", "after", "kind"} <= record.keys() else None
