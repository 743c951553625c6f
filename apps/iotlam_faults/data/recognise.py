"""Whether a file is a recording of a published set, whatever it is called now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iotlam_faults.data.catalogue import SETS, Entry, downloads, entries
from iotlam_faults.data.store import git_blob, sha256
from iotlam_waveform.files.recording import Notes


def recognised(path: Path) -> tuple[Entry, ...]:
    """The entries, one a channel, of a file whose content is that of a published recording; none for any other."""
    size = path.stat().st_size if path.is_file() else -1
    alike = [download for name in SETS for download in downloads(name) if download.bytes == size]
    if not alike:
        return ()
    checksums = {sha256(path), git_blob(path)}
    same = [download for download in alike if checksums & {download.sha256, download.git_blob}]
    return tuple(entry for one in same for entry in entries(one.set) if entry.file == one.file and not entry.member)


def known_notes(path: Path, published: Sequence[Entry]) -> Notes:
    """The notes beside a file, with what its entries know of it where they state nothing: published name and rate.

    Raises:
        BadInput: if there are notes that cannot be read.
    """
    notes = Notes.beside(path)
    if not published:
        return notes
    return notes.changed(name=notes.name or published[0].file, rate_hz=notes.rate_hz or published[0].rate_hz)
