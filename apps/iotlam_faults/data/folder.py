"""A user's own recordings: a folder with a catalogue.

`catalogue.csv` in the folder has a row for each file. What it must say: `file` and `bearing`, a name of the physical
bearing, so that no split puts it on both sides. What it may say: `faults` (joined by +, empty if sound), `rpm`,
`model` of the bearing or its `balls`, `ball_mm`, `pitch_mm`, `contact_deg`; `rate_hz`, `units` and `scale` where the
files do not tell; `channel`, `part`, `severity_mm`, `load`, `doubt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import SETS, entries, entry_of, number, read_table
from iotlam_faults.data.reading import Waveform, finite
from iotlam_machine.bearings import Bearing
from iotlam_machine.machine import BEARING_FAULTS, Kind
from iotlam_waveform.files import read_recordings
from iotlam_waveform.files.recording import Notes
from iotlam_waveform.vibration.plugin import QUANTITY

CATALOGUE = "catalogue.csv"
NEEDED = ("file", "bearing")
OF_GEOMETRY = ("balls", "ball_mm", "pitch_mm", "contact_deg")
OF_NOTES = ("rate_hz", "units", "scale", "shaft_hz")
OF_ENTRY = ("file", "bearing", "channel", "part", "faults", "severity_mm", "load", "rpm", "model", "place", "doubt")


def own_waveforms(folder: Path) -> list[Waveform]:
    """All recordings of a folder.

    Raises:
        BadInput: naming the row and column that is wrong, or the file that cannot be read.
    """
    rows = _rows(folder / CATALOGUE)
    return [_waveform(folder, row, f"{folder / CATALOGUE}, line {line}") for line, row in enumerate(rows, 2)]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = list(read_table(path))
    except (OSError, UnicodeDecodeError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        fix = "write one: its first line names columns, file and bearing among them"
        raise BadInput(str(path), expected="a readable catalogue", got=got, fix=fix) from error
    columns = set(rows[0]) if rows else set()
    known = {*OF_ENTRY, *OF_NOTES, *OF_GEOMETRY}
    if missing := [name for name in NEEDED if name not in columns]:
        raise BadInput(
            str(path), expected=f"a column {missing[0]}", got=", ".join(map(str, columns)) or "nothing", fix="add it"
        )
    if unknown := sorted(str(name) for name in columns - known):
        raise BadInput(str(path), expected=f"columns of {', '.join(sorted(known))}", got=unknown[0], fix="rename it")
    return rows


def _waveform(folder: Path, row: dict[str, str], subject: str) -> Waveform:
    filled = {key: text.strip() for key, text in row.items() if text and text.strip()}
    if missing := [name for name in NEEDED if name not in filled]:
        raise BadInput(subject, expected=f"a {missing[0]}", got="an empty field", fix="fill it in")
    if "\0" in filled["file"]:
        raise BadInput(subject, expected="the name of a file", got="a zero byte in it", fix="correct it")
    if unknown := [name for name in filled.get("faults", "").split("+") if name and name not in known_faults()]:
        some = ", ".join((*BEARING_FAULTS, "cage", "imbalance"))
        raise BadInput(subject, expected=f"faults such as {some}, joined by +", got=f"'{unknown[0]}'", fix="correct it")
    path = folder / filled["file"]
    notes = _notes(path, filled, subject)
    frames = list(read_recordings(path, QUANTITY, notes))
    wanted = filled.get("channel", frames[0].sensor if frames else "")
    chosen = [frame for frame in frames if frame.sensor == wanted]
    if not chosen:
        known = ", ".join(sorted({frame.sensor for frame in frames}))
        raise BadInput(subject, expected=f"a channel of {known}", got=f"'{wanted}'", fix="correct the column channel")
    speed = chosen[0].meta.get("shaft_hz")
    entry = entry_of(
        {
            "set": folder.resolve().name,
            "channel": wanted,
            **{key: text for key, text in filled.items() if key in OF_ENTRY},
            "rate_hz": str(chosen[0].meta["rate_hz"]),
            "rpm": filled.get("rpm") or (f"{60.0 * float(np.mean(speed))}" if speed is not None else ""),
        },
        subject,
    )
    entry = entry.changed(own_geometry=_geometry(filled, subject))
    return Waveform(finite(path, np.concatenate([frame.data for frame in chosen])), entry, path)


def known_faults() -> set[str]:
    """Names of faults: those that can be simulated, and those of the published sets."""
    published = {fault for name in SETS for entry in entries(name) for fault in entry.faults}
    return {*get_args(Kind), "cage", *published}


def _notes(path: Path, row: dict[str, str], subject: str) -> Notes:
    """What the catalogue says of a file, on top of the notes beside it."""
    said: dict[str, object] = {}
    for key in OF_NOTES:
        if key in row:
            said[key] = row[key] if key == "units" else number(row[key], f"{subject}, {key}")
    beside = {key: value for key, value in Notes.beside(path).to_raw().items() if value is not None}
    return Notes.from_raw({**beside, **said}, subject)


def _geometry(row: dict[str, str], subject: str) -> Bearing | None:
    raw = {key: number(row[key], f"{subject}, {key}") for key in OF_GEOMETRY if key in row}
    if not raw:
        return None
    if "balls" in raw:
        raw["balls"] = round(raw["balls"])
    return Bearing.from_raw(raw, subject)
