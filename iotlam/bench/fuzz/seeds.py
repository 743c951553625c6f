"""Whole files to spoil: written from a plugin's own sample, and real ones where there are any."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from iotlam.bench.fuzz.writers import WRITERS, Frames, Writer
from iotlam.contracts import IotlamError, SensorFrame
from iotlam.plugins import LoadedModality, list_modalities, load

REAL_FILES, TRIED_FILES = 6, 40
LARGEST_REAL_BYTES, LARGE_BYTES = 4_000_000, 12_000_000


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

    def copy_to(self, folder: Path) -> Self:
        """The same recording in a folder that holds nothing else."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return type(self)(tuple(shutil.copyfile(path, folder / path.name) for path in self.files))


def file_modalities() -> list[str]:
    """Names of the modalities that read files."""
    return [info.name for info in list_modalities() if info.manifest and info.manifest.files]


def seed_files(modality: str, folder: Path) -> list[Seed]:
    """Whole files of every suffix that a modality reads.

    Args:
        modality: name of the modality.
        folder: where to write them.

    Returns:
        One seed for every way in which this package writes a suffix, for samples and points also a large one of 12 MB,
        where memory shows, and real files of each suffix from `IOTLAM_DATA`, up to 4 MB: the smallest of a folder,
        of up to six folders. What needs a package that is not installed is left out.
    """
    plugin = load(modality)
    frames, manifest = plugin.sample(0), plugin.manifest
    seeds = []
    for suffix in manifest.files:
        ways = WRITERS.get(suffix, {})
        seeds += _written(suffix, ways, frames, manifest.units[0], folder / "small")
        if manifest.dims[0] in ("sample", "point"):
            plainest = dict(list(ways.items())[:1])
            seeds += _written(suffix, plainest, [_enlarged(frames[0])], manifest.units[0], folder / "large")
        seeds += _real(plugin, suffix)
    return seeds


def _enlarged(frame: SensorFrame) -> SensorFrame:
    """The frame's data over and over, some 12 MB."""
    times = -(-LARGE_BYTES // frame.data.nbytes)
    return replace(frame, data=np.concatenate([frame.data] * times), mask=None)


def _written(suffix: str, ways: dict[str, Writer], frames: Frames, unit: str, folder: Path) -> list[Seed]:
    folder.mkdir(parents=True, exist_ok=True)
    seeds = []
    for way, writer in ways.items():
        path = folder / f"{way}{suffix}"
        try:
            seeds.append(Seed((path, *writer(path, frames, unit))))
        except ImportError:
            continue
    return seeds


def _real(plugin: LoadedModality, suffix: str) -> list[Seed]:
    """Files of the data folder that the reader reads as they are: small, and from as many sources as there are."""
    root = os.environ.get("IOTLAM_DATA")
    if not root:
        return []
    longer = tuple(other for other in plugin.manifest.files if other != suffix and other.endswith(suffix))
    found = [path for path in Path(root).rglob(f"*{suffix}") if path.is_file() and not path.name.endswith(longer)]
    smallest: dict[Path, Path] = {}
    for size, path in sorted((path.stat().st_size, path) for path in found):
        if size <= LARGEST_REAL_BYTES:
            smallest.setdefault(path.parent, path)
    candidates = list(smallest.values())[:TRIED_FILES]
    return [Seed((path,)) for path in candidates if _reads(plugin, path)][:REAL_FILES]


def _reads(plugin: LoadedModality, path: Path) -> bool:
    try:
        return next(iter(plugin.read(path)), None) is not None
    except IotlamError:
        return False
