"""Whether the data sets that are here are what was published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iotlam.contracts import Json
from iotlam_faults.data.catalogue import downloads
from iotlam_faults.data.store import Store, is_genuine, sha256


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of a set.

    Attributes:
        genuine: files that are what was published or pinned.
        missing: files that are not here, or were unpacked and are gone.
        damaged: files, or members unpacked from them, that are something else.
    """

    genuine: int
    missing: int
    damaged: tuple[str, ...]

    def as_row(self) -> Json:
        """As a row of a table."""
        return {"genuine": self.genuine, "missing": self.missing, "damaged": ", ".join(self.damaged)}


def verify_set(store: Store, name: str, seen: Callable[[int], None]) -> Verified:
    """Check the files of a set by their checksums, and what was unpacked by those pinned then.

    Args:
        store: where it lies.
        name: of the set.
        seen: told the bytes that are checked.

    Raises:
        BadInput: if there is no such set.
    """
    genuine, missing, damaged = 0, 0, []
    lock = store.lock(name)
    for download in downloads(name):
        path = store.find(download)
        if path is None:
            missing += 1
        elif is_genuine(path, download, lock.pop(download.file, ""), seen):
            genuine += 1
        else:
            damaged.append(download.file)
    for member, pinned in lock.items():
        path = store.folder(name) / member
        if not path.exists():
            missing += 1
        elif sha256(path) != pinned:
            damaged.append(member)
    return Verified(genuine, missing, tuple(damaged))
