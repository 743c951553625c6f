"""Where the traffic policy learns: real junctions and random ones, never the seeds it is tested on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iotlam.contracts import BadInput
from iotlam_street.generate import generate_junction
from iotlam_street.scenarios import Scenario, find_scenario

LEARNT_MAPS = ("cologne1", "ingolstadt1")
"""Real junctions to learn on."""

TEST_SEEDS = tuple(range(1, 11))
"""SUMO seeds that training never uses; tables are made on them."""

FIRST_TRAINING_SEED = 100_000
"""Every run has as many SUMO seeds from here on: its stages keep to their own ranges."""

RANDOM_DURATION_S = 1200.0


@dataclass(frozen=True, slots=True)
class Task:
    """One episode to learn from.

    Attributes:
        source: RESCO map, `.sumocfg` file, or `random`.
        seed: SUMO's seed and, for `random`, the junction's.
    """

    source: str
    seed: int

    @property
    def name(self) -> str:
        """A file name for what is recorded of it; files of the same name in two folders stay apart."""
        source = Path(self.source)
        where = f"-{zlib.crc32(str(source.resolve()).encode()):08x}" if source.suffix else ""
        return f"{source.stem}{where}-{self.seed}"

    def scenario(self, folder: Path) -> Scenario:
        """The scenario; random junctions are drawn into `folder`."""
        if self.source != "random":
            return find_scenario(self.source)
        return generate_junction(folder / self.name, self.seed, RANDOM_DURATION_S)


def tasks(
    maps: Sequence[str], per_map: int, random_junctions: int, first_seed: int = FIRST_TRAINING_SEED
) -> list[Task]:
    """The episodes of one round, maps and random junctions interleaved.

    Raises:
        BadInput: if a seed belongs to the test.
    """
    if first_seed <= max(TEST_SEEDS):
        raise BadInput(
            "--seed",
            expected=f"training seeds above {max(TEST_SEEDS)}",
            got=str(first_seed),
            fix="leave the lower ones to evaluation",
        )
    wanted = {source: per_map for source in maps} | {"random": random_junctions}
    rounds = max(wanted.values(), default=0)
    return [Task(source, first_seed + turn) for turn in range(rounds) for source, n in wanted.items() if turn < n]


def stretch(whole: Scenario, span_s: float | None, seed: int) -> Scenario:
    """So many seconds of a scenario, from a moment that the seed decides; all of it if it is shorter, or for None."""
    if span_s is None or whole.duration_s <= span_s:
        return whole
    latest_s = int(whole.duration_s - span_s)
    begin_s = whole.begin_s + float(np.random.default_rng(seed).integers(latest_s + 1))
    return replace(whole, begin_s=begin_s, end_s=begin_s + span_s)
