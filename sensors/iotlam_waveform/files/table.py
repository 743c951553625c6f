"""Recordings in .csv files: any with a header, and those of Analog Devices' CbM data set."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from iotlam.contracts import UNITS
from iotlam_waveform.files.columns import is_number, read_header, recording_of
from iotlam_waveform.files.recording import Budget, Notes, Recording, agreed, bad, damaged, factor, spelt
from iotlam_waveform.files.tacho import tacho_among

LONGEST_LINE = 4096
ADI_NAME = re.compile(r"(\d{4})_(GoB|[LH](?:IR|OR|BF))_.*")
ADI_GN_PER_V = 1.0 / 0.08
"""ADXL356C in its +-10 gn range gives 80 mV per gn; the data set does not state the range."""


@dataclass(slots=True)
class Table:
    """Rows of numbers as they are read, and what their times say.

    Attributes:
        columns: values in a row, the time included.
        values: float32, row by row, without the time.
        time_column: where the time is, None where there is none.
    """

    columns: int
    time_column: int | None
    values: array[float] = field(default_factory=lambda: array("f"))
    rows: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    longest_s: float = 0.0
    shortest_s: float = np.inf

    def add(self, numbers: list[float]) -> None:
        """Take a row."""
        if self.time_column is not None:
            now = numbers.pop(self.time_column)
            if self.rows:
                step = now - self.last_s
                self.longest_s, self.shortest_s = max(self.longest_s, step), min(self.shortest_s, step)
            else:
                self.first_s = now
            self.last_s = now
        self.values.extend(numbers)
        self.rows += 1


def read_csv(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read a table of samples; separators are ; , or tab, an empty field is missing data.

    - With a header: a column `time [s]` (or `t`, also `[ms]`, `[us]`) gives the rate, one `tacho` or `speed [1/min]`
      the speed, every other is an axis or phase with its unit in brackets, and left out if that is of another
      quantity. Units may stand in a second line instead. The notes stand in for what is not there; a column without a
      unit that rises throughout is no axis.
    - Without: Analog Devices' `<rpm>_<bearing>_...csv`, columns time;x;y;z in volts, whose first row ends in the
      volts at rest.

    Raises:
        BadInput: if it is damaged, ragged or irregular, or does not say rate or unit.
    """
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise damaged(path, "nothing in it")
    separator = next((mark for mark in ";\t," if mark in first), ",")
    if match := ADI_NAME.fullmatch(notes.name or path.name):
        tacho_among(path, notes, ())  # these have none that notes could name
        return [_adi(path, first, lines, notes, float(match[1]) / 60.0)]
    return [_headed(path, first, lines, separator, notes)]


def _adi(path: Path, first: str, lines: Iterator[str], notes: Notes, shaft_hz: float) -> Recording:
    opening = _numbers(path, first, ";", 1)
    if len(opening) != 7:
        raise damaged(path, f"a first row of {len(opening)} numbers, not time;x;y;z and three volts at rest")
    table = Table(columns=4, time_column=0)
    table.add(opening[:4])
    _fill(path, table, lines, ";")
    rest_C = np.array(opening[4:]) * ADI_GN_PER_V
    return Recording(np.asarray(table.values, np.float32).reshape(-1, 3), notes.sensor or "ADXL356",
                     _rate_hz(path, table, notes, "s"), "gn", ADI_GN_PER_V, rest_C,
                     notes.shaft_hz or shaft_hz or None)  # fmt: skip


def _headed(path: Path, first: str, lines: Iterator[str], separator: str, notes: Notes) -> Recording:
    columns, number, second = _texts(first, separator), 2, next(lines, "")
    units = [text.strip("[]()") for text in _texts(second, separator)]
    if _are_units(units) and len(units) == len(columns):
        columns = [f"{name} [{unit}]" for name, unit in zip(columns, units, strict=True)]
        number, second = 3, next(lines, "")
    header = read_header(path, columns, notes)
    table = Table(columns=len(columns), time_column=header.time_column)
    _fill(path, table, chain([second] if second else [], lines), separator, number)
    rate_hz = _rate_hz(path, table, notes, header.time_unit)
    values_NC = np.asarray(table.values, np.float32).reshape(-1, len(header.channels))
    return recording_of(path, header, values_NC, rate_hz, notes)


def _texts(line: str, separator: str) -> list[str]:
    return [text.strip().strip('"') for text in line.split(separator)]


def _are_units(texts: list[str]) -> bool:
    """Whether a line of a table says in what its columns are; some units may be unknown, but none is a number."""
    return any(spelt(text) in UNITS for text in texts) and not any(is_number(text) for text in texts)


def _fill(path: Path, table: Table, lines: Iterator[str], separator: str, first: int = 2) -> None:
    for number, line in enumerate(lines, first):
        table.add(_numbers(path, line, separator, number, table.columns))


def _numbers(path: Path, line: str, separator: str, number: int, count: int | None = None) -> list[float]:
    fields = line.split(separator)
    if count is not None and len(fields) != count:
        raise damaged(path, f"{len(fields)} instead of {count} fields in line {number}")
    if "_" in line:  # float() would take 1_000
        raise damaged(path, f"'{line.strip()[:40]}' in line {number}, no numbers")
    try:
        return [float(text) if text.strip() else np.nan for text in fields]
    except ValueError as error:
        raise damaged(path, f"'{line.strip()[:40]}' in line {number}, no numbers with a decimal point") from error


def _rate_hz(path: Path, table: Table, notes: Notes, unit: str) -> float:
    usual = (table.last_s - table.first_s) / max(table.rows - 1, 1)
    return rate_of_steps(path, notes, usual, (table.shortest_s, table.longest_s), table.rows, unit)


def rate_of_steps(path: Path, notes: Notes, usual: float, ends: tuple[float, float], rows: int, unit: str) -> float:
    """Sample rate from the steps of a column of times, or from the notes where that tells none.

    Args:
        path: of the file, for errors.
        notes: which may state the rate.
        usual: mean step.
        ends: the shortest and the longest.
        rows: how many rows there are.
        unit: of the steps.

    Raises:
        BadInput: if the times do not increase evenly, their unit is none, or the notes contradict them.
    """
    shortest, longest = ends
    even = 0.0 < shortest and 0.5 * usual < shortest and longest < 1.5 * usual < np.inf
    if notes.rate_hz is not None and not (even and unit in UNITS):
        return notes.rate_hz
    unit_s = factor(path, unit, "s")
    if not even:
        got = f"steps from {shortest * unit_s:g} to {longest * unit_s:g} s over {rows} rows"
        raise bad(path, "times that increase evenly", got, "sort the rows; write missing samples as empty fields")
    stated_hz = float(f"{1.0 / (usual * unit_s):.6g}")  # times are printed with few digits
    return agreed(path, "rate_hz", stated_hz, notes.rate_hz)


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise damaged(path, f"a line of more than {LONGEST_LINE} characters")
            if b"\0" in line:
                raise damaged(path, "bytes that are no text")
            try:
                text = line.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError:  # as older loggers write their units
                text = line.decode("latin-1").rstrip("\r\n")
            if text.strip():
                yield text
