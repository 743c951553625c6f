"""Features and alarms reach who listens: whoever is away, stopped, killed or late."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from iotlam.bench.mosquitto import Mosquitto
from iotlam.streams import senml
from iotlam.streams.envelope import Envelope, block_of
from iotlam.streams.local import LocalTransport
from iotlam.streams.mqtt import MqttTransport
from iotlam.streams.transport import Answer, Message, Transport, unasked
from iotlam_faults.monitor import service as service_module
from iotlam_faults.monitor import tell as tell_module
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger, Window
from iotlam_faults.monitor.service import ALARMS, FEATURES, WAVEFORMS, Service, features

RATE_HZ = 2_000.0
BRIEF = Rules(learning=3)
SOUND, LOUD = 1.0, 6.0


class Away(LocalTransport):
    """Cannot always send what the monitor tells."""

    up = True

    def publish(self, topic: str, payload: bytes, reply_to: str = "", answered: Answer = unasked) -> bool:
        return self.up and super().publish(topic, payload, reply_to, answered)


def measure(service: Service, *louds: float, first: int = 0) -> None:
    """Windows of a machine, as the transport hands them over."""
    for number, loud in enumerate(louds, first):
        values_NC = np.random.default_rng(number).normal(0.0, loud, (int(RATE_HZ), 1)).astype(np.float32)
        body = block_of(values_NC, RATE_HZ, number).pack()
        service._enqueue(Message(WAVEFORMS.format(source="pump"), Envelope("pump", 1, number, 0, body).pack()))


def until(come: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listen(transport: Transport, topic: str) -> queue.Queue[Message]:
    heard: queue.Queue[Message] = queue.Queue()
    transport.subscribe(topic.format(machine="+"), heard.put)
    return heard


def numbers(heard: queue.Queue[Message]) -> list[int]:
    """Numbers of the windows whose features were heard, doubles dropped."""
    ids = [value for one in list(heard.queue) for name, (_, value) in senml.decode(one.payload).items() if "id" in name]
    return [int(str(one).rpartition("/")[2]) for one in dict.fromkeys(ids)]


def test_features_wait_while_they_cannot_be_sent(ledger: Ledger) -> None:
    transport = Away()
    heard, service = listen(transport, FEATURES), Service(transport, ledger, BRIEF)
    for up, first in ((True, 0), (False, 5), (True, 10)):
        transport.up = up
        measure(service, *[SOUND] * 5, first=first)
        until(lambda first=first: len(ledger.history(("pump", "accelerometer/2000Hz"))) == first + 5)
    service.close()
    assert numbers(heard) == list(range(15)) and not ledger.untold(Window, 0, 10)


def test_features_of_a_gateway_without_a_clock_are_not_of_the_future() -> None:
    window = Window("pump", "DE/4000Hz", 0, 0, t_ns=5_000_000_000, taken_ns=time.time_ns(), judged="sound", rms=1.0)
    assert {t_s for t_s, _ in senml.decode(features(window)).values()} == {window.taken_ns / 1e9}
    later = msgspec.structs.replace(window, t_ns=window.taken_ns - 10**9)
    assert {t_s for t_s, _ in senml.decode(features(later)).values()} == {later.t_ns / 1e9}


def test_an_alarm_waits_for_who_listens(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_module, "AGAIN_S", 0.1)
    monkeypatch.setattr(service_module, "LISTENERS_S", 0.0)
    transport, said = LocalTransport(), []
    service = Service(transport, ledger, BRIEF, said.append)
    measure(service, *[SOUND] * 4, LOUD, LOUD)
    until(lambda: len(said) == 1 and not ledger.untold(Window, 0, 10))  # nobody wants the features
    assert ledger.untold(Alarm, 0, 10)
    heard = listen(transport, ALARMS)
    alarm = msgspec.json.decode(heard.get(timeout=10.0).payload)
    assert alarm["raised"] is True and alarm["id"] == said[0].id
    service.close()
    assert heard.empty() and not ledger.untold(Alarm, 0, 10)


def test_what_was_not_told_is_told_after_a_restart(ledger: Ledger) -> None:
    first = Service(deaf := Away(), ledger, BRIEF)
    deaf.up = False
    measure(first, *[SOUND] * 4, LOUD, LOUD)
    first.close()
    transport = LocalTransport()
    features, alarms = listen(transport, FEATURES), listen(transport, ALARMS)
    Service(transport, ledger, BRIEF).close()
    assert numbers(features) == list(range(6)) and alarms.qsize() == 1
    Service(transport, ledger, BRIEF).close()
    assert features.qsize() == 6 and alarms.qsize() == 1


def test_an_alarm_that_a_broker_died_with_is_told_by_the_next(broker: Mosquitto, ledger: Ledger) -> None:
    transport = MqttTransport(broker.address, "monitor")
    service = Service(transport, ledger, BRIEF)
    os.kill(broker.pid, signal.SIGSTOP)
    measure(service, *[SOUND] * 4, LOUD, LOUD)
    until(lambda: len(ledger.alarms()) == 1)
    time.sleep(0.5)
    assert ledger.untold(Alarm, 0, 10)  # sent, and acknowledged by nobody
    broker.kill()
    service.close()
    transport.close()
    broker.start()
    listener, transport = MqttTransport(broker.address, "listener"), MqttTransport(broker.address, "monitor")
    heard, service = listen(listener, ALARMS), Service(transport, ledger, BRIEF)
    assert msgspec.json.decode(heard.get(timeout=20.0).payload)["number"] == 5
    service.close()
    transport.close()
    listener.close()


def test_nothing_is_lost_to_who_listens_when_the_broker_is_killed(broker: Mosquitto, ledger: Ledger) -> None:
    listener, transport = MqttTransport(broker.address, "listener"), MqttTransport(broker.address, "monitor")
    features, alarms = listen(listener, FEATURES), listen(listener, ALARMS)
    service = Service(transport, ledger, BRIEF)
    for first in range(0, 80, 4):
        measure(service, *([SOUND] * 4 if first % 40 < 20 else [LOUD] * 4), first=first)
        if first in (24, 60):
            broker.kill()
        if first in (36, 68):
            broker.start()
        time.sleep(0.1)
    until(lambda: len(numbers(features)) == 80 and not ledger.untold(Alarm, 0, 10), 60.0)
    ids = {msgspec.json.decode(one.payload)["id"] for one in list(alarms.queue)}
    assert ids == {alarm.id for alarm in ledger.alarms()} and len(ids) >= 3
    service.close()
    transport.close()
    listener.close()
    assert not ledger.untold(Window, 0, 10)
