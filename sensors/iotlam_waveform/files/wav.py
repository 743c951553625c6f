"""Recordings in .wav files: PCM of 16, 24 or 32 bits and float32.

The standard library's reader knows no floating point, scipy's allocates what the header claims.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iotlam_waveform.files.recording import Budget, Notes, Recording, agreed, bad, damaged
from iotlam_waveform.files.tacho import split_tacho, tacho_among

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
FULL_SCALE = {(PCM, 16): 2.0**15, (PCM, 24): 2.0**23, (PCM, 32): 2.0**31, (FLOAT, 32): 1.0}


class Format(NamedTuple):
    """What the `fmt ` chunk says: coding, channels, frames a second, bits a sample."""

    coding: int
    channels: int
    rate_hz: int
    bits: int


def read_wav(path: Path, notes: Notes, budget: Budget) -> list[Recording]:
    """Read a .wav file; channels are axes or phases.

    A .wav file knows no unit: the notes state `units` and `scale`, how many of them full scale (float: 1.0) is. They
    may name the number of a channel as `tacho`.

    Raises:
        BadInput: if it is damaged, of another coding, without these notes, or they contradict it.
    """
    with path.open("rb") as file:
        if not _is_riff(file):
            raise damaged(path, "no RIFF/WAVE header")
        form, data = _chunks(path, file)
    if notes.units is None or notes.scale is None:
        fix = f'write them in {path.name}.toml: units = "gn", scale = 50.0'
        raise bad(path, "notes that state units, and as scale what full scale is", "none", fix)
    budget.spend(len(data) * (7 if form.bits == 24 else 3) // 3)
    values_NC = _samples(form, data).reshape(-1, form.channels)
    scale = notes.scale / FULL_SCALE[form.coding, form.bits]
    rate_hz = agreed(path, "rate_hz", float(form.rate_hz), notes.rate_hz)
    found = Recording(values_NC, notes.sensor or path.stem, rate_hz, notes.units, scale, shaft_hz=notes.shaft_hz)
    numbers = [str(number) for number in range(1, form.channels + 1)] if form.channels > 1 else []
    return [split_tacho(path, found, notes, tacho_among(path, notes, numbers))]


def _is_riff(file: BinaryIO) -> bool:
    head = file.read(12)
    return len(head) == 12 and head[:4] == b"RIFF" and head[8:] == b"WAVE"


def _chunks(path: Path, file: BinaryIO) -> tuple[Format, bytes]:
    form, left = None, path.stat().st_size - 12
    while left >= 8:
        name, size = struct.unpack("<4sI", file.read(8))
        left -= 8
        if size > left:
            raise damaged(path, f"a chunk '{name.decode('latin-1')}' that claims {size} bytes, more than are left")
        if name == b"fmt ":
            form = _format(path, file.read(size))
        elif name == b"data" and form is not None:
            return form, file.read(size - size % (form.channels * form.bits // 8))
        else:
            file.seek(size, 1)
        file.seek(size % 2, 1)
        left -= size + size % 2
    raise damaged(path, "no chunk of data" if form else "no chunk that states the format")


def _format(path: Path, body: bytes) -> Format:
    if len(body) < 16:
        raise damaged(path, "a format chunk that breaks off")
    coding, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if coding == EXTENSIBLE and len(body) >= 26:
        (coding,) = struct.unpack("<H", body[24:26])
    if (coding, bits) not in FULL_SCALE or channels == 0:
        got = f"coding {coding} of {bits} bits, {channels} channels"
        raise bad(path, "PCM of 16, 24 or 32 bits or float of 32", got, "export it so")
    return Format(coding, channels, rate_hz, bits)


def _samples(form: Format, data: bytes) -> NDArray[Any]:
    if form.coding == FLOAT:
        return np.frombuffer(data, "<f4")
    if form.bits != 24:
        return np.frombuffer(data, f"<i{form.bits // 8}")
    bytes_N3 = np.frombuffer(data, np.uint8).reshape(-1, 3)
    wide_N4 = np.empty((len(bytes_N3), 4), np.uint8)
    wide_N4[:, :3] = bytes_N3
    wide_N4[:, 3] = (bytes_N3[:, 2] >> 7) * np.uint8(0xFF)  # the sign
    return wide_N4.view("<i4")[:, 0]
