"""Many spoilt files through a reader, and what came of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from iotlam.bench.fuzz.mutations import mutate
from iotlam.bench.fuzz.seeds import Seed, file_modalities, seed_files
from iotlam.bench.fuzz.worker import Outcome, ReaderProcess
from iotlam.contracts import BadInput

SPARE_BYTES = 16_000_000
"""Memory that reading the smallest file may take."""
LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that a reader should have borne.

    Attributes:
        file: name of the file, as in the folder of kept files.
        how: what was done to it.
        text: what happened.
    """

    file: str
    how: str
    text: str


@dataclass(slots=True)
class FuzzReport:
    """What spoilt files did to one reader.

    Attributes:
        modality: whose reader it is.
        cases: files read.
        frames: how many of them gave frames.
        refused: how many were refused by an error of ours.
        crashes: the rest.
        memory_ratio: worst (peak memory - 16 MB) / size of the file, 0 at least.
        memory_worst: the file with that ratio.
    """

    modality: str
    cases: int = 0
    frames: int = 0
    refused: int = 0
    crashes: list[Finding] = field(default_factory=list)
    memory_ratio: float = 0.0
    memory_worst: str = ""

    def add(self, outcome: Outcome, file: str, how: str, size: int) -> None:
        """Count a case."""
        self.cases += 1
        self.frames += outcome.kind == "frames"
        self.refused += outcome.kind == "refused"
        if outcome.kind == "crash":
            self.crashes.append(Finding(file, how, outcome.text))
        ratio = (outcome.peak_bytes - SPARE_BYTES) / max(size, 1)
        if ratio > self.memory_ratio:
            self.memory_ratio = ratio
            self.memory_worst = f"{file} ({how}): {outcome.peak_bytes / 1e6:.1f} MB for {size} bytes"


def fuzz_all(cases: int, seed: int = 0, on_case: Callable[[int], None] = lambda count: None) -> list[FuzzReport]:
    """Spoil files for every modality that reads files, in equal shares.

    Args:
        cases: files in all.
        seed: of what is spoilt and how.
        on_case: told the number of files read, one by one.
    """
    names = file_modalities()
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            seeds = seed_files(name, Path(folder) / name)
            reports.append(fuzz_reader(name, seeds, -(-cases // len(names)), seed=seed, on_case=on_case))
    return reports


def fuzz_reader(
    modality: str,
    seeds: Sequence[Seed],
    cases: int,
    *,
    seed: int = 0,
    limit_s: float = LIMIT_S,
    keep: Path | None = None,
    on_case: Callable[[int], None] = lambda count: None,
) -> FuzzReport:
    """Read every seed as it is, then spoilt copies, the more of a seed the smaller it is.

    Args:
        modality: name of the modality.
        seeds: files that its reader reads.
        cases: spoilt files; case number and `seed` decide what each is.
        seed: of what is spoilt and how.
        limit_s: the most time that one file may take.
        keep: folder for the files that crashed the reader, one folder each.
        on_case: told the number of files read, one by one.

    Raises:
        BadInput: if there is no seed, or the reader does not read one that is whole.
    """
    report = FuzzReport(modality)
    if not seeds:
        raise BadInput(f"Fuzzing of '{modality}'", expected="a file to spoil", got="none", fix="give one it reads")
    with tempfile.TemporaryDirectory() as folder, ReaderProcess(modality, limit_s) as process:
        for whole in seeds:
            process.read(whole.main)  # once for nothing: first uses import libraries
            outcome = process.read(whole.main)
            report.add(outcome, whole.main.name, "as it is", whole.size)
            if outcome.kind == "refused":
                raise BadInput(
                    f"File '{whole.main}'", expected="frames", got=outcome.text.rstrip("."), fix="give a whole file"
                )
        share_S = np.array([1.0 / np.sqrt(whole.size) for whole in seeds])
        share_S /= share_S.sum()
        for number in range(cases):
            rng = np.random.default_rng([seed, number])
            spoilt, how = _spoil(seeds[rng.choice(len(seeds), p=share_S)], Path(folder) / "case", rng)
            crashes = len(report.crashes)
            report.add(process.read(spoilt.main), f"{number:05d}/{spoilt.main.name}", how, spoilt.size)
            if keep is not None and len(report.crashes) > crashes:
                shutil.copytree(spoilt.main.parent, keep / f"{number:05d}", dirs_exist_ok=True)
            on_case(1)
    return report


def _spoil(whole: Seed, folder: Path, rng: np.random.Generator) -> tuple[Seed, str]:
    """A copy of a seed in a folder of its own, one of its files spoilt: mostly the one that is read."""
    copy = whole.copy_to(folder)
    count = len(copy.files)
    chosen = copy.files[0 if count == 1 or rng.random() < 0.7 else rng.integers(1, count)]
    content, how = mutate(chosen.read_bytes(), rng)
    chosen.write_bytes(content)
    return copy, f"{how} of {chosen.name}"
