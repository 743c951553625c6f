"""Recordings in .parquet files, by pyarrow: columns are named as in a .csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from iotlam.contracts import unit_factor
from iotlam_waveform.files.recording import Budget, Notes, Recording, bad, damaged
from iotlam_waveform.files.table import rate_of_steps, read_header

BYTES_PER_VALUE = 8


def read_parquet(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read a table of samples: a column `time [s]` (or of timestamps) gives the rate, every other is an axis or phase.

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
        budget.spend(BYTES_PER_VALUE * file.metadata.num_rows * max(file.metadata.num_columns, 1))
        table = file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}"[:120]) from error
    header = read_header(path, table.column_names, notes)
    columns = [_numbers(path, table, name) for name in table.column_names]
    times_N = columns.pop(header.time_column) if header.time_column is not None else None
    rate_hz = notes.rate_hz or _rate_hz(path, np.asarray(times_N), unit_factor(header.time_unit, "s"))
    values_NC = np.stack(columns, 1).astype(np.float32)
    return [Recording(values_NC, notes.sensor or path.stem, rate_hz, header.unit, notes.scale or 1.0,
                      shaft_hz=notes.shaft_hz)]  # fmt: skip


def _numbers(path: Path, table: Any, name: str) -> np.ndarray:
    """A column as numbers, float64; of timestamps, seconds from the first."""
    column = table.column(name)
    if str(column.type).startswith("timestamp"):
        times_N = column.to_numpy()
        return np.asarray((times_N - times_N[:1]) / np.timedelta64(1, "s"), np.float64)
    values_N = column.to_numpy()
    if values_N.dtype.kind not in "iuf":
        raise bad(path, f"numbers in column '{name}'", str(column.type), "store numbers")
    with np.errstate(invalid="ignore"):  # signalling NaN of a damaged file
        return np.asarray(values_N, np.float64)


def _rate_hz(path: Path, times_N: np.ndarray, unit_s: float) -> float:
    with np.errstate(invalid="ignore"):
        steps_N = np.diff(times_N)
    if not len(steps_N):
        raise damaged(path, f"{len(times_N)} rows")
    return rate_of_steps(
        path, float(steps_N.mean()), (float(steps_N.min()), float(steps_N.max())), len(times_N), unit_s
    )
