"""Recordings in .npz files: named as a SensorFrame and its metadata are."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from iotlam_waveform.files.recording import Budget, Notes, Recording, agreed, bad, damaged, speed_trace, spelt, unpacked
from iotlam_waveform.files.tacho import tacho_among, with_speed

HEADER_BYTES = PART_BYTES = 1 << 16
KNOWN = ("data", "rate_hz", "units", "shaft_hz", "sensor")


def read_npz(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read `data` (samples, or samples x axes), `rate_hz`, `units`, and where known `shaft_hz`, `tacho` and `sensor`.

    The notes stand in for what is not there; their speed and sensor count before the file's. `shaft_hz` is a number, or
    an array spread over the recording, `tacho` a tachometer's signal sample by sample. Objects (pickles) are refused.

    Raises:
        BadInput: if it is damaged, lacks data, rate or unit, holds objects, or its notes contradict it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            tacho = tacho_among(path, notes, names)
            wanted = [name for index, name in enumerate(names) if name in KNOWN or index == tacho]
            found = {name: _member(path, archive, name, budget) for name in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}"[:120]) from error
    if "data" not in found or found["data"].ndim not in (1, 2) or found["data"].dtype.kind not in "iuf":
        raise bad(path, "an array 'data' of real numbers, samples x axes", f"{', '.join(found) or 'none'}",
                  "save it with numpy.savez(..., data=..., rate_hz=..., units=...)")  # fmt: skip
    rate_hz, units = _number(path, found, "rate_hz"), spelt(str(found["units"])) if "units" in found else None
    rate_hz = notes.rate_hz if rate_hz is None else agreed(path, "rate_hz", rate_hz, notes.rate_hz)
    units = notes.units if units is None else agreed(path, "units", units, notes.units)
    if rate_hz is None or units is None:
        raise bad(path, "rate_hz and units", "a file that lacks one", "add them when saving, or in its notes")
    data = found["data"]
    recording = Recording(
        data.reshape(len(data), -1) if data.size else data.reshape(0, 1), notes.sensor or str(found.get("sensor", "")),
        rate_hz, units, notes.scale or 1.0, shaft_hz=notes.shaft_hz or _speed(path, found),
    )  # fmt: skip
    return [recording if tacho is None else with_speed(path, recording, notes, found[names[tacho]])]


def _member(path: Path, archive: zipfile.ZipFile, name: str, budget: Budget) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        content = unpacked(iter(lambda: file.read(PART_BYTES), b""), budget)
    stream = io.BytesIO(content[:HEADER_BYTES])
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise bad(path, "plain numbers and text", f"objects (a pickle) in '{name}'", "save numbers only")
    count = math.prod(shape)
    body = memoryview(content)[stream.tell() :]
    if count * dtype.itemsize != len(body) or any(size < 0 for size in shape):
        raise ValueError(f"{len(body)} bytes for '{name}' of shape {shape} and {dtype}")
    if count == 0:
        return np.zeros(shape, dtype) if max(shape) < len(content) else np.zeros(0, dtype)
    return np.frombuffer(body, dtype, count).reshape(shape, order="F" if fortran else "C")


def _number(path: Path, found: dict[str, NDArray[Any]], key: str) -> float | None:
    if key not in found:
        return None
    value = found[key]
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or float(value.ravel()[0]) <= 0:
        raise bad(path, f"one positive number as '{key}'", f"an array of shape {value.shape} and {value.dtype}",
                  "save a number")  # fmt: skip
    return float(value.ravel()[0])


def _speed(path: Path, found: dict[str, NDArray[Any]]) -> float | NDArray[np.float64] | None:
    trace = found.get("shaft_hz")
    if trace is None or trace.size == 1:
        return _number(path, found, "shaft_hz")
    if trace.ndim != 1 or not trace.size or trace.dtype.kind not in "iuf":
        raise bad(path, "positive numbers as 'shaft_hz'", f"an array of shape {trace.shape} and {trace.dtype}",
                  "save turns a second, one number or a row of them")  # fmt: skip
    return speed_trace(path, "shaft_hz", trace.astype(np.float64))
