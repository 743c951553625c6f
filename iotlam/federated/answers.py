"""Answers of the round under way, on disk until the round is: what has come need not come again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iotlam.federated.appended import Appended, writing
from iotlam.federated.messages import Answer, Arrays, from_bytes, to_bytes

FACTS = "answer"
"""The array that holds an answer's facts."""

LENGTH_BYTES = 8
"""Before each answer stands its length, the least byte first, and then its SHA-256."""

HEAD_BYTES = LENGTH_BYTES + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that counts in the round under way.

    Attributes:
        answer: what a device says.
        arrays: what came with it.
    """

    answer: Answer
    arrays: Arrays

    def to_bytes(self) -> bytes:
        """All of it, in one piece."""
        facts = np.frombuffer(self.answer.to_json().encode(), np.uint8)
        file = to_bytes({**self.arrays, FACTS: facts})
        return len(file).to_bytes(LENGTH_BYTES, "little") + hashlib.sha256(file).digest() + file

    @classmethod
    def from_bytes(cls, file: bytes) -> Taken:
        """What `to_bytes` was given, from what follows its head."""
        arrays = from_bytes(file)
        return cls(Answer.from_json(arrays.pop(FACTS).tobytes().decode(), FACTS), arrays)


class Answers:
    """The answers of a round, in one file.

    What was cut off or changed, as by a power failure, is removed with all that follows: it is asked for again.

    Args:
        path: the file; made where it is missing.

    Raises:
        BadInput: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            self._file = Appended(path)
            self._old, good = _read(path.read_bytes())
            self._file.cut(good)
        self._new: list[Taken] = []

    def take_up(self) -> list[Taken]:
        """Those that were there when the file was opened; once, for they are large."""
        old, self._old = self._old, []
        return old

    def add(self, taken: Taken) -> None:
        """One that has come; on disk only after `keep`."""
        self._new.append(taken)

    def keep(self) -> None:
        """Have all on disk that have come: many answers wait for it once.

        Raises:
            BadInput: if there is no room; those that were on disk still are.
        """
        if self._new:
            self._file.append(b"".join(taken.to_bytes() for taken in self._new))
            self._new = []

    def close(self) -> None:
        """No more come."""
        self._file.close()


def _read(data: bytes) -> tuple[list[Taken], int]:
    """Answers, and the bytes that they take."""
    found: list[Taken] = []
    good = 0
    while good < len(data):
        begin = good + HEAD_BYTES
        end = begin + int.from_bytes(data[good : good + LENGTH_BYTES], "little")
        if end > len(data) or hashlib.sha256(data[begin:end]).digest() != data[good + LENGTH_BYTES : begin]:
            break
        found.append(Taken.from_bytes(data[begin:end]))
        good = end
    return found, good
