"""From an entry of the catalogue to its waveform.

Every set has its own layout in its files; here each is read into samples of one channel or several, at the rate and
with the speed that the catalogue states.

Shapes: N samples of C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame, unit_factor
from iotlam_faults.data.catalogue import Entry, downloads, find_set
from iotlam_faults.data.store import Store
from iotlam_waveform.current import read as read_current
from iotlam_waveform.files.matlab import MatError, matrices
from iotlam_waveform.files.recording import Budget, damaged
from iotlam_waveform.vibration import read as read_vibration

Singles = NDArray[np.float32]

GN = unit_factor("gn", "m/s2")


@dataclass(frozen=True, slots=True)
class Waveform:
    """One recording.

    Attributes:
        values_NC: float32; of vibration m/s2 where the set states a unit, else as stored; of current ampere.
        entry: what is known of it.
        path: the file it comes from.
    """

    values_NC: Singles
    entry: Entry
    path: Path


def waveforms(store: Store, entry: Entry) -> list[Waveform]:
    """The recordings of an entry; more than one where it names a pattern, of a life the last ones.

    Raises:
        BadInput: if the files are not here, or not what the catalogue says.
    """
    download = next(one for one in downloads(entry.set) if one.file == entry.file)
    paths = store.recordings(entry, download)[-find_set(entry.set).last_records :]  # -0 for all
    if not paths:
        raise BadInput(
            f"Data set '{entry.set}'",
            expected=f"{entry.member or entry.file} in {store.folder(entry.set)}",
            got="no such file",
            fix=f"run: iotlam faults data get {entry.set}",
        )
    return [Waveform(finite(path, _READERS[entry.set](path, entry)), entry, path) for path in paths]


def _frames(read_sensor: Callable[[Path], Iterator[SensorFrame]]) -> Callable[[Path, Entry], Singles]:
    """A set whose files the sensors' own reader knows."""

    def read(path: Path, entry: Entry) -> Singles:
        frames = [frame for frame in read_sensor(path) if frame.sensor == entry.channel]
        if not frames:
            raise damaged(path, f"no channel '{entry.channel}'")
        return np.concatenate([frame.data for frame in frames])

    return read


def _array(name: str, scale: float = 1.0) -> Callable[[Path, Entry], Singles]:
    """A set whose .mat files hold an array of a name; `*` for the only large one."""

    def read(path: Path, entry: Entry) -> Singles:
        found = {key: array for key, array in _matrices(path).items() if array.size > 1000}
        key = next((key for key in found if name in (key, "*")), None)
        if key is None:
            raise damaged(path, f"no array '{name}' but {', '.join(found) or 'none'}")
        values_NC = found[key] if len(found[key]) >= found[key].shape[1] else found[key].T
        return np.asarray(values_NC[:, :1] * scale, np.float32)

    return read


def _paderborn(path: Path, entry: Entry) -> Singles:
    """The structure's field Y lists channels by name: the samples stand beside their `Name`."""
    found = _matrices(path, text=True)
    names = {key.removesuffix("/Name"): _text(array) for key, array in found.items() if key.endswith("/Name")}
    channel = next((key for key, text in names.items() if text == entry.channel), None)
    if channel is None or f"{channel}/Data" not in found:
        raise damaged(path, f"no channel '{entry.channel}'")
    return np.asarray(found[f"{channel}/Data"].reshape(-1, 1), np.float32)


def _table(skip: int) -> Callable[[Path, Entry], Singles]:
    """A set of tables without a header that says anything."""

    def read(path: Path, entry: Entry) -> Singles:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[skip:]
        separator = next((mark for mark in "\t,;" if lines and mark in lines[0]), None)
        wanted = [int(index) for index in entry.channel.split(",")]
        try:
            rows = [[float(line.split(separator)[index]) for index in wanted] for line in lines if line.strip()]
        except (ValueError, IndexError) as error:
            raise damaged(path, f"a line that is no row of numbers ({error})") from error
        return np.asarray(rows, np.float32).reshape(-1, len(wanted))

    return read


_READERS: dict[str, Callable[[Path, Entry], Singles]] = {
    "adi_cbm": _frames(read_vibration),
    "cwru": _frames(read_vibration),
    "hust": _array("data", GN),
    "itsc_current": _frames(read_current),
    "jnu": _table(0),
    "mfpt": _array("bearing/gs", GN),
    "paderborn": _paderborn,
    "seu": _table(16),
    "uored": _array("*"),
    "xjtu_sy": _table(1),
}


def _matrices(path: Path, text: bool = False) -> dict[str, NDArray[Any]]:
    content = path.read_bytes()
    try:
        return dict(matrices(content, Budget(path, len(content)), text))
    except MatError as error:
        raise damaged(path, str(error)) from error


def _text(array: NDArray[Any]) -> str:
    return "".join(chr(int(code)) for code in array.ravel())


def finite(path: Path, values_NC: Singles) -> Singles:
    """The samples, if all are numbers.

    Raises:
        BadInput: if some are not.
    """
    if not np.isfinite(values_NC).all():
        raise damaged(path, f"{int((~np.isfinite(values_NC)).sum())} values that are no numbers")
    return values_NC
