"""Protocols by name: how recordings are split to learn and to test, honestly or, to show what that flatters, not.

Each yields splits of windows. Those that do not leak test on a place's only sound bearing and never learn from it: a
model that has seen it would know it again. Where there are several, `unseen-bearing` learns from some and tests others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import Entry
from iotlam_faults.splits import Piece, Split
from iotlam_machine.machine import BEARING_FAULTS

ROSA_SPLITS = 100
ROSA_SEED = 2407_14625
"""Split n draws from `default_rng((ROSA_SEED, n))`; the number is the paper's on arXiv."""

FOLDS, FOLDS_SEED = 5, 0
"""Of `unseen-bearing`, at most: with fewer bearings of a kind each is tested more than once, beside others."""

RANDOM_SHARE = 0.3
"""Of windows, tested on at random."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording and what is known of it."""

    piece: Piece
    entry: Entry


Protocol = Callable[[Sequence[Window]], Iterator[Split]]


def rosa(windows: Sequence[Window]) -> Iterator[Split]:
    """A hundred bearing-wise splits: for each end and fault one defect size is tested, the others are learnt from.

    Rosa et al., arXiv 2407.14625 (2024); 100 of the 3^6 = 729 that three sizes allow, with replacement. Sizes that not
    every fault of an end has are left out, as there.

    Raises:
        BadInput: if an end lacks a fault or has a single size of it.
    """
    sizes = _sizes(windows, "rosa")
    windows = _of_common_sizes(windows, sizes)
    for index in range(ROSA_SPLITS):
        rng = np.random.default_rng((ROSA_SEED, index))
        tested = {key: found[rng.integers(len(found))] for key, found in sizes.items()}
        test = [not e.faults or e.severity_mm == tested[_key(e)] for e in (one.entry for one in windows)]
        yield _split(f"rosa {index}", windows, test)


def unseen_bearing_and_load(windows: Sequence[Window]) -> Iterator[Split]:
    """Twelve folds: a defect size at one load is tested; what is learnt from has neither.

    Sizes that not every fault of an end has are left out.

    Raises:
        BadInput: if there are fewer than two sizes.
    """
    windows = _of_common_sizes(windows, _sizes(windows, "unseen-bearing-and-load"))
    sizes = sorted({one.entry.severity_mm for one in windows if one.entry.severity_mm})
    loads = sorted({one.entry.load for one in windows if one.entry.load is not None})
    for size, load in itertools.product(sizes, loads):
        test = [one.piece for one in windows if not one.entry.faults or _at(one.entry, size, load)]
        train = [
            one.piece
            for one in windows
            if one.entry.faults and one.entry.severity_mm != size and one.entry.load != load
        ]
        if any(one.entry.faults and _at(one.entry, size, load) for one in windows) and train:
            yield Split(f"unseen bearing {size:g} mm, load {load:g}", tuple(train), tuple(test))


def unseen_machine(windows: Sequence[Window]) -> Iterator[Split]:
    """Learn at one end of the machine, test at the other: another bearing model, other bearings, another path."""
    parts = sorted({one.entry.part for one in windows})
    for tested in parts:
        train = tuple(one.piece for one in windows if one.entry.part != tested and one.entry.faults)
        test = tuple(one.piece for one in windows if one.entry.part == tested)
        if train and test:
            yield Split(f"unseen machine {tested}", train, test)


def unseen_bearing(windows: Sequence[Window]) -> Iterator[Split]:
    """Five folds or fewer: of each kind of bearing (its place and faults) some are tested, the others learnt from.

    Of each kind that has two bearings or more some are on both sides of every split, and each is tested once at least.
    A kind's only bearing is learnt from if it is damaged, and tested if it is sound.

    Raises:
        BadInput: if no kind of damaged bearing has two.
    """
    kinds = _kinds(windows)
    folds = {kind: min(len(bearings), FOLDS) for kind, bearings in kinds.items()}
    most = max((count for (_, faults), count in folds.items() if faults), default=0)
    if most < 2:
        expected, got = "two bearings or more with the same damage at one place", f"{most} of each"
        raise BadInput("Protocol 'unseen-bearing'", expected=expected, got=got, fix="add recordings of others")
    rng = np.random.default_rng(FOLDS_SEED)
    shuffled = {kind: rng.permutation(bearings).tolist() for kind, bearings in kinds.items()}
    for index in range(max(folds.values())):
        tested = {
            bearing
            for kind, bearings in shuffled.items()
            if folds[kind] > 1 or not kind[1]
            for bearing in bearings[index % folds[kind] :: folds[kind]]
        }
        yield _split(f"unseen bearing {index}", windows, [one.piece.group in tested for one in windows])


