"""Attackers among the devices: refused, named, and without a trace in what the others have learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.bench.federated.attacks import LIES, attacks
from iotlam.bench.federated.forgery import ATTACKED, MOLES, Attack, Stage, refused, replays_to_a_device, truth


@pytest.fixture(scope="module")
def stage(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(base, tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def honest(stage: Stage) -> str:
    """The digest of what all devices together come to."""
    outcomes, digest, ended = stage.play([])
    assert not ended
    assert set(MOLES) <= set(outcomes[ATTACKED].shares)
    return digest


@pytest.fixture(scope="module")
def without(stage: Stage, honest: str) -> str:
    """The digest of what the devices other than the attackers come to."""
    _, digest, _ = stage.play([refused()] * len(MOLES))
    assert digest != honest
    return digest


def named(stage: Stage, words: str) -> list[Attack]:
    return [attack for attack in attacks(stage.answer(MOLES[0], ATTACKED), 0) if words in attack.name]


def test_there_are_some_hundred_attacks_each_of_its_own_name(stage: Stage, honest: str) -> None:
    names = [attack.name for attack in named(stage, "")]
    assert len(names) == len(set(names)) > 300


def test_the_truth_told_by_an_attacker_counts(stage: Stage, honest: str) -> None:
    """Otherwise attacks would be refused for how they are sent, and prove nothing."""
    _, digest, ended = stage.play([truth()] * len(MOLES))
    assert (digest, ended) == (honest, "")


def test_forged_answers_are_refused_and_leave_no_trace(stage: Stage, without: str) -> None:
    some = [
        named(stage, words)[0]
        for words in ("round 1", "JSON cut off at", "NaN", "the digest not", "a file of nothing", "JSON 1e400")
    ]
    outcomes, digest, ended = stage.play(some)
    assert not ended
    assert set(outcomes[ATTACKED].refused) == set(MOLES)
    assert digest == without


@pytest.mark.parametrize("field", [name for name, lies in LIES.items() if lies])
def test_no_lie_passes(stage: Stage, without: str, field: str) -> None:
    some = [attack for attack in named(stage, f"{field} is ") if " JSON " not in attack.name]
    assert len(some) == len(LIES[field])
    for start in range(0, len(some), len(MOLES)):
        liars = some[start : start + len(MOLES)]
        outcomes, digest, ended = stage.play([*liars, *[refused()] * (len(MOLES) - len(liars))])
        assert not ended and set(outcomes[ATTACKED].refused) == set(MOLES)
        assert digest == without


def test_replies_of_which_flower_makes_no_message_are_refused_and_leave_no_trace(stage: Stage, without: str) -> None:
    some = [
        named(stage, words)[0]
        for words in (
            "its Message missing",
            "its Message that says it is RecordDict",
            "its ConfigRecord with a body of garbage",
            "its ArrayRecord of a kind that there is not",
            "its Array made of what is not there",
            "its ArrayChunk empty",
        )
    ]
    outcomes, digest, ended = stage.play(some)
    assert not ended
    assert set(outcomes[ATTACKED].refused) == set(MOLES)
    assert sum("no message: " in why for why in outcomes[ATTACKED].refused.values()) == len(MOLES)
    assert digest == without


def test_what_is_written_on_a_message_is_not_gone_by(stage: Stage, honest: str) -> None:
    some = [named(stage, f"its message's {label} is")[0] for label in ("src_node_id", "reply_to_message_id", "ttl")]
    _, digest, ended = stage.play(some)
    assert (digest, ended) == (honest, "")


def test_replies_that_come_twice_count_once(stage: Stage, honest: str) -> None:
    _, digest, ended = stage.play(named(stage, "twice"))
    assert (digest, ended) == (honest, "")
    assert '"kind": "doubled"' in (stage.folder / f"run-{stage.count}" / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    "which", ["a node without a key that says it is fan", "a node registered as a stranger that says it is fan"]
)
def test_a_name_belongs_to_the_key_that_was_registered_with_it(stage: Stage, honest: str, which: str) -> None:
    (attack,) = named(stage, which)
    _, digest, ended = stage.play([attack])
    assert (digest, ended) == (honest, "")
    assert "is not listened to" in (stage.folder / f"run-{stage.count}" / "journal.jsonl").read_text()


def test_orders_that_are_replayed_to_a_device_change_nothing_that_it_remembers(base: Path, tmp_path: Path) -> None:
    rows = replays_to_a_device(base, tmp_path)
    assert len(rows) == 4
    assert not any(row["accepted"] for row in rows)
