"""Whole files to spoil: written from a plugin's own sample, and real ones where there are any."""

from __future__ import annotations

import importlib
import json
import os
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import IotlamError, SensorFrame
from iotlam.plugins import LoadedModality, load

Frames = Sequence[SensorFrame]
REAL_FILES = 2
LARGEST_REAL_BYTES, LARGE_BYTES = 4_000_000, 12_000_000
SEARCHED_FILES = 40


@dataclass(frozen=True, slots=True)
class Seed:
    """A recording: the file that is read, and those beside it that it needs."""

    files: tuple[Path, ...]

    @property
    def main(self) -> Path:
        """The file that is read."""
        return self.files[0]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.files)


def seed_files(modality: str, folder: Path) -> list[Seed]:
    """Whole files of every suffix that a modality reads.

    Args:
        modality: name of the modality.
        folder: where to write them.

    Returns:
        One seed for each suffix that this module can write, for samples and points also a large one of 12 MB, where
        memory shows, and up to two real files of each suffix from `IOTLAM_DATA`, up to 4 MB. What needs a package
        that is not installed is left out.
    """
    plugin = load(modality)
    frames, manifest = plugin.sample(0), plugin.manifest
    unit, suffixes = manifest.units[0], manifest.files
    written = [_write(suffix, frames, unit, folder / "small") for suffix in suffixes]
    if manifest.dims[0] in ("sample", "point"):
        written += [_write(suffix, [_enlarged(frames[0])], unit, folder / "large") for suffix in suffixes]
    return [seed for seed in written if seed] + [seed for suffix in suffixes for seed in _real(plugin, suffix)]


def _enlarged(frame: SensorFrame) -> SensorFrame:
    """The frame's data over and over, some 12 MB."""
    times = -(-LARGE_BYTES // frame.data.nbytes)
    return replace(frame, data=np.concatenate([frame.data] * times), mask=None)


def _write(suffix: str, frames: Frames, unit: str, folder: Path) -> Seed | None:
    writer = WRITERS.get(suffix)
    if writer is None:
        return None
    path = folder / suffix.strip(".") / f"sample{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        beside = writer(path, frames, unit)
    except ImportError:
        return None
    return Seed((path, *beside))


def _real(plugin: LoadedModality, suffix: str) -> list[Seed]:
    """The smallest files of a suffix in the data folder that the reader reads as they are."""
    root = os.environ.get("IOTLAM_DATA")
    if not root:
        return []
    longer = [other for other in plugin.manifest.files if other != suffix and other.endswith(suffix)]
    found = [
        path for path in Path(root).rglob(f"*{suffix}") if path.is_file() and not path.name.endswith(tuple(longer))
    ]
    sized = sorted((path.stat().st_size, path) for path in found)
    candidates = [path for size, path in sized if size <= LARGEST_REAL_BYTES][:SEARCHED_FILES]
    return [Seed((path,)) for path in candidates if _reads(plugin, path)][:REAL_FILES]


def _reads(plugin: LoadedModality, path: Path) -> bool:
    try:
        return next(iter(plugin.read(path)), None) is not None
    except IotlamError:
        return False


Writer = Callable[[Path, Frames, str], tuple[Path, ...]]
"""Writes frames of a unit to a path; returns the files beside it."""


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


def _sigmf(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """Metadata and samples; which of the two is read decides the type of the samples."""
    meta_path, data_path = path.with_suffix(".sigmf-meta"), path.with_suffix(".sigmf-data")
    name, dtype = ("cf32_le", "<f4") if path == meta_path else ("ci16_be", ">i2")
    told = {"core:datatype": name, "core:sample_rate": frames[0].meta["rate_hz"], "core:version": "1.0.0"}
    captures = [
        {"core:sample_start": start, "core:frequency": 4.3392e8, "core:datetime": f"2026-01-01T00:00:0{start % 7}Z"}
        for start in (0, len(frames[0].data) // 2)
    ]
    meta_path.write_text(json.dumps({"global": told, "captures": captures, "annotations": []}), encoding="utf-8")
    data_path.write_bytes(_interleaved(frames[0], dtype))
    return (data_path if path == meta_path else meta_path,)


def _points(width: int) -> Writer:
    """Rows of x, y, z, intensity and nothing."""

    def write(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
        data_N4 = frames[0].data
        np.pad(data_N4, ((0, 0), (0, width - data_N4.shape[1]))).astype("<f4").tofile(path)
        return ()

    return write


def _pcd(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """Points as the Point Cloud Library writes them in binary."""
    count = len(frames[0].data)
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA binary\n"
    )
    path.write_bytes(head.encode() + frames[0].data.astype("<f4").tobytes())
    return ()


def _picture(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    importlib.import_module("PIL.Image").fromarray(frames[0].data).save(path)
    return ()


def _film(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """Twelve pictures in MPEG-4 Part 2, which every build of FFmpeg encodes."""
    av = importlib.import_module("av")
    height, width = frames[0].data.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(12):
            picture = av.VideoFrame.from_ndarray(frames[number % len(frames)].data, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return ()


def _wave(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    """PCM of 16 bits, which knows no unit: the notes say it."""
    values_NC = _columns(frames[0])
    peak = float(np.abs(values_NC).max())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(values_NC.shape[1])
        file.setsampwidth(2)
        file.setframerate(round(frames[0].meta["rate_hz"]))
        file.writeframes(np.rint(values_NC / peak * 32_767).astype("<i2").tobytes())
    return _notes(path, f'units = "{unit}"\nscale = {peak}\n')


def _table(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    values_NC = _columns(frames[0])[:65536]
    time_N = np.arange(len(values_NC)) / frames[0].meta["rate_hz"]
    header = ";".join(["time [s]", *(f"x{axis} [{unit}]" for axis in range(values_NC.shape[1]))])
    np.savetxt(path, np.column_stack([time_N, values_NC]), "%.9g", ";", header=header, comments="")
    return ()


def _arrays(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    np.savez(path, data=frames[0].data, rate_hz=float(frames[0].meta["rate_hz"]), units=unit)
    return ()


def _matlab(path: Path, frames: Frames, unit: str) -> tuple[Path, ...]:
    values_NC = _columns(frames[0])
    small = values_NC.nbytes < LARGE_BYTES  # the large one repeats itself: compressed it would look like a bomb
    importlib.import_module("scipy.io").savemat(path, {"x": values_NC}, do_compression=small)
    return _notes(path, f'rate_hz = {frames[0].meta["rate_hz"]}\nunits = "{unit}"\n')


def _columns(frame: SensorFrame) -> NDArray[Any]:
    """Samples x axes."""
    return frame.data.reshape(len(frame.data), -1)


WRITERS: dict[str, Writer] = {
    **dict.fromkeys((".sigmf-meta", ".sigmf-data"), _sigmf),
    **dict.fromkeys((".complex", ".cfile", ".cf32"), _raw("<f4")),
    **dict.fromkeys((".complex32s", ".cs16"), _raw("<i2")),
    **dict.fromkeys((".complex16s", ".cs8"), _raw("i1")),
    **dict.fromkeys((".complex16u", ".cu8"), _raw("u1")),
    ".bin": _points(4),
    ".pcd.bin": _points(5),
    ".pcd": _pcd,
    **dict.fromkeys((".jpg", ".jpeg", ".png"), _picture),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi"), _film),
    ".wav": _wave,
    ".csv": _table,
    ".npz": _arrays,
    ".mat": _matlab,
}
