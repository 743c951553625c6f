"""Seeded leaks: all of them are refused, and told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from iotlam_faults.splits import Fitted, Leak, Piece, Split, known_before

SECOND = 12_000


def recording(bearing: str, load: float = 0.0, take: int = 0, seconds: int = 4, content: str = "") -> list[Piece]:
    name = f"{bearing}_{load:g}_{take}"
    return [Piece(name, f"set/{bearing}", s * SECOND, (s + 1) * SECOND, load, content) for s in range(seconds)]


def sound() -> tuple[list[Piece], list[Piece]]:
    train = [piece for bearing in ("a", "b", "c") for load in (0.0, 1.0) for piece in recording(bearing, load)]
    return train, recording("d") + recording("e", 1.0)


def leak(kind: str, rng: np.random.Generator) -> tuple[list[Piece], list[Piece]]:
    train, test = sound()
    victim = test[rng.integers(len(test))]
    if kind == "window":
        train.append(victim)
    elif kind == "overlap":
        shift = int(rng.integers(1, SECOND))
        train.append(Piece(victim.recording, victim.group, victim.start + shift, victim.stop + shift, victim.load))
    elif kind == "repetition":
        train += recording(victim.group.removeprefix("set/"), victim.load or 0.0, take=1)
    elif kind == "load":
        train += recording(victim.group.removeprefix("set/"), (victim.load or 0.0) + 2.0)
    elif kind == "copy":
        train += recording("z", content="same")
        test += recording("y", content="same")
    rng.shuffle(train)  # type: ignore[arg-type]
    return train, test


@pytest.mark.parametrize("kind", ["window", "overlap", "repetition", "load", "copy"])
@pytest.mark.parametrize("seed", range(5))
def test_a_seeded_leak_is_refused_and_named(kind: str, seed: int) -> None:
    train, test = leak(kind, np.random.default_rng(seed))
    with pytest.raises(Leak, match="expected no bearing on both sides") as caught:
        Split("seeded", tuple(train), tuple(test))
    assert caught.value.kind == kind


def test_other_windows_of_a_recording_are_a_leak_too() -> None:
    pieces = recording("a", seconds=10)
    with pytest.raises(Leak) as caught:
        Split("in time", tuple(pieces[:7]), tuple(pieces[8:]))
    assert caught.value.kind == "window"


@pytest.mark.parametrize("what", ["head", "threshold"])
def test_what_was_fitted_on_the_test_is_refused(what: str) -> None:
    train, test = sound()
    split = Split("sound", tuple(train), tuple(test))
    fit = {"head": len, "threshold": lambda pieces: max(piece.stop for piece in pieces)}[what]
    assert split.trusted(split.fit(fit)) == fit(train)
    with pytest.raises(Leak, match="expected a fit on training data alone") as caught:
        split.trusted(Fitted.on(train + test[:1], fit))
    assert caught.value.kind == "fit"
    with pytest.raises(Leak):  # another recording of a bearing that is tested
        split.trusted(Fitted.on(recording("d", 3.0), fit))


def test_a_sound_split_prints_its_bearings_and_their_checksum() -> None:
    train, test = sound()
    split = Split("fold 3", tuple(train), tuple(test))
    assert str(split) == f"fold 3 [{split.digest}] train: set/a, set/b, set/c | test: set/d, set/e"
    assert split.digest == Split("other name", tuple(train[::-1]), tuple(test)).digest
    assert split.digest != Split("fold 3", tuple(train[:8]), tuple(test)).digest


def test_a_split_that_leaks_on_purpose_says_so() -> None:
    pieces = recording("a", seconds=10)
    split = Split("random windows", tuple(pieces[::2]), tuple(pieces[1::2]), leaky=True)
    assert "LEAKY" in str(split)


@pytest.mark.parametrize("side", ["train", "test"])
def test_an_empty_side_is_refused(side: str) -> None:
    train, test = sound()
    with pytest.raises(Leak, match=f"got none to {side} on"):
        Split("half", tuple(train if side == "test" else ()), tuple(test if side == "train" else ()))


def test_a_machines_own_past_may_be_of_the_bearing_that_is_tested_but_not_of_the_samples() -> None:
    first, second = recording("a", content="one"), recording("a", load=1.0, content="two")
    assert known_before(Fitted.on(first, len), second) == 4
    assert known_before(Fitted.on(first[:1], len), first[1:]) == 1
    with pytest.raises(Leak, match="samples 0 to 12000"):
        known_before(Fitted.on(first[:1], len), first)
    with pytest.raises(Leak, match="the same samples on both"):
        known_before(Fitted.on(first, len), recording("b", content="one"))


def test_a_recording_under_two_bearings_is_a_leak() -> None:
    pieces = recording("a")
    with pytest.raises(Leak) as caught:
        Split("renamed", tuple(pieces[:2]), tuple(replace(piece, group="set/b") for piece in pieces[2:]))
    assert caught.value.kind == "window"
