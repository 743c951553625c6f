"""Server and devices as processes that are really killed, and disks that are really full."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from iotlam.bench.federated.fleet import SERVER, Fleet, Harm, small_config, warm
from iotlam.bench.suites.fed_faults import figures, killed_run, undisturbed_run

Calm = tuple[str, float, dict[str, int]]


@pytest.fixture(scope="module")
def pool(base: Path) -> Iterator[ProcessPoolExecutor]:
    """A process that has all imported and trained nothing, from which servers and devices are forked."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), warm, (base,)) as pool:
        yield pool


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        yield Path(folder) / "run"


@pytest.fixture(scope="module")
def calm(pool: ProcessPoolExecutor, base: Path) -> Calm:
    with tempfile.TemporaryDirectory() as folder:
        return pool.submit(undisturbed_run, Path(folder) / "run", base).result()


@pytest.mark.parametrize(("kind", "share"), [("server", 0.5), ("both", 0.0), ("client", 0.6), ("server", 0.9)])
def test_what_is_killed_goes_on_to_the_same_weights(pool, folder: Path, base: Path, calm: Calm, kind, share) -> None:  # type: ignore[no-untyped-def]
    operations = calm[2]["client" if kind == "client" else "server"]
    at = int(share * operations) if share else 0.4  # before an operation of the disk, or after so many seconds
    row = pool.submit(killed_run, folder, base, calm[0], kind, at, "press", 0.0).result()
    assert row is not None, "it was over before it was killed"
    assert not row["different"]
    assert row["rounds_lost"] <= 1
    assert not folder.exists()


def test_weights_that_differ_are_seen(pool: ProcessPoolExecutor, folder: Path, base: Path) -> None:
    row = pool.submit(killed_run, folder, base, "0" * 64, "client", 7, "press", 0.0).result()
    assert row["different"]
    assert figures([row, *OTHERS])["resumed_weights_different"].met is False


OTHERS = [
    {"part": "deadline", "overrun_s": 0.1, "named": True, "changed_by_none": False},
    {"part": "forged", "accepted": False},
]


@pytest.mark.parametrize("room_bytes", [2_500, 30_000])
def test_a_server_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    pool: ProcessPoolExecutor, folder: Path, base: Path, calm: Calm, room_bytes: int
) -> None:
    code, said, before, weights = pool.submit(full_server, folder, base, room_bytes).result()
    assert code == 1
    assert "expected to write on its disk" in said and "make room on the disk, then resume" in said
    assert before > 0, "the journal is as it was"
    assert weights == calm[0]


def full_server(folder: Path, base: Path, room_bytes: int) -> tuple[int | None, str, int, str]:
    with Fleet(folder, base, small_config()) as fleet:
        fleet.start(SERVER, harm=Harm(room_bytes=room_bytes))
        fleet.start(*fleet.names)
        code, said = fleet.end(), fleet.said()
        before = (folder / "run" / "journal.jsonl").stat().st_size
        fleet.start(SERVER)
        assert fleet.end() == 0, fleet.said()
        return code, said, before, fleet.weights()


def test_a_device_whose_disk_is_full_is_named_and_the_others_go_on(
    pool: ProcessPoolExecutor, folder: Path, base: Path
) -> None:
    for outcome in pool.submit(full_device, folder, base).result():
        assert set(outcome.shares) == {"fan", "pump"}
        assert "press.safetensors: expected to write on its disk" in outcome.refused["press"]
        assert "make room" in outcome.refused["press"]


def full_device(folder: Path, base: Path) -> list:  # type: ignore[type-arg]
    with Fleet(folder, base, small_config(rounds=2)) as fleet:
        fleet.start("press", harm=Harm(room_bytes=30_000))
        fleet.start(SERVER, "fan", "pump")
        assert fleet.end() == 0, fleet.said()
        return fleet.outcomes
