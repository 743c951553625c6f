"""Whatever bytes a file holds, a reader gives frames or one line on why not: no crash, no hang, no flood of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotlam.bench.fuzz import Seed, file_modalities, seed_files
from iotlam.bench.fuzz.harness import LIMIT_S, SPARE_BYTES
from iotlam.bench.fuzz.mutations import HEAD_BYTES
from iotlam.bench.fuzz.worker import ReaderProcess

SMALL_BYTES = 400_000
readers = pytest.mark.parametrize("name", file_modalities())


@dataclass(frozen=True)
class Damage:
    """One of a recording's files as it reaches the reader: bits flipped, bytes put in, the end cut off."""

    seed: Seed
    file: int
    flips: list[tuple[int, int]]
    put_in: tuple[int, bytes]
    kept: int

    def copy_to(self, folder: Path) -> Seed:
        copy = self.seed.copy_to(folder)
        content = bytearray(copy.files[self.file].read_bytes())
        for place, bit in self.flips:
            content[place] ^= 1 << bit
        place, more = self.put_in
        content[place:place] = more
        copy.files[self.file].write_bytes(content[: self.kept])
        return copy


@st.composite
def damages(draw: st.DrawFn, seeds: Sequence[Seed]) -> Damage:
    """Mostly one or two bits of the file that is read: what is spoilt more is refused early, by the same few lines.

    Places are near the head and the end, where formats say what follows, as often as anywhere.
    """
    seldom = st.sampled_from((False, False, False, True))
    seed = draw(st.sampled_from(seeds))
    file = draw(st.integers(0, len(seed.files) - 1)) if draw(seldom) else 0
    last = seed.files[file].stat().st_size - 1
    head, tail = st.integers(0, min(HEAD_BYTES, last)), st.integers(max(last - HEAD_BYTES, 0), last)
    places = draw(st.sampled_from((head, st.integers(0, last), tail)))
    flips = draw(st.lists(st.tuples(places, st.integers(0, 7)), max_size=12 if draw(seldom) else 2))
    put_in = (draw(places), draw(st.binary(min_size=1, max_size=9))) if draw(seldom) else (0, b"")
    return Damage(seed, file, flips, put_in, kept=draw(places) if draw(seldom) else last + 10)


def fuzz(name: str, folder: Path, seeds: Sequence[Seed], cases: int) -> None:
    """Read every file whole, then damaged ones, each case in the bounds that hold for all."""
    ends: Counter[str] = Counter()
    with ReaderProcess(name, LIMIT_S) as process:
        for seed in seeds:  # pays for imports and pools, too, before memory is measured
            assert process.read(seed.main).kind == "frames", seed

        @settings(
            max_examples=cases, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(damages(seeds))
        def run(damage: Damage) -> None:
            damaged = damage.copy_to(folder / "damaged")
            outcome = process.read(damaged.main)
            assert outcome.kind != "crash", outcome.text
            assert "\n" not in outcome.text
            assert outcome.peak_bytes <= 4 * damaged.size + SPARE_BYTES, outcome
            ends[outcome.kind] += 1

        run()
    assert ends.total() >= 0.9 * cases and min(ends["frames"], ends["refused"]) > 0.05 * cases, ends


@readers
def test_damaged_files_give_frames_or_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOTLAM_DATA", raising=False)
    small = [seed for seed in seed_files(name, tmp_path) if seed.size < SMALL_BYTES]
    fuzz(name, tmp_path, small, 50)


@pytest.mark.slow
@readers
def test_many_damaged_files_give_frames_or_one_line(name: str, tmp_path: Path) -> None:
    seeds = seed_files(name, tmp_path)
    large = [seed for seed in seeds if seed.size >= SMALL_BYTES]
    fuzz(name, tmp_path, [seed for seed in seeds if seed.size < SMALL_BYTES], 800)
    if large:  # pictures and films are large only in IOTLAM_DATA
        fuzz(name, tmp_path, large, 100)
