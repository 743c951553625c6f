"""Where the traffic policies learn: real nets and random junctions, never the seeds they are tested on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iotlam.contracts import BadInput
from iotlam_street.generate import generate_junction
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario, find_scenario

RANDOM = "random"
"""Source of junctions that are drawn at random."""

LEARNT_MAPS = (
    *("arterial4x4", "ingolstadt21", "grid4x4", "cologne8", "cologne8", "ingolstadt7"),
    *("cologne3", "cologne3", "cologne1", "cologne1", "cologne1", "ingolstadt1", "ingolstadt1"),
    *(RANDOM, RANDOM, RANDOM),
)
"""One round of episodes to learn from, the longest first, so that no process waits for another at the end.

A small net gives fewer states an episode, and takes part more often.
"""

TEST_SEEDS = tuple(range(1, 11))
"""SUMO seeds that training never uses; tables are made on them."""

FIRST_TRAINING_SEED = 100_000
"""Every run has as many SUMO seeds from here on: its stages keep to their own ranges."""

RANDOM_S = 1200.0
"""Length of an episode at a random junction where none is asked for."""


@dataclass(frozen=True, slots=True)
class Task:
    """One episode to learn from.

    Attributes:
        source: RESCO map, `.sumocfg` file, or `random`.
        seed: SUMO's seed; it also draws the stretch and, for `random`, the junction.
        span_s: seconds of it, cut from the scenario's hour; None for the whole, or for `RANDOM_S` at a random junction.
    """

    source: str
    seed: int
    span_s: float | None = None

    @property
    def name(self) -> str:
        """A file name for what is recorded of it; files of the same name in two folders stay apart."""
        source = Path(self.source)
        where = f"-{zlib.crc32(str(source.resolve()).encode()):08x}" if source.suffix else ""
        return f"{source.stem}{where}-{self.seed}"

    def scenario(self, folder: Path) -> tuple[Scenario, float]:
        """The scenario until the stretch ends, and when the stretch begins; what comes before it fills the streets.

        Random junctions are drawn into `folder`.
        """
        if self.source == RANDOM:
            junction = generate_junction(folder / self.name, self.seed, self.span_s or RANDOM_S)
            return junction, junction.begin_s
        whole = find_scenario(self.source)
        part = stretch(whole, self.span_s, self.seed)
        return replace(whole, end_s=part.end_s), part.begin_s


def tasks(
    maps: Sequence[str], turns: int, first_seed: int = FIRST_TRAINING_SEED, span_s: float | None = None
) -> list[Task]:
    """Every map's episode, so many times over, each with a seed of its own.

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
    return [Task(source, first_seed + number, span_s) for number, source in enumerate([*maps] * turns)]


def check_maps(maps: Sequence[str]) -> None:
    """Read every map once, before anything is learnt or written.

    Raises:
        BadInput: if there is none, or one does not exist or has no signal with a choice.
    """
    if not maps:
        raise BadInput("--maps", expected="at least one map", got="none", fix="name one")
    for name in dict.fromkeys(maps):
        if name != RANDOM:
            read_plans(find_scenario(name).net)


def stretch(whole: Scenario, span_s: float | None, seed: int) -> Scenario:
    """So many seconds of a scenario, from a moment that the seed decides; all of it if it is shorter, or for None."""
    if span_s is None or whole.duration_s <= span_s:
        return whole
    latest_s = int(whole.duration_s - span_s)
    begin_s = whole.begin_s + float(np.random.default_rng(seed).integers(latest_s + 1))
    return replace(whole, begin_s=begin_s, end_s=begin_s + span_s)
