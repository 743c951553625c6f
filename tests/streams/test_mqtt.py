"""The transport over a real Mosquitto, which is killed and started again."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import pytest

from iotlam.bench.mosquitto import Mosquitto
from iotlam.contracts import BadInput
from iotlam.streams import outbox as outbox_module
from iotlam.streams.envelope import Envelope
from iotlam.streams.inbox import Inbox
from iotlam.streams.mqtt import MqttTransport
from iotlam.streams.outbox import Outbox, open_database
from iotlam.streams.transport import Message


def test_messages_and_their_reply_topic_arrive(broker: Mosquitto) -> None:
    got: queue.Queue[Message] = queue.Queue()
    receiver, sender = MqttTransport(broker.address, "receiver"), MqttTransport(broker.address, "sender")
    receiver.subscribe("plant/+/waveform", got.put)
    time.sleep(0.2)
    assert sender.publish("plant/a/waveform", b"\x00\xff", "answers/here")
    assert got.get(timeout=5.0) == Message("plant/a/waveform", b"\x00\xff", "answers/here")
    receiver.close()
    sender.close()


def test_a_sender_is_told_whether_somebody_listens(broker: Mosquitto) -> None:
    answers: queue.Queue[bool] = queue.Queue()
    sender = MqttTransport(broker.address, "sender")
    assert sender.publish("plant/alarm", b"1", answered=answers.put)
    assert answers.get(timeout=10.0) is False
    sender.subscribe("plant/+", lambda message: None)
    time.sleep(0.2)
    for number in range(300):  # more than may be in flight: each is answered once
        assert sender.publish("plant/alarm", bytes([number % 256]), answered=answers.put)
    assert all(answers.get(timeout=10.0) for _ in range(300)) and answers.empty()
    sender.close()


def test_nothing_is_lost_when_the_broker_is_killed(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 1.0)
    receiver, sender = MqttTransport(broker.address, "receiver"), MqttTransport(broker.address, "sender")
    database = open_database(tmp_path / "in.sqlite", "create table got (source text, number integer)", 1)
    inbox, lock = Inbox(database), threading.Lock()

    def take(message: Message) -> None:
        with lock:
            envelope = Envelope.unpack(message.payload)
            with database:
                if inbox.admits(envelope):
                    database.execute("insert into got values (?, ?)", (envelope.source, envelope.number))
                inbox.write()
            inbox.settle(True)
        for topic, payload in inbox.confirmations({message.reply_to: {envelope.source}}):
            receiver.publish(topic, payload)

    receiver.subscribe("plant/+", take)
    outbox = Outbox(sender, tmp_path / "out.sqlite", "plant/{source}", "gateway")
    for second in range(30):
        outbox.put([(f"m{index}", bytes(2000)) for index in range(5)])
        if second in (8, 18):
            broker.kill()
        if second in (12, 20):
            broker.start()
        time.sleep(0.05)
    deadline = time.monotonic() + 40.0
    while outbox.waiting():
        assert time.monotonic() < deadline, f"{outbox.waiting()} still wait"
        time.sleep(0.05)
    outbox.close()
    receiver.close()
    sender.close()
    for index in range(5):
        rows = database.execute("select number from got where source = ? order by rowid", (f"m{index}",)).fetchall()
        assert [number for (number,) in rows] == list(range(30))


@pytest.mark.parametrize("address", ["plant.local", "http://plant", "mqtt://", "mqtt://plant:abc", "mqtt://[::1"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(BadInput, match=r"--broker.*mqtt://host"):
        MqttTransport(address, "me")


def test_a_password_is_not_told() -> None:
    with pytest.raises(BadInput) as caught:
        MqttTransport("mqt://me:secret@plant", "me")
    assert "secret" not in str(caught.value) and "mqt://plant" in str(caught.value)


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"an MQTT 5 broker at 127\.0\.0\.1:9"):
        MqttTransport("mqtt://127.0.0.1:9", "me")


def test_a_broker_that_refuses_is_named(mosquitto: None, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    strict = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}\nuser root\n")
    strict.start()
    try:
        with pytest.raises(BadInput, match="its refusal: Not authorized"):
            MqttTransport(strict.address, "me")
    finally:
        strict.kill()
