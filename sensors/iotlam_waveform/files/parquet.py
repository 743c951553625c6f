"""Recordings in .parquet files, by pyarrow: columns are named as in a .csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from iotlam_waveform.files.columns import read_header, recording_of
from iotlam_waveform.files.recording import Budget, Notes, Recording, bad, damaged
from iotlam_waveform.files.table import rate_of_steps

BYTES_PER_TIME, BYTES_PER_VALUE = 16, 12
"""Of a time as it is read and as float64; of a sample as it is read and twice as float32."""


def read_parquet(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read a table of samples; columns are those of a .csv, and the time may be timestamps.

    The notes stand in for what is not there; an empty field is missing data.

    Raises:
        BadInput: if pyarrow is not installed, or the file is damaged, irregular, or does not say rate or unit.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        fix = "pip install 'iotlam[parquet]'"
        raise bad(path, "pyarrow, which reads it", "no such package", fix) from error
    try:
        file = parquet.ParquetFile(path, memory_map=False)
        names, types = file.schema_arrow.names, [str(one) for one in file.schema_arrow.types]
        rows = file.metadata.num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}"[:120]) from error
    header = read_header(path, names, notes)
    _check(path, names, types, header.time_column)
    count = len(header.channels)
    budget.spend(rows * (BYTES_PER_TIME * (len(names) - count) + BYTES_PER_VALUE * count))
    try:
        table = file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}"[:120]) from error
    at, rate_hz = header.time_column, notes.rate_hz
    if at is not None or rate_hz is None:
        rate_hz = _rate_hz(path, table.column(at), notes, header.time_unit)
    with np.errstate(over="ignore", invalid="ignore"):  # signalling NaN of a damaged file
        channels = [table.column(i).to_numpy().astype(np.float32) for i in range(len(names)) if i != at]
    return [recording_of(path, header, np.stack(channels, 1), rate_hz, notes)]


def _check(path: Path, names: list[str], types: list[str], time_column: int | None) -> None:
    """Columns hold numbers."""
    for index, (name, kind) in enumerate(zip(names, types, strict=True)):
        is_time = index == time_column and kind.startswith("timestamp")
        if not is_time and not kind.startswith(("int", "uint", "float", "double", "halffloat")):
            raise bad(path, f"numbers in column '{name}'", kind, "store numbers")


def _rate_hz(path: Path, column: Any, notes: Notes, unit: str) -> float:
    """From a column of times: numbers of a unit, or timestamps."""
    times_N = column.to_numpy()
    if times_N.dtype.kind == "M":
        times_N, unit = (times_N - times_N[:1]) / np.timedelta64(1, "s"), "s"
    with np.errstate(invalid="ignore"):
        steps_N = np.diff(np.asarray(times_N, np.float64))
    if not len(steps_N):
        raise damaged(path, f"{len(times_N)} rows")
    ends = float(steps_N.min()), float(steps_N.max())
    return rate_of_steps(path, notes, float(steps_N.mean()), ends, len(times_N), unit)
