"""Point Cloud Data files of the Point Cloud Library: header, and the three ways in which the points may follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.recording import check_cost
from iotlam.contracts import BadInput
from iotlam_lidar.lzf import decompress

Floats = NDArray[np.float32]
WANTED = ("x", "y", "z", "intensity")
FORMATS = {"F4": "<f4", "F8": "<f8", **{f"{kind}{n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)}}
LONGEST_LINE = 65_536
LINES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What a PCD header says.

    Attributes:
        fields: number format, byte offset in a point and place among a line's numbers, of each wanted field there is.
        point_bytes: size of a binary point.
        columns: numbers on a line of text.
        points: number of points.
        data: `ascii`, `binary` or `binary_compressed`.
    """

    fields: dict[str, tuple[str, int, int]]
    point_bytes: int
    columns: int
    points: int
    data: str


def read_pcd(path: Path) -> tuple[Floats, bool]:
    """Points of a PCD file.

    Returns:
        float32 (N, 4), x, y, z in the file's unit (metres) and intensity as it stands there, 0 where it has none; and
        whether it has any.

    Raises:
        BadInput: if the header is damaged, claims more than the file holds or needs too much memory, or the points
            cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = parse_header(file)
            points_N4 = np.zeros((_checked_points(path, file, header), 4), np.float32)
            {"ascii": _read_text, "binary": _read_binary}.get(header.data, _read_compressed)(file, header, points_N4)
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        got = " ".join(str(error).split())
        raise BadInput(f"File {path}", expected="a whole PCD file", got=got, fix="record or copy it anew") from error
    return points_N4, "intensity" in header.fields


def parse_header(file: IO[bytes]) -> Header:
    """Read the header and leave the file where the points begin.

    Raises:
        ValueError: saying what is wrong.
    """
    entries: dict[str, list[str]] = {}
    while "DATA" not in entries:
        line = file.readline(LONGEST_LINE)
        if not line.endswith(b"\n") or len(entries) > 16:
            raise ValueError("a header without an end")
        key, *values = line.decode("ascii").split() or ["#"]
        if not key.startswith("#"):
            entries[key] = values
    names, sizes, kinds = (entries.get(key, []) for key in ("FIELDS", "SIZE", "TYPE"))
    counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
    if not len(names) == len(sizes) == len(kinds) == len(counts) or min(counts, default=0) < 0:
        raise ValueError("FIELDS, SIZE, TYPE and COUNT that do not fit together")
    fields, offset, column = {}, 0, 0
    for name, kind, size, count in zip(names, kinds, sizes, counts, strict=True):
        if name in WANTED and count:
            fields[name] = (FORMATS.get(kind + size, ""), offset, column)
        offset, column = offset + int(size) * count, column + count
    if not {"x", "y", "z"} <= fields.keys() or not all(code for code, _, _ in fields.values()):
        raise ValueError("no fields x, y, z in a known number format")
    points = int("".join(entries.get("POINTS") or ["-1"]))
    data = "".join(entries["DATA"])
    if points < 0 or data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError("a header without POINTS or with an unknown DATA")
    return Header(fields, offset, column, points, data)


def _checked_points(path: Path, file: IO[bytes], header: Header) -> int:
    """The number of points, held against the file's size before memory is taken for them."""
    left = path.stat().st_size - file.tell()
    least = {"ascii": 2 * header.columns, "binary": header.point_bytes}.get(header.data, 0)
    if header.points * least > left + 1:
        raise ValueError(f"{header.points} points in {left} bytes")
    packed_bytes = header.point_bytes if header.data == "binary_compressed" else 0
    check_cost(path, (16 + packed_bytes) * header.points + left, f"a header of {header.points} points")
    return header.points


def _read_text(file: IO[bytes], header: Header, points_N4: Floats) -> None:
    names = [name for name in WANTED if name in header.fields]
    columns = [header.fields[name][2] for name in names]
    done = 0
    while done < header.points:
        lines = [file.readline(LONGEST_LINE) for _ in range(min(LINES_AT_ONCE, header.points - done))]
        if not all(line.strip() for line in lines):
            raise ValueError(f"{header.points} points announced, fewer lines")
        numbers = np.loadtxt(lines, np.float64, usecols=columns, ndmin=2, comments=None, encoding="ascii")
        points_N4[done : done + len(lines), : len(names)] = _narrow(numbers)
        done += len(lines)


def _read_binary(file: IO[bytes], header: Header, points_N4: Floats) -> None:
    names = [name for name in WANTED if name in header.fields]
    codes, offsets, _ = zip(*(header.fields[name] for name in names), strict=True)
    point = np.dtype({"names": names, "formats": codes, "offsets": offsets, "itemsize": header.point_bytes})
    done = 0
    while done < header.points:
        some = np.fromfile(file, point, min(LINES_AT_ONCE, header.points - done))
        if not some.size:
            raise ValueError(f"{header.points} points announced, {done} there")
        for column, name in enumerate(names):
            points_N4[done : done + some.size, column] = _narrow(some[name])
        done += some.size


def _read_compressed(file: IO[bytes], header: Header, points_N4: Floats) -> None:
    """Points compressed by LZF, field after field."""
    sizes = np.frombuffer(file.read(8), "<u4")
    if sizes.size != 2 or int(sizes[1]) != header.points * header.point_bytes:
        raise ValueError("compressed data of another size than the header's")
    packed = file.read(int(sizes[0]))
    if len(packed) != sizes[0]:
        raise ValueError(f"{len(packed)} of {sizes[0]} compressed bytes")
    block = decompress(packed, int(sizes[1]))
    for column, name in enumerate(WANTED):
        if name in header.fields:
            code, offset, _ = header.fields[name]
            points_N4[:, column] = _narrow(np.frombuffer(block, code, header.points, offset * header.points))


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Float64 too large for float32 becomes infinite, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
