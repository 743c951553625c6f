"""Splits that cannot leak.

Almost every published 99 % on bearings has windows of one bearing on both sides of the split. Here the unit is the
physical bearing: a split that has one on both sides is not made, nor one that has the same samples under two names,
even if one is a stretch of the other; and what was fitted (a head, a threshold, a baseline) says on what, so that it
cannot be tested on it. A bearing that is catalogued under two names, each with recordings of its own, cannot be found.
A split that is leaky on purpose, to show how much that flatters, says so wherever it is printed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from iotlam.contracts.errors import IotlamError

T = TypeVar("T")


class Leak(IotlamError):
    """A split or a fit that would let a test know its answers.

    Attributes:
        kind: `window`, `overlap`, `repetition`, `load`, `bearing`, `copy` or `fit`.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a recording.

    Attributes:
        recording: name of the recording, unique.
        group: the physical bearing, unique among all sets.
        start: its first sample.
        stop: the sample after its last.
        load: of the recording, whatever the unit.
        content: checksum of its samples.
        runs: checksums of short runs of samples in it, chosen by what they are: a copy has them wherever it is cut.
    """

    recording: str
    group: str
    start: int
    stop: int
    load: float | None = None
    content: str = ""
    runs: frozenset[int] = frozenset()

    @property
    def marks(self) -> tuple[str | int, ...]:
        """What a copy of its samples has in common with it."""
        return (self.content, *self.runs) if self.content else tuple(self.runs)


@dataclass(frozen=True, slots=True)
class Split:
    """What is learnt from and what is tested on.

    Attributes:
        name: of the protocol and the fold.
        train: pieces to learn from.
        test: pieces to test on.
        leaky: whether bearings are on both sides on purpose; then only what that flatters may be printed.

    Raises:
        Leak: naming what is on both sides, unless the split is leaky on purpose.
    """

    name: str
    train: tuple[Piece, ...]
    test: tuple[Piece, ...]
    leaky: bool = False

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            side = "train" if not self.train else "test"
            raise Leak(
                "bearing", f"Split '{self.name}': expected pieces on both sides, got none to {side} on; add some."
            )
        if not self.leaky and (leak := find_leak(self.train, self.test)):
            raise Leak(leak[0], f"Split '{self.name}': expected no bearing on both sides, got {leak[1]}; regroup them.")

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The bearings of both sides, sorted."""
        train, test = (tuple(sorted({piece.group for piece in side})) for side in (self.train, self.test))
        return train, test

    @property
    def digest(self) -> str:
        """A short checksum of both sides' bearings, to quote beside a figure."""
        text = "\n".join([",".join(side) for side in self.groups])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        train, test = self.groups
        mark = " LEAKY" if self.leaky else ""
        return f"{self.name}{mark} [{self.digest}] train: {', '.join(train)} | test: {', '.join(test)}"

    def fit(self, what: Callable[[Sequence[Piece]], T]) -> Fitted[T]:
        """Fit something on the training side."""
        return Fitted.on(self.train, what)

    def trusted(self, fitted: Fitted[T]) -> T:
        """What was fitted, if none of it was fitted on what is tested.

        Raises:
            Leak: if some was.
        """
        if not self.leaky and (leak := find_leak(fitted.pieces, self.test)):
            raise Leak(
                "fit", f"Split '{self.name}': expected a fit on training data alone, got {leak[1]}; use split.fit."
            )
        return fitted.value


@dataclass(frozen=True, slots=True)
class Fitted(Generic[T]):
    """Something fitted, and on what.

    Attributes:
        value: the scaler, threshold or model.
        pieces: what it was fitted on.
    """

    value: T
    pieces: tuple[Piece, ...]

    @classmethod
    def on(cls, pieces: Iterable[Piece], what: Callable[[Sequence[Piece]], T]) -> Fitted[T]:
        """Fit on pieces."""
        used = tuple(pieces)
        return cls(what(used), used)


def known_before(fitted: Fitted[T], tested: Sequence[Piece]) -> T:
    """What was fitted on a machine's own past, such as a healthy baseline: its bearing may be tested, its samples not.

    Raises:
        Leak: if it was fitted on samples that are tested.
    """
    leak = _overlap(fitted.pieces, tested) or _copy(fitted.pieces, tested)
    if leak:
        raise Leak("fit", f"A baseline: expected one of samples that are not tested, got {leak[1]}; leave them out.")
    return fitted.value


def find_leak(train: Sequence[Piece], test: Sequence[Piece]) -> tuple[str, str] | None:
    """The most telling thing that is on both sides: its kind, and what it is in words; None where nothing is."""
    return _overlap(train, test) or _same_bearing(train, test) or _copy(train, test)


def _overlap(train: Sequence[Piece], test: Sequence[Piece]) -> tuple[str, str] | None:
    learnt = _by(train, lambda piece: piece.recording)
    for piece in test:
        for other in learnt.get(piece.recording, ()):
            if piece.start < other.stop and other.start < piece.stop:
                same = (piece.start, piece.stop) == (other.start, other.stop)
                kind = "window" if same else "overlap"
                return kind, f"samples {piece.start} to {piece.stop} of {piece.recording} on both"
    return None


def _same_bearing(train: Sequence[Piece], test: Sequence[Piece]) -> tuple[str, str] | None:
    recordings, by_group = {piece.recording for piece in train}, _by(train, lambda piece: piece.group)
    for piece in test:
        if piece.recording in recordings:
            return "window", f"windows of {piece.recording} on both"
        for other in by_group.get(piece.group, ()):
            kind = "load" if other.load != piece.load else "repetition"
            return kind, f"{piece.group} on both, in {other.recording} and {piece.recording}"
    return None


def _copy(train: Sequence[Piece], test: Sequence[Piece]) -> tuple[str, str] | None:
    """The same samples under two names."""
    learnt: dict[str | int, set[str]] = {}
    for piece in train:
        for mark in piece.marks:
            learnt.setdefault(mark, set()).add(piece.recording)
    for piece in test:
        if others := {name for mark in piece.marks for name in learnt.get(mark, ())} - {piece.recording}:
            return "copy", f"the same samples on both, as {min(others)} and {piece.recording}"
    return None


def _by(pieces: Sequence[Piece], key: Callable[[Piece], str]) -> Mapping[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    for piece in pieces:
        found.setdefault(key(piece), []).append(piece)
    return found
