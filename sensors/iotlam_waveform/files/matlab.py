"""MATLAB's level 5 container, read from the bytes that are there.

Written from the published description of the format (MathWorks, "MAT-File Format"). scipy's reader is not used: it
allocates what a header claims, and ends the process with a segmentation fault on some files with a flipped bit.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam_waveform.files.recording import Budget, unpacked

HEADER_BYTES = 128
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
PACKED_BYTES = 1 << 10
"""Unpacked at once: they expand to 1 MB at most."""

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, TEXT = 1, 2, 4
NUMERIC_CLASSES = range(6, 16)
STORAGE = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
DEEPEST = 8
MOST_FIELDS = 4096

Leaf = tuple[str, NDArray[Any]]


class MatError(Exception):
    """The bytes are no level 5 file, in a few words."""


@dataclass(frozen=True, slots=True)
class _Element:
    kind: int
    body: memoryview


def matrices(content: bytes, budget: Budget, text: bool = False) -> Iterator[Leaf]:
    """All real numeric arrays with their paths, such as ("itsc/ITSC_A10/Repetition01", array of shape (1000, 3)).

    Arrays are views of the bytes, in the dtype they are stored in. Elements of an array of structures are numbered in
    the path, from 0.

    Args:
        content: of the file.
        budget: what unpacking may cost.
        text: give text too, as the codes of its characters.

    Raises:
        MatError: if the bytes are no level 5 file, or break off.
        BadInput: if they expand beyond the budget.
    """
    if content[:8] == HDF5_MAGIC or content[512:520] == HDF5_MAGIC or content[124:126] in (b"\x00\x02", b"\x02\x00"):
        raise MatError("version 7.3 (HDF5)")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if len(content) < HEADER_BYTES or order is None:
        raise MatError("no MATLAB 5.0 header")
    for element in _elements(memoryview(content)[HEADER_BYTES:], order):
        if element.kind == COMPRESSED:
            inflated = memoryview(_inflate(element.body, budget))
            element = next(_elements(inflated, order), _Element(0, inflated))
        if element.kind == MATRIX:
            yield from _leaves(element.body, order, "", 0, text)


def _inflate(packed: memoryview, budget: Budget) -> bytearray:
    try:
        return unpacked(_parts(packed), budget)
    except zlib.error as error:
        raise MatError(f"a compressed variable that does not unpack ({error})") from error


def _parts(packed: memoryview) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    for at in range(0, len(packed), PACKED_BYTES):
        yield unpacker.decompress(packed[at : at + PACKED_BYTES])
        if unpacker.eof:
            return
    raise MatError("a compressed variable that breaks off")


def _elements(body: memoryview, order: str) -> Iterator[_Element]:
    at = 0
    while at < len(body):
        if at + 8 > len(body):
            raise MatError("an element that breaks off")
        first, size = (int(word) for word in np.frombuffer(body[at : at + 8], f"{order}u4"))
        if first >> 16:  # small element: length and type in one word, data in the next
            kind, size, start = first & 0xFFFF, first >> 16, at + 4
            if size > 4:
                raise MatError("a small element of more than four bytes")
            at += 8
        else:
            kind, start = first, at + 8
            at = start + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(body):
            raise MatError(f"an element that claims {size} bytes and has {len(body) - start}")
        yield _Element(kind, body[start : start + size])


def _leaves(body: memoryview, order: str, path: str, depth: int, text: bool) -> Iterator[Leaf]:
    if depth > DEEPEST:
        raise MatError(f"variables nested deeper than {DEEPEST}")
    parts = _elements(body, order)
    flags, sizes, name = (next(parts, None) for _ in range(3))
    if flags is None or sizes is None or name is None:
        return  # an empty cell
    kind, shape = int(_numbers(flags, order)[:1].sum()) & 0xFF, tuple(int(size) for size in _numbers(sizes, order))
    here = "/".join(filter(None, [path, bytes(name.body).decode("latin-1")]))
    if kind in NUMERIC_CLASSES:
        yield here, _array(next(parts, None), shape, order)
    elif kind == TEXT and text and (codes := next(parts, None)) is not None:
        yield here, _numbers(codes, order)
    elif kind == CELL:
        for index, cell in enumerate(parts):
            yield from _leaves(cell.body, order, f"{here}/{index}", depth + 1, text)
    elif kind == STRUCT:
        fields = _field_names(next(parts, None), next(parts, None), order)
        several = math.prod(shape) > 1
        for index, entry in enumerate(parts):
            element = f"{here}/{index // len(fields)}" if several else here
            yield from _leaves(entry.body, order, f"{element}/{fields[index % len(fields)]}", depth + 1, text)


def _array(data: _Element | None, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if data is None or len(shape) != 2:
        raise MatError(f"an array of shape {shape} without data" if data is None else f"{len(shape)} dimensions")
    flat = _numbers(data, order)
    if shape[0] < 0 or shape[1] < 0 or shape[0] * shape[1] != flat.size:
        raise MatError(f"{flat.size} values for an array of shape {shape}")
    return flat.reshape(shape, order="F")


def _numbers(element: _Element, order: str) -> NDArray[Any]:
    code = STORAGE.get(element.kind)
    if code is None or len(element.body) % int(code[1]):
        raise MatError(f"numbers of type {element.kind} in {len(element.body)} bytes")
    return np.frombuffer(element.body, f"{order}{code}")


def _field_names(width: _Element | None, names: _Element | None, order: str) -> list[str]:
    if width is None or names is None:
        raise MatError("a structure without field names")
    step = int(_numbers(width, order)[:1].sum())
    if not 0 < step <= len(names.body) or len(names.body) // step > MOST_FIELDS:
        raise MatError("a structure whose field names do not fit")
    raw = bytes(names.body)
    return [raw[at : at + step].split(b"\0")[0].decode("latin-1") for at in range(0, len(raw), step)]
