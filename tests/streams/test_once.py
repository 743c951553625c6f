"""Outbox and inbox: whatever a transport loses, doubles or mixes up, each message counts once and in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam.streams import outbox as outbox_module
from iotlam.streams.envelope import Envelope
from iotlam.streams.inbox import Inbox
from iotlam.streams.local import LocalTransport
from iotlam.streams.outbox import Outbox, open_database
from iotlam.streams.transport import Message

TOPIC = "test/{source}"


class Unreliable(LocalTransport):
    """Loses, doubles and swaps messages."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = random.Random(seed)
        self._late: list[tuple[str, bytes, str]] = []

    def publish(self, topic: str, payload: bytes, reply_to: str = "") -> bool:
        chance = self._rng.random()
        if chance < 0.15:
            return True
        if chance < 0.3:
            self._late.append((topic, payload, reply_to))
            return True
        super().publish(topic, payload, reply_to)
        if chance < 0.45:
            super().publish(topic, payload, reply_to)
        while self._late and self._rng.random() < 0.5:
            super().publish(*self._late.pop())
        return True


class Receiver:
    """Writes what it takes; at times its transaction fails."""

    def __init__(self, transport: LocalTransport, path: Path, fails: Callable[[], bool] = lambda: False) -> None:
        self.database = open_database(path, "create table if not exists got (source text, body blob)", 1)
        self.inbox, self._fails, self._transport = Inbox(self.database), fails, transport
        transport.subscribe("test/+", self.take)

    def take(self, message: Message) -> None:
        envelope = Envelope.unpack(message.payload)
        admitted = self.inbox.admits(envelope)
        try:
            with self.database:
                if admitted:
                    self.database.execute("insert into got values (?, ?)", (envelope.source, envelope.body))
                self.inbox.write()
                if self._fails():
                    raise RuntimeError("power cut")
        except RuntimeError:
            self.inbox.settle(False)
            return
        self.inbox.settle(True)
        for topic, payload in self.inbox.confirmations({message.reply_to: {envelope.source}}):
            self._transport.publish(topic, payload)

    def got(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for source, body in self.database.execute("select source, body from got order by rowid"):
            found.setdefault(source, []).append(int(body))
        return found


def empty(outbox: Outbox, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while outbox.waiting():
        assert time.monotonic() < deadline, f"{outbox.waiting()} still wait"
        time.sleep(0.01)


@pytest.mark.parametrize("seed", range(4))
def test_each_message_counts_once_and_in_turn(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.05)
    transport, rng = Unreliable(seed), random.Random(seed + 100)
    receiver = Receiver(transport, tmp_path / "in.sqlite", lambda: rng.random() < 0.1)
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    for number in range(40):
        outbox.put([(source, str(number).encode()) for source in ("a", "b", "c")])
    empty(outbox)
    outbox.close()
    assert receiver.got() == {source: list(range(40)) for source in ("a", "b", "c")}


def test_a_receiver_that_lags_is_not_flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "ON_THE_WAY", 5)
    transport, heard = LocalTransport(), []
    transport.subscribe("test/+", heard.append)
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    outbox.put([("a", str(number).encode()) for number in range(50)])
    time.sleep(0.3)
    assert len(heard) == 5
    Receiver(transport, tmp_path / "in.sqlite").take(heard[0])
    transport.publish("iotlam/confirmed/gateway", f'[{outbox._epoch},{{"a":4}}]'.encode())
    time.sleep(0.3)
    assert outbox.waiting() < 50 - 4
    outbox.close()


def test_one_lost_message_is_sent_again_while_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.3)

    class LosesOne(LocalTransport):
        lost = False

        def publish(self, topic: str, payload: bytes, reply_to: str = "") -> bool:
            if topic == "test/a" and not self.lost:
                self.lost = True
                return True
            return super().publish(topic, payload, reply_to)

    transport = LosesOne()
    receiver = Receiver(transport, tmp_path / "in.sqlite")
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    outbox.put([("a", b"0")])
    deadline = time.monotonic() + 10.0
    number = 0
    while "a" not in receiver.got():  # another machine is confirmed all the while
        assert time.monotonic() < deadline
        outbox.put([("b", str(number).encode())])
        number += 1
        time.sleep(0.05)
    empty(outbox)
    outbox.close()
    assert receiver.got() == {"a": [0], "b": list(range(number))}


