from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam.federated.answers import Answers, Taken
from iotlam.federated.messages import Answer, content

NAMES = ("fan", "press", "pump")


def taken(name: str) -> Taken:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3) + len(name)}
    return Taken(Answer("run", 0, name, f"nonce of {name}", "base", 4, 0.5, 0.1, 1.0, content(arrays)), arrays)


def names(answers: Answers) -> list[str]:
    return [one.answer.device for one in answers.take_up()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    answers = Answers(tmp_path / "answers-0.bin")
    for name in NAMES:
        answers.add(taken(name))
    answers.keep()
    answers.close()
    return tmp_path / "answers-0.bin"


def test_what_was_kept_is_there_again(path: Path) -> None:
    for one, name in zip(Answers(path).take_up(), NAMES, strict=True):
        assert one.answer == taken(name).answer
        np.testing.assert_array_equal(one.arrays["b"], taken(name).arrays["b"])


def test_facts_that_were_changed_are_no_answer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"examples": 4', b'"examples": 9'))
    assert names(Answers(path)) == []


@pytest.mark.parametrize("cut", [1, 100, 450])
def test_an_answer_cut_off_at_the_end_is_dropped_and_the_next_takes_its_place(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    answers = Answers(path)
    left = names(answers)
    assert left == list(NAMES[: len(left)]) and len(left) < 3
    answers.add(taken("pump"))
    answers.keep()
    assert names(Answers(path)) == [*left, "pump"]


def test_a_changed_answer_and_what_follows_it_are_asked_for_again(path: Path) -> None:
    data = path.read_bytes()
    ends = np.cumsum([len(taken(name).to_bytes()) for name in NAMES])
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        assert names(Answers(path)) == list(NAMES[: np.searchsorted(ends, place, side="right")])


def test_many_answers_wait_for_the_disk_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(path)
    for name in NAMES:
        answers.add(taken(name))
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    answers.keep()
    answers.keep()
    monkeypatch.undo()
    assert len(waits) == 1 and names(Answers(path)) == [*NAMES, *NAMES]


def test_a_full_disk_leaves_the_answers_as_they_were(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    answers = Answers(path)
    answers.add(taken("fan"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="make room"):
        answers.keep()
    monkeypatch.undo()
    assert path.read_bytes() == before
    answers.keep()
    assert names(Answers(path)) == [*NAMES, "fan"]
