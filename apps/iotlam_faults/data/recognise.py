"""Whether a file is a recording of a published set, whatever it is called now."""

from __future__ import annotations

from pathlib import Path

from iotlam_faults.data.catalogue import SETS, Entry, downloads, entries
from iotlam_faults.data.store import git_blob, sha256
from iotlam_waveform.files.recording import Notes


def recognised(path: Path, channel: str | None = None) -> Entry | None:
    """The entry of a file whose content is that of a published recording, None for any other.

    Args:
        path: the file.
        channel: which of several entries of one file; default: the first.
    """
    size = path.stat().st_size if path.is_file() else -1
    alike = [download for name in SETS for download in downloads(name) if download.bytes == size]
    if not alike:
        return None
    checksums = {sha256(path), git_blob(path)}
    same = [download for download in alike if checksums & {download.sha256, download.git_blob}]
    found = [entry for one in same for entry in entries(one.set) if entry.file == one.file and not entry.member]
    asked = [entry for entry in found if entry.channel == channel]
    return next(iter(asked or found), None)


def known_notes(path: Path, entry: Entry | None) -> Notes:
    """The notes beside a file, with what its entry knows of it where they state nothing: published name and rate.

    Raises:
        BadInput: if there are notes that cannot be read.
    """
    notes = Notes.beside(path)
    if entry is None:
        return notes
    return notes.changed(name=notes.name or entry.file, rate_hz=notes.rate_hz or entry.rate_hz)