def leave_one_load_out(windows: Sequence[Window]) -> Iterator[Split]:
    """One load is tested, the others are learnt from: leaky, for the bearings are the same."""
    for load in sorted({one.entry.load for one in windows if one.entry.load is not None}):
        yield _split(f"load {load:g} left out", windows, [one.entry.load == load for one in windows], leaky=True)


def random_windows(windows: Sequence[Window]) -> Iterator[Split]:
    """Windows of all recordings at random: leaky, as most published figures are."""
    rng = np.random.default_rng(0)
    yield _split("random windows", windows, [bool(rng.uniform() < RANDOM_SHARE) for _ in windows], leaky=True)


PROTOCOLS: dict[str, Protocol] = {
    "rosa": rosa,
    "unseen-bearing-and-load": unseen_bearing_and_load,
    "unseen-machine": unseen_machine,
    "unseen-bearing": unseen_bearing,
    "leave-one-load-out": leave_one_load_out,
    "random-windows": random_windows,
}


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        BadInput: if there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise BadInput("--protocol", expected=f"one of {', '.join(PROTOCOLS)}", got=f"'{name}'", fix="name one of them")
    return PROTOCOLS[name]


def _kinds(windows: Sequence[Window]) -> dict[tuple[str, str], list[str]]:
    """Bearings by their kind: the places where they were recorded, and all faults that they ever had."""
    entries: dict[str, list[Entry]] = {}
    for one in windows:
        entries.setdefault(one.piece.group, []).append(one.entry)
    found: dict[tuple[str, str], list[str]] = {}
    for bearing in sorted(entries):
        places = {entry.part for entry in entries[bearing]}
        faults = {fault for entry in entries[bearing] for fault in entry.faults}
        found.setdefault(("+".join(sorted(places)), "+".join(sorted(faults))), []).append(bearing)
    return found


def _sizes(windows: Sequence[Window], protocol: str) -> dict[tuple[str, str], list[float]]:
    """The defect sizes that all faults of an end have, by end and fault."""
    found: dict[tuple[str, str], list[float]] = {}
    for part in sorted({one.entry.part for one in windows}):
        by_fault = {
            fault: {
                one.entry.severity_mm
                for one in windows
                if _key(one.entry) == (part, fault) and one.entry.severity_mm is not None
            }
            for fault in BEARING_FAULTS
        }
        common = sorted(set.intersection(*by_fault.values()))
        if len(common) < 2:
            got = f"{len(common)} that all of {', '.join(BEARING_FAULTS)} have at '{part}'"
            raise BadInput(f"Protocol '{protocol}'", expected="two defect sizes or more", got=got, fix="add recordings")
        found.update({(part, fault): common for fault in BEARING_FAULTS})
    return found


def _of_common_sizes(windows: Sequence[Window], sizes: dict[tuple[str, str], list[float]]) -> list[Window]:
    return [one for one in windows if not one.entry.faults or one.entry.severity_mm in sizes[_key(one.entry)]]


def _key(entry: Entry) -> tuple[str, str]:
    return entry.part, entry.faults[0] if entry.faults else ""


def _at(entry: Entry, size: float, load: float) -> bool:
    return entry.severity_mm == size and entry.load == load


def _split(name: str, windows: Sequence[Window], is_test: Sequence[bool], leaky: bool = False) -> Split:
    train = tuple(one.piece for one, test in zip(windows, is_test, strict=True) if not test)
    return Split(name, train, tuple(one.piece for one, test in zip(windows, is_test, strict=True) if test), leaky)
