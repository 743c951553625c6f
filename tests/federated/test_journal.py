from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam.federated.journal import Journal, check_unled, read


def written(path: Path, count: int = 5) -> list[bytes]:
    with Journal(path) as journal:
        for number in range(count):
            journal.append("round", loss=number / 7, devices=["a", "b"])
    return path.read_bytes().splitlines(keepends=True)


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    written(tmp_path / "j.jsonl")
    with Journal(tmp_path / "j.jsonl") as journal:
        assert [record["loss"] for record in journal.of("round")] == [number / 7 for number in range(5)]
        journal.append("end")
    records, _ = read(tmp_path / "j.jsonl")
    assert [record["line"] for record in records] == list(range(6))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_off_at_the_end_is_dropped_and_the_next_takes_its_place(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    lines = written(path)
    path.write_bytes(b"".join(lines)[:-cut])
    with Journal(path) as journal:
        assert len(journal.records) == 4
        journal.append("round", loss=1.0)
    assert len(read(path)[0]) == 5


@pytest.mark.parametrize(
    "harm",
    [
        lambda lines: [lines[0].replace(b"0.0", b"0.5"), *lines[1:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [b"\xff\n", *lines],
        lambda lines: [b"[" * 100_000 + b"\n", *lines],
        lambda lines: [b"3\n", *lines],
    ],
)
def test_a_changed_journal_is_refused_and_left_as_it_is(tmp_path: Path, harm) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "j.jsonl"
    harmed = b"".join(harm(written(path)))
    path.write_bytes(harmed)
    with pytest.raises(BadInput, match="unbroken chain"):
        Journal(path)
    assert path.read_bytes() == harmed


def test_a_record_signed_anew_breaks_what_follows(tmp_path: Path) -> None:
    from iotlam.federated.journal import sealed

    path = tmp_path / "j.jsonl"
    lines = written(path)
    forged = sealed({**json.loads(lines[1]), "loss": 0.0})
    path.write_bytes(b"".join([lines[0], json.dumps(forged).encode() + b"\n", *lines[2:]]))
    with pytest.raises(BadInput, match="line 2"):
        read(path)


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = f"from pathlib import Path; from iotlam.federated.journal import Journal; Journal(Path({str(path)!r}))"
    with Journal(path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode == 1
    assert "another process" in other.stderr
    Journal(path).close()


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.jsonl"
    written(path, 2)
    with Journal(path) as journal:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(BadInput, match="make room"):
            journal.append("round", loss=0.0)
        monkeypatch.undo()
        journal.append("round", loss=0.5)
    assert [record.get("loss") for record in read(path)[0]] == [0.0, 1 / 7, 0.5]


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="folder of a run"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="can be written"):
        Journal(tmp_path / "file" / "j.jsonl")


def test_a_run_is_led_as_long_as_its_journal_is_open(tmp_path: Path) -> None:
    check_unled(tmp_path / "j.jsonl")
    assert not (tmp_path / "j.jsonl").exists()
    with Journal(tmp_path / "j.jsonl"), pytest.raises(BadInput, match="another process"):
        check_unled(tmp_path / "j.jsonl")
    check_unled(tmp_path / "j.jsonl")
    with Journal(tmp_path / "j.jsonl"):
        pass
