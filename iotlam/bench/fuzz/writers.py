"""Every way in which a file of a suffix may be written that readers of that suffix know."""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame

Frames = Sequence[SensorFrame]
Writer = Callable[[Path, Frames, str], tuple[Path, ...]]
"""Writes frames of a unit to a path; returns the files beside it."""
TABLE_ROWS = 65_536
PCM, FLOAT = 1, 3


def _notes(path: Path, text: str) -> tuple[Path, ...]:
    notes = path.with_name(path.name + ".toml")
    notes.write_text(text, encoding="utf-8")
    return (notes,)


def _raw(dtype: str) -> Writer:
    """Interleaved I and Q of a type, full scale for integers."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        path.write_bytes(_interleaved(frames[0], dtype))
        return _notes(path, f"rate_hz = {frames[0].meta['rate_hz']}\ncentre_hz = {frames[0].meta['centre_hz']}\n")

    return write


def _interleaved(frame: SensorFrame, dtype: str) -> bytes:
    parts_N = np.ascontiguousarray(frame.data).view(np.float32)
    if dtype.endswith("f4"):
        return bytes(parts_N.astype(dtype).tobytes())
    bounds = np.iinfo(dtype)
    middle, half = (bounds.max + bounds.min) / 2.0, (bounds.max - bounds.min) / 2.0
    scaled_N = np.rint(parts_N / np.abs(parts_N).max() * half + middle)
    return bytes(scaled_N.astype(dtype).tobytes())


def _sigmf(name: str, dtype: str) -> Writer:
    """Metadata of two captures, and samples of a type."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        meta_path, data_path = path.with_suffix(".sigmf-meta"), path.with_suffix(".sigmf-data")
        told = {"core:datatype": name, "core:sample_rate": frames[0].meta["rate_hz"], "core:version": "1.0.0"}
        captures = [
            {"core:sample_start": start, "core:frequency": 4.3392e8, "core:datetime": f"2026-01-01T00:00:0{start % 7}Z"}
            for start in (0, len(frames[0].data) // 2)
        ]
        meta_path.write_text(json.dumps({"global": told, "captures": captures, "annotations": []}), encoding="utf-8")
        data_path.write_bytes(_interleaved(frames[0], dtype))
        return (data_path if path == meta_path else meta_path,)

    return write


def _rows(width: int) -> Writer:
    """Points as rows of x, y, z, intensity, then zeros up to the width."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        data_N4 = frames[0].data
        np.pad(data_N4, ((0, 0), (0, width - data_N4.shape[1]))).astype("<f4").tofile(path)
        return ()

    return write


def _pcd(coding: str) -> Writer:
    """Points as the Point Cloud Library writes them."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        points_N4 = frames[0].data.astype("<f4")
        head = (
            "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
            f"WIDTH {len(points_N4)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points_N4)}\nDATA {coding}\n"
        )
        path.write_bytes(head.encode() + POINT_CODINGS[coding](points_N4))
        return ()

    return write


def _as_lines(points_N4: NDArray[Any]) -> bytes:
    return "".join(" ".join(f"{value:.4f}" for value in point) + "\n" for point in points_N4.tolist()).encode()


def _as_lzf(points_N4: NDArray[Any]) -> bytes:
    """Field after field, in LZF's runs of 32 literal bytes: the format without the gain."""
    block = points_N4.T.tobytes()
    runs = (block[at : at + 32] for at in range(0, len(block), 32))
    packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<II", len(packed), len(block)) + packed


POINT_CODINGS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "binary": lambda points_N4: bytes(points_N4.tobytes()),
    "ascii": _as_lines,
    "binary_compressed": _as_lzf,
}


def _picture(mode: str = "RGB", **options: Any) -> Writer:
    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        importlib.import_module("PIL.Image").fromarray(frames[0].data).convert(mode).save(path, **options)
        return ()

    return write


def _film(codec: str, pixels: str = "yuv420p") -> Writer:
    """Twelve pictures in a codec that PyAV's own FFmpeg encodes."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        av = importlib.import_module("av")
        height, width = frames[0].data.shape[:2]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=10, options={"threads": "1"})
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            for number in range(12):
                picture = av.VideoFrame.from_ndarray(frames[number % len(frames)].data, format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return ()

    return write


def _wave(coding: int, bits: int) -> Writer:
    """PCM or floating point, which know no unit: the notes say it."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        values_NC = _columns(frames[0])
        peak, rate_hz, channels = float(np.abs(values_NC).max()), round(frames[0].meta["rate_hz"]), values_NC.shape[1]
        body, step = _wave_body(values_NC / peak, coding, bits), channels * bits // 8
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, coding, channels, rate_hz, rate_hz * step, step, bits)
        chunks = b"WAVE" + form + struct.pack("<4sI", b"data", len(body)) + body
        path.write_bytes(struct.pack("<4sI", b"RIFF", len(chunks)) + chunks)
        return _notes(path, f'units = "{unit}"\nscale = {peak}\n')

    return write


