"""A file that only grows: what is appended is on the disk, or the file is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from iotlam.contracts import BadInput
from iotlam.contracts.errors import one_line
from iotlam.contracts.paths import sync


class Appended:
    """The file, opened to write.

    Args:
        path: the file; made where it is missing.

    Raises:
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        sync(path.parent)  # a new file is there after a power failure only if its folder is on disk, too

    def cut(self, size: int) -> None:
        """Leave out what follows so many bytes."""
        self._file.truncate(size)
        self._size = size

    def append(self, data: bytes) -> None:
        """Write at the end; it is on the disk when this returns.

        Raises:
            BadInput: if the disk is full; the file is as it was.
        """
        with writing(self.path):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(data)

    def fileno(self) -> int:
        """Its descriptor, by which it can be locked."""
        return self._file.fileno()

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What a disk says that is full or failing, as one sentence.

    Raises:
        BadInput: naming what could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        fix = "make room on the disk, then resume"
        raise BadInput(str(path), expected="to write on its disk", got=one_line(error), fix=fix) from error
