"""A user's own recordings: a folder with a catalogue.

`catalogue.csv` in the folder has a row for each file. What it must say: `file` and `bearing`, a name of the physical
bearing, so that no split puts it on both sides. What it may say: `faults` (joined by +, empty if sound), `rpm`,
`model` of the bearing or its `balls`, `ball_mm`, `pitch_mm`, `contact_deg`; `rate_hz`, `units` and `scale` where the
files do not tell; `channel` (a sensor, an axis or a table's column; else the first), `part`, `severity_mm`, `load`,
`doubt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import SETS, entries, entry_of, number, read_table
from iotlam_faults.data.reading import Waveform, finite
from iotlam_faults.physics.tracking import moves
from iotlam_faults.signals import Signal, named, read_signals
from iotlam_machine.bearings import Bearing
from iotlam_machine.machine import BEARING_FAULTS, Kind
from iotlam_waveform.files.recording import Notes

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
    rows = catalogue(folder)
    return [_waveform(folder, row, f"{folder / CATALOGUE}, line {line}") for line, row in enumerate(rows, 2)]


def catalogue(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's catalogue, by column.

    Raises:
        BadInput: if there is none that can be read, or a column is missing or unknown.
    """
    path = folder / CATALOGUE
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
    signal = _channel(read_signals(path, notes), filled.get("channel"), subject)
    own_rpm = _rpm(signal, subject)
    entry = entry_of(
        {
            "set": folder.resolve().name,
            **{key: text for key, text in filled.items() if key in OF_ENTRY},
            "channel": signal.channel,
            "rate_hz": str(signal.rate_hz),
            "rpm": filled.get("rpm") or own_rpm,
        },
        subject,
    )
    entry = entry.changed(own_geometry=_geometry(filled, subject))
    return Waveform(finite(path, signal.values_N[:, None]), entry, path)


def _channel(signals: Sequence[Signal], wanted: str | None, subject: str) -> Signal:
    """The channel that a row names, else the first."""
    found = named(signals, wanted) if wanted else signals[0]
    if found is None:
        known, fix = ", ".join(signal.channel for signal in signals), "correct the column channel"
        raise BadInput(subject, expected=f"a channel of {known}", got=f"'{wanted}'", fix=fix)
    return found


def _rpm(signal: Signal, subject: str) -> str:
    """The speed that a file states, empty where it states none; one that moves is refused: windows count as steady."""
    if signal.speed_N is not None and moves(torch.from_numpy(signal.speed_N)):
        got = f"one from {60.0 * signal.speed_N.min():.0f} to {60.0 * signal.speed_N.max():.0f} rpm"
        expected, fix = "a speed that does not move", "cut out a part where it is steady, and state its rpm"
        raise BadInput(subject, expected=expected, got=got, fix=fix)
    return "" if signal.shaft_hz is None else f"{60.0 * signal.shaft_hz}"


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
