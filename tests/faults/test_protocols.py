"""Protocols on the catalogue of CWRU itself: no sound needed to know who is on which side."""

from __future__ import annotations

from collections import Counter

import pytest

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import SETS, entries
from iotlam_faults.protocols import PROTOCOLS, Window, find_protocol, rosa, unseen_bearing, unseen_machine
from iotlam_faults.splits import Piece
from iotlam_machine.machine import BEARING_FAULTS


def windows() -> list[Window]:
    """Three windows of every 12 kHz record of three sizes, and of the sound ones."""
    chosen = [e for e in entries("cwru") if (e.rate_hz == 12e3 or not e.faults) and (e.severity_mm or 0.0) < 0.6]
    return [
        Window(Piece(f"{e.file} {e.part}", e.group, start, start + 12_000, e.load), e)
        for e in chosen
        for start in (0, 12_000, 24_000)
    ]


def test_rosas_splits_are_a_hundred_and_always_the_same() -> None:
    first, again = list(rosa(windows())), list(rosa(windows()))
    assert len(first) == 100 and [one.digest for one in first] == [one.digest for one in again]
    assert len({one.digest for one in first}) == 99  # drawn with replacement, as docs/benchmarks.md says


def test_rosa_tests_one_bearing_of_each_fault_and_end_and_the_sound_ones() -> None:
    for split in rosa(windows()):
        train, test = split.groups
        kinds = Counter(group.split("/")[1][:4] for group in test)
        assert kinds == {"DE-I": 1, "DE-O": 1, "DE-B": 1, "FE-I": 1, "FE-O": 1, "FE-B": 1, "DE-h": 1, "FE-h": 1}
        assert len(train) == 12 and not any("healthy" in group for group in train)


def test_unseen_bearing_and_load_has_neither_in_what_is_learnt_from() -> None:
    known = {one.piece: one.entry for one in windows()}
    splits = list(find_protocol("unseen-bearing-and-load")(windows()))
    assert len(splits) == 12
    for split in splits:
        tested = {(known[p].severity_mm, known[p].load) for p in split.test if known[p].faults}
        ((size, load),) = tested
        assert all(known[p].severity_mm != size and known[p].load != load for p in split.train)


def test_the_unseen_machine_is_the_other_end() -> None:
    for split in unseen_machine(windows()):
        train, test = ({group.split("/")[1][:2] for group in side} for side in split.groups)
        assert not train & test


@pytest.mark.parametrize("name", PROTOCOLS)
def test_only_the_leaky_ones_share_bearings_and_they_say_so(name: str) -> None:
    for split in find_protocol(name)(windows()):
        train, test = map(set, split.groups)
        assert bool(train & test) == split.leaky == ("LEAKY" in str(split))
        assert split.leaky == (name in ("leave-one-load-out", "random-windows"))


def known_only(name: str) -> list[Window]:
    """A window of every recording of a set that `evaluate` reads."""
    of_vibration = [e for e in entries(name) if set(e.faults) <= set(BEARING_FAULTS) and not e.is_current]
    return [Window(Piece(f"{at}", e.group, 0, 12_000, e.load), e) for at, e in enumerate(of_vibration)]


@pytest.mark.parametrize("name", SETS)
def test_unseen_bearings_of_every_set_are_split_or_refused_in_a_sentence(name: str) -> None:
    windows = known_only(name)
    bearings: dict[tuple[str, str], set[str]] = {}
    for one in windows:
        bearings.setdefault((one.entry.part, "+".join(one.entry.faults)), set()).add(one.piece.group)
    several = [groups for (_, faults), groups in bearings.items() if faults and len(groups) > 1]
    assert bool(several) == (name in ("adi_cbm", "cwru", "hust", "paderborn", "uored", "xjtu_sy"))
    if not several:
        with pytest.raises(BadInput, match="two bearings or more with the same damage at one place, got [01] of each"):
            list(unseen_bearing(windows))
        return
    splits = list(unseen_bearing(windows))
    assert 2 <= len(splits) == len({one.digest for one in splits}) <= 5
    assert [one.digest for one in splits] == [one.digest for one in unseen_bearing(windows)]
    for groups in several:
        for split in splits:
            assert all(groups & set(side) for side in split.groups)
        assert groups <= {group for split in splits for group in split.groups[1]}
    alone = [groups for (_, faults), groups in bearings.items() if faults and len(groups) == 1]
    assert not {group for split in splits for group in split.groups[1]} & set().union(*alone)


def test_the_only_sound_bearing_is_tested_and_of_several_some_are_learnt_from() -> None:
    for name, learnt in (("adi_cbm", False), ("paderborn", True)):
        for split in unseen_bearing(known_only(name)):
            train, test = ({group for group in side if group[-3:] == "GoB" or "/K0" in group} for side in split.groups)
            assert bool(train) == learnt and test


def test_an_unknown_protocol_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="expected one of rosa, .*got 'easy'"):
        find_protocol("easy")


def test_rosa_needs_two_sizes() -> None:
    few = [one for one in windows() if one.entry.severity_mm != 0.178 and one.entry.severity_mm != 0.356]
    with pytest.raises(
        BadInput, match="expected two defect sizes or more, got 1 that all of inner, outer, ball have at 'DE'"
    ):
        next(rosa(few))