def test_what_waits_goes_out_after_a_restart(tmp_path: Path) -> None:
    deaf = LocalTransport()
    first = Outbox(deaf, tmp_path / "out.sqlite", TOPIC, "gateway")
    first.put([("a", b"0"), ("a", b"1")])
    first.close()
    transport = LocalTransport()
    receiver = Receiver(transport, tmp_path / "in.sqlite")
    second = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    second.put([("a", b"2")])
    empty(second)
    second.close()
    assert receiver.got() == {"a": [0, 1, 2]}


def test_a_sender_that_lost_its_disk_is_heard_again(tmp_path: Path) -> None:
    transport = LocalTransport()
    receiver = Receiver(transport, tmp_path / "in.sqlite")
    for life in ("one", "two"):
        outbox = Outbox(transport, tmp_path / f"{life}.sqlite", TOPIC, "gateway")
        outbox.put([("a", b"0"), ("a", b"1")])
        empty(outbox)
        outbox.close()
    assert receiver.got() == {"a": [0, 1, 0, 1]}


def test_a_sender_that_lost_its_disk_and_its_clock_is_heard_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.1)
    transport = LocalTransport()
    receiver = Receiver(transport, tmp_path / "in.sqlite")
    for life, now in (("one", 2_000), ("two", 1_000)):
        monkeypatch.setattr(outbox_module.time, "time_ns", lambda now=now: now)
        outbox = Outbox(transport, tmp_path / f"{life}.sqlite", TOPIC, "gateway")
        outbox.put([("a", b"0"), ("a", b"1")])
        empty(outbox)
        outbox.close()
    assert receiver.got() == {"a": [0, 1, 0, 1]}


NONE = [b"", b"\xff\xfe", b"{}", b'[1, {"a": -1}]', b'[1, {"a": 99999999999999999999}]']
NONE += [b'[9223372036854775807, {"a": 0}]', b'[4611686018427387904, {"a": 0}]']


@pytest.mark.parametrize("payload", NONE)
def test_confirmations_that_are_none_are_ignored(tmp_path: Path, payload: bytes) -> None:
    transport = LocalTransport()
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    outbox.put([("a", b"0")])
    transport.publish("iotlam/confirmed/gateway", payload)
    assert outbox.waiting() == 1
    outbox.close()
    transport.publish("iotlam/confirmed/gateway", b'[1, {"a": 1}]')  # late: it is closed


def test_a_confirmation_of_what_was_never_sent_loses_nothing(tmp_path: Path) -> None:
    transport = LocalTransport()
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    outbox.put([("a", b"0")])
    transport.publish("iotlam/confirmed/gateway", f'[{outbox._epoch}, {{"a": 7, "b": 7}}]'.encode())
    assert outbox.waiting() == 1
    receiver = Receiver(transport, tmp_path / "in.sqlite")
    outbox.put([("a", b"1"), ("b", b"0")])
    outbox._rewind()
    empty(outbox)
    outbox.close()
    assert receiver.got() == {"a": [0, 1], "b": [0]}


def test_a_receiver_that_lost_its_disk_goes_on_where_the_sender_is(tmp_path: Path) -> None:
    transport = LocalTransport()
    first = Receiver(transport, tmp_path / "first.sqlite")
    outbox = Outbox(transport, tmp_path / "out.sqlite", TOPIC, "gateway")
    outbox.put([("a", b"0"), ("a", b"1")])
    empty(outbox)
    transport.close()
    transport.subscribe("iotlam/confirmed/gateway", outbox._confirmed)
    second = Receiver(transport, tmp_path / "second.sqlite")
    outbox.put([("a", b"2")])
    empty(outbox)
    outbox.close()
    assert (first.got(), second.got()) == ({"a": [0, 1]}, {"a": [2]})


def test_a_full_outbox_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    outbox = Outbox(LocalTransport(), tmp_path / "out.sqlite", TOPIC, "gateway", most_bytes=10)
    outbox.put([("a", b"12345678")])
    with pytest.raises(BadInput, match="at most 10 bytes, got 13 waiting"):
        outbox.put([("a", b"12345")])
    assert outbox.waiting() == 1
    outbox.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "out.sqlite").write_bytes(b"not a database, and long enough to be taken for one" * 40)
    with pytest.raises(BadInput, match=r"out\.sqlite.*a file for messages"):
        Outbox(LocalTransport(), path, TOPIC, "gateway")