def _wave_body(full_NC: NDArray[Any], coding: int, bits: int) -> bytes:
    """Samples from -1 to 1 as little-endian numbers."""
    if coding == FLOAT:
        return bytes(full_NC.astype("<f4").tobytes())
    whole_NC = np.rint(full_NC.astype(np.float64) * (2 ** (bits - 1) - 1)).astype("<i4", order="C")
    return bytes(whole_NC.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())


def _timed_table(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    values_NC = _columns(frames[0])[:TABLE_ROWS]
    time_N = np.arange(len(values_NC)) / frames[0].meta["rate_hz"]
    header = ";".join(["time [s]", *(f"x{axis} [{unit}]" for axis in range(values_NC.shape[1]))])
    np.savetxt(path, np.column_stack([time_N, values_NC]), "%.9g", ";", header=header, comments="")
    return ()


def _bare_table(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """Columns without time and unit: the notes say them."""
    values_NC = _columns(frames[0])
    header = ",".join(f"x{axis}" for axis in range(values_NC.shape[1]))
    np.savetxt(path, values_NC, "%.4f", ",", header=header, comments="")
    return _notes(path, f'rate_hz = {frames[0].meta["rate_hz"]}\nunits = "{unit}"\n')


def _arrays(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    np.savez(path, data=frames[0].data, rate_hz=float(frames[0].meta["rate_hz"]), units=unit)
    return ()


def _packed_arrays(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """Compressed, in double precision, and with all that may be said of a recording."""
    told = {"rate_hz": round(frames[0].meta["rate_hz"]), "units": unit, "shaft_hz": 30.0, "sensor": "a"}
    np.savez_compressed(path, data=frames[0].data.astype(np.float64), **told)
    return ()


def _matlab(content: Callable[[NDArray[Any]], dict[str, Any]], compressed: bool) -> Writer:
    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        variables = content(_columns(frames[0]))
        importlib.import_module("scipy.io").savemat(path, variables, do_compression=compressed)
        return _notes(path, f'rate_hz = {frames[0].meta["rate_hz"]}\nunits = "{unit}"\n')

    return write


MATLAB_CONTENTS: dict[str, Callable[[NDArray[Any]], dict[str, Any]]] = {
    "array": lambda values_NC: {"x": values_NC},
    "cwru": lambda values_NC: {"X105_DE_time": values_NC[:, :1], "X105RPM": 1797.0},
    "itsc": lambda values_NC: {"itsc": {"ITSC_A10": {"Repetition01": values_NC, "Repetition02": values_NC}}},
    "cells": lambda values_NC: {"a": np.array([[values_NC, "text"]], object)},
}
"""An array alone, the data sets of Case Western Reserve University and of ITSC, and an array among cells."""


def _columns(frame: SensorFrame) -> NDArray[Any]:
    """Samples x axes."""
    return frame.data.reshape(len(frame.data), -1)


WRITERS: dict[str, dict[str, Writer]] = {
    ".sigmf-meta": {"cf32_le": _sigmf("cf32_le", "<f4")},
    ".sigmf-data": {"ci16_be": _sigmf("ci16_be", ">i2")},
    **dict.fromkeys((".complex", ".cfile", ".cf32"), {"float32": _raw("<f4")}),
    **dict.fromkeys((".complex32s", ".cs16"), {"int16": _raw("<i2")}),
    **dict.fromkeys((".complex16s", ".cs8"), {"int8": _raw("i1")}),
    **dict.fromkeys((".complex16u", ".cu8"), {"uint8": _raw("u1")}),
    ".bin": {"kitti": _rows(4)},
    ".pcd.bin": {"nuscenes": _rows(5)},
    ".pcd": {coding: _pcd(coding) for coding in POINT_CODINGS},
    **dict.fromkeys((".jpg", ".jpeg"), {"baseline": _picture(), "progressive": _picture(progressive=True)}),
    ".png": {"colour": _picture(), "palette": _picture("P")},
    ".mp4": {"mpeg4": _film("mpeg4"), "h264": _film("libx264")},
    ".mov": {"mpeg4": _film("mpeg4"), "mjpeg": _film("mjpeg", "yuvj420p")},
    ".mkv": {"mpeg4": _film("mpeg4"), "vp9": _film("libvpx-vp9")},
    ".avi": {"mpeg4": _film("mpeg4")},
    ".wav": {f"pcm{bits}": _wave(PCM, bits) for bits in (16, 24, 32)} | {"float32": _wave(FLOAT, 32)},
    ".csv": {"timed": _timed_table, "bare": _bare_table},
    ".npz": {"plain": _arrays, "packed": _packed_arrays},
    ".mat": {
        f"{name}{'_packed' if compressed else ''}": _matlab(content, compressed)
        for compressed in (False, True)
        for name, content in MATLAB_CONTENTS.items()
    },
}
"""By suffix and name of the way; the first way of a suffix is the plainest, fit for large files."""
