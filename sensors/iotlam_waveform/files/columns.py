"""Columns of a table of samples, .csv or .parquet: which is the time, the speed or an axis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam_waveform.files.recording import (
    Axis,
    Notes,
    Recording,
    bad,
    contradicted,
    factor,
    of_quantity,
    speed_trace,
    spelt,
)
from iotlam_waveform.files.tacho import split_tacho, tacho_among

COLUMN = re.compile(r"\s*([^\[(]*?)\s*(?:[\[(]([^\])]*)[\])])?\s*")
TIME_NAMES = ("t", "time", "timestamp")
SPEED_NAMES = ("n", "rpm", "shaft", "shaft_hz", "shaft_speed", "speed")
UNIT_IN_NAME = {"rpm": "1/min", "shaft_hz": "Hz"}
COUNTER = "count"
"""Unit of a column that counts samples or time."""

AXIS_NAME = re.compile(
    r"(?:[xyz][ _.-]?)?(?:acc|vib|axi|horiz|vert|radial|current)[\w .-]*"
    r"|(?:ch|chan|channel|sensor|phase|bearing)?[ _.-]?[a-z]{0,2}[ _.-]?\d*",
    re.IGNORECASE,
)
"""Names of columns that are axes or phases, whatever stands beside them: `x`, `acc_y`, `Channel 1`, `DE`, `i2`."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the names of columns say.

    Attributes:
        time_column: where the time is, None where there is none.
        time_unit: of it.
        channels: all others.
        tacho: which of them holds a tachometer's pulses, None where none does.
        bare: which of them have their unit from the notes alone.
    """

    time_column: int | None
    time_unit: str
    channels: tuple[Axis, ...]
    tacho: int | None
    bare: tuple[int, ...]


def read_header(path: Path, columns: list[str], notes: Notes) -> Header:
    """Read the names of columns, such as `time [s]` and `x [m/s2]`.

    Raises:
        BadInput: if they name no axis, two axes alike or, where the notes state no rate, no time; or state other units
            than the notes.
    """
    matches = [COLUMN.fullmatch(text) for text in columns]
    names = [match[1] if match else "" for match in matches]
    units = [spelt((match[2] if match else None) or "") for match in matches]
    at = next((index for index, name in enumerate(names) if name.lower() in TIME_NAMES), None)
    others = [index for index in range(len(names)) if index != at]
    tacho = tacho_among(path, notes, [names[index] for index in others])
    stated = [Axis(names[index], units[index] or UNIT_IN_NAME.get(names[index].lower(), "")) for index in others]
    bare = [nth for nth, axis in enumerate(stated) if notes.units and not axis.unit and nth != tacho]
    channels = [Axis(axis.name, axis.unit or notes.units or "") for axis in stated]
    axes = [axis for nth, axis in enumerate(channels) if nth != tacho]
    if any(not name or is_number(name) for name in names) or not axes:
        fix = "add a first line that names the columns"
        raise bad(path, "a header such as 'time [s];x [m/s2]'", ", ".join(names)[:60], fix)
    if len({(axis.name.lower(), axis.unit) for axis in axes}) < len(axes):
        raise bad(path, "a name for each column", ", ".join(columns)[:60], "rename those that share one")
    if notes.units is not None and not any(axis.unit == notes.units for axis in axes):
        raise contradicted(path, "units", ", ".join(dict.fromkeys(axis.unit for axis in axes)), notes.units)
    if notes.rate_hz is None and at is None:
        raise bad(path, "a column 'time [s]'", ", ".join(names)[:60], f"add it, or state rate_hz in {path.name}.toml")
    return Header(at, (units[at] if at is not None else "") or "s", tuple(channels), tacho, tuple(bare))


def recording_of(path: Path, header: Header, values_NC: NDArray[np.float32], rate_hz: float, notes: Notes) -> Recording:
    """The recording that a table holds: its axes, and the speed that a column or the notes tell.

    Args:
        path: of the file, for errors.
        header: of C channels.
        values_NC: their samples.
        rate_hz: sample rate.
        notes: beside the file.

    Raises:
        BadInput: if it does not say which columns are axes or which is the speed, or the speed is none.
    """
    axes, shaft_hz = _axes(path, header, values_NC, notes), _speed(path, header, values_NC, notes)
    found = Recording(values_NC, notes.sensor or path.stem, rate_hz, "", notes.scale or 1.0,
                      shaft_hz=shaft_hz, axes=axes)  # fmt: skip
    return split_tacho(path, found, notes, header.tacho)


def rises(values_N: NDArray[Any]) -> bool:
    """Whether it never falls and ends above where it begins, as times and counters do; missing samples aside."""
    missing_N = np.isnan(values_N)
    if missing_N.any():
        values_N = values_N[~missing_N]
    return bool(values_N.size and values_N[-1] > values_N[0] and (values_N[1:] >= values_N[:-1]).all())


def _axes(path: Path, header: Header, values_NC: NDArray[np.float32], notes: Notes) -> tuple[Axis, ...]:
    """The channels; of those without a unit of their own, counters get theirs.

    Raises:
        BadInput: if one without may as well be no axis, and others are not called like it but for the last letter.
    """
    axes = list(header.channels)
    for index in header.bare:
        if rises(values_NC[:, index]):
            axes[index] = Axis(axes[index].name, COUNTER)
    bare = [axes[index].name for index in header.bare if axes[index].unit != COUNTER]
    unclear = [name for name in bare if name.lower() in SPEED_NAMES or not AXIS_NAME.fullmatch(name)]
    names = [axes[index].name.lower() for index in of_quantity(axes, notes.units or "")]
    if unclear and len({name[:-1] or name for name in names}) > 1:
        example = next((name for name in bare if name not in unclear), bare[-1])
        fix = "write it there, and leave units out of the notes; what has none is then left out"
        raise bad(path, f"the unit of each axis in the header, such as '{example} [{notes.units}]'",
                  f"{', '.join(bare)} without"[:60], fix)  # fmt: skip
    return tuple(axes)


def _speed(
    path: Path, header: Header, values_NC: NDArray[np.float32], notes: Notes
) -> float | NDArray[np.float64] | None:
    """The shaft's speed as the notes state it, or the column does: one number where that does not vary.

    Raises:
        BadInput: if several columns do, or one holds what is no speed.
    """
    found = [index for index, axis in enumerate(header.channels) if _is_speed(axis)]
    if notes.shaft_hz is not None or header.tacho is not None or not found:
        return notes.shaft_hz
    names = [header.channels[index].name for index in found]
    if len(found) > 1:
        fix = f"leave the others away, or state shaft_hz in {path.name}.toml"
        raise bad(path, "one column with the speed of the shaft", ", ".join(names)[:60], fix)
    per_hz = factor(path, header.channels[found[0]].unit, "Hz")
    speed_N = speed_trace(path, names[0], values_NC[:, found[0]].astype(np.float64) * per_hz)
    return float(speed_N[0]) if len(speed_N) and (speed_N == speed_N[0]).all() else speed_N


def _is_speed(axis: Axis) -> bool:
    """Whether a column holds the shaft's speed: turns a minute always do, other frequencies if they are called so."""
    return axis.unit == "1/min" or (axis.unit == "Hz" and axis.name.lower() in SPEED_NAMES)


def is_number(text: str) -> bool:
    """Whether it is one, with a decimal point."""
    try:
        float(text)
    except ValueError:
        return False
    return True
