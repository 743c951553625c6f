"""From a path to frames: the reader by suffix, its notes and its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from iotlam.contracts import SensorFrame
from iotlam_waveform.files.mat import read_mat
from iotlam_waveform.files.npz import read_npz
from iotlam_waveform.files.parquet import read_parquet
from iotlam_waveform.files.recording import Budget, Notes, Quantity, Recording, bad, frames_of, spelt
from iotlam_waveform.files.table import read_csv
from iotlam_waveform.files.wav import read_wav

READERS: dict[str, Callable[[Path, Notes, Budget], list[Recording]]] = {
    ".csv": read_csv,
    ".mat": read_mat,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".wav": read_wav,
}


def read_recordings(path: Path, quantity: Quantity, notes: Notes | None = None) -> Iterator[SensorFrame]:
    """The frames of a file, a second each, sensor by sensor.

    Args:
        path: the file.
        quantity: what is read for.
        notes: what is known of it besides; default: those that stand beside it.

    Raises:
        BadInput: if the file cannot be read, is damaged or of another quantity; nothing else is ever raised, and
            no more than four times the file and 256 MB is allocated.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise bad(path, f"a file that ends in {', '.join(READERS)}", path.suffix or "no suffix", "convert it")
    try:
        budget = Budget(path, path.stat().st_size)
        known = Notes.beside(path) if notes is None else notes
        recordings = reader(path, known.changed(units=known.units and spelt(known.units)), budget)
    except OSError as error:
        raise bad(path, "a file that can be read", str(error), "check the path and its rights") from error
    for recording in recordings:
        yield from frames_of(recording, quantity, path, budget)
