"""Recordings in .mat files: Case Western Reserve bearings, ITSC currents, and any file with notes beside it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from iotlam_waveform.files.columns import TIME_NAMES, rises
from iotlam_waveform.files.matlab import MatError, matrices
from iotlam_waveform.files.recording import Budget, Notes, Recording, bad, damaged
from iotlam_waveform.files.tacho import tacho_among, with_speed

Arrays = dict[str, NDArray[Any]]
CWRU_KEY = re.compile(r"X(\d+)_(DE|FE|BA)_time")
FASTEST_HZ = 1000.0
SHORT = 0.1
"""Share of the longest array's samples below which another is none of the same recording."""

CWRU_48K = ((97, 100), (109, 112), (122, 125), (135, 138), (148, 151), (161, 164), (174, 177), (189, 192),
            (201, 204), (213, 217), (226, 229), (238, 241), (250, 254), (262, 265))  # fmt: skip
CWRU_12K = ((105, 108), (118, 121), (130, 133), (144, 147), (156, 160), (169, 172), (185, 188), (197, 200),
            (209, 212), (222, 225), (234, 237), (246, 249), (258, 261), (270, 318), (3001, 3008))  # fmt: skip
"""Official record numbers of the Bearing Data Center by sample rate; the files do not state it."""


def read_mat(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read a level 5 .mat file.

    - CWRU (`X<nnn>_DE_time`, ...): the rate follows from the official record number in the file's name, or that under
      which it was published (else in the keys); the unit is taken to be gn; `X<nnn>RPM` gives the shaft speed where it
      is there.
    - ITSC (a structure `itsc`): 1 kHz, ampere, every repetition a sensor of its own.
    - any other: arrays of two rows or more but for times and for what is much shorter than the longest; rate and unit
      from the notes, which may name one as `tacho`.

    Raises:
        BadInput: if it is version 7.3, damaged, empty, or does not say its rate.
    """
    content = path.read_bytes()
    budget.spend(len(content))
    try:
        found = dict(matrices(content, budget))
    except MatError as error:
        if "HDF5" in str(error):
            fix = "save it anew in MATLAB with save(..., '-v7')"
            raise bad(path, "a MATLAB file up to version 7", str(error), fix) from error
        raise damaged(path, str(error)) from error
    is_cwru = any(map(CWRU_KEY.fullmatch, found))
    itsc = {key.removeprefix("itsc/"): array for key, array in found.items() if key.startswith("itsc/")}
    if not (is_cwru or itsc):
        return _other(path, found, notes)
    tacho_among(path, notes, ())  # these have none that notes could name
    if is_cwru:
        return _cwru(path, found, notes)
    return [Recording(array, key, notes.rate_hz or 1000.0, notes.units or "A") for key, array in itsc.items()]


def _cwru(path: Path, found: Arrays, notes: Notes) -> list[Recording]:
    keys = {key: match for key in found if (match := CWRU_KEY.fullmatch(key))}
    numbers = [int(text) for text in re.findall(r"\d+", Path(notes.name or path.name).stem)]
    rates_hz = {rate for number in numbers if (rate := cwru_rate_hz(number))}
    number = min(int(match[1]) for match in keys.values())
    if len(keys) > 3:  # two records in one file: the one that the name tells
        number = next((n for n in numbers if f"X{n:03d}_DE_time" in keys), number)
    if len(rates_hz) != 1:
        rates_hz = {rate} if (rate := cwru_rate_hz(number)) else set()
    rate_hz = notes.rate_hz or next(iter(rates_hz), None)
    if rate_hz is None:
        fix = f"name the file <number>.mat, or state rate_hz in {path.name}.toml"
        raise bad(path, "an official CWRU record number, which tells the sample rate", f"{numbers or 'none'}", fix)
    rpm = [float(found[key][0, 0]) for key in found if key == f"X{number:03d}RPM" and found[key].size == 1]
    shaft_hz = notes.shaft_hz or next((value / 60.0 for value in rpm if _is_speed(value / 60.0)), None)
    return [
        Recording(found[key].reshape(-1, 1), match[2], rate_hz, notes.units or "gn", notes.scale or 1.0,
                  shaft_hz=shaft_hz)
        for key, match in keys.items() if int(match[1]) == number
    ]  # fmt: skip


def _is_speed(hertz: float) -> bool:
    return math.isfinite(hertz) and 0.0 < hertz < FASTEST_HZ


def cwru_rate_hz(number: int) -> float | None:
    """Sample rate of an official CWRU record in hertz, None for a number that is none."""
    for rate_hz, ranges in ((48e3, CWRU_48K), (12e3, CWRU_12K)):
        if any(low <= number <= high for low, high in ranges):
            return rate_hz
    return None


def _other(path: Path, found: Arrays, notes: Notes) -> list[Recording]:
    arrays = {key: array if len(array) >= array.shape[1] else array.T for key, array in found.items()
              if array.size > 1}  # fmt: skip
    tacho = tacho_among(path, notes, names := list(arrays))
    pulses = None if tacho is None else arrays.pop(names[tacho])
    signals = {key: array for key, array in arrays.items() if not _is_time(key, array)}
    if not signals:
        raise bad(path, "an array of samples", ", ".join(found)[:60] or "no arrays", "export the waveform")
    if notes.rate_hz is None or notes.units is None:
        fix = f'write them in {path.name}.toml: rate_hz = 12000, units = "gn"'
        raise bad(path, "notes that state rate_hz and units", "neither in the file", fix)
    longest = max(map(len, signals.values()))
    recordings = [
        Recording(array, key, notes.rate_hz, notes.units, notes.scale or 1.0, shaft_hz=notes.shaft_hz)
        for key, array in signals.items()
        if len(array) >= SHORT * longest
    ]
    return recordings if pulses is None else [with_speed(path, one, notes, pulses) for one in recordings]


def _is_time(key: str, array: NDArray[Any]) -> bool:
    """Whether an array holds the times of samples: so it is called, or it rises throughout."""
    return key.rpartition("/")[2].lower() in TIME_NAMES or (array.shape[1] == 1 and rises(array[:, 0]))
