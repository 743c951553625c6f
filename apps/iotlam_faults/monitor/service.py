"""The monitor as a service: listens to a transport, watches, tells others."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable

import msgspec
import torch

from iotlam.contracts import BadInput
from iotlam.streams import senml
from iotlam.streams.transport import Message, Transport
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger, Window
from iotlam_faults.monitor.tell import Teller
from iotlam_faults.monitor.watch import Watch

WAVEFORMS = "iotlam/machines/{source}/waveform"
FEATURES = "iotlam/machines/{machine}/features"
ALARMS = "iotlam/machines/{machine}/alarm"
BATCH = 256
WAITING = 4000
"""Messages that may wait in memory; what is beyond is dropped, and sent again by who keeps it."""

PATIENCE_S = 0.05
LISTENERS_S = 60.0
"""From each connection on so long features wait for who listens; then nobody wants them. Alarms wait for ever."""

FEATURES_MOST, ALARMS_MOST = 512, 100_000
FAREWELL_S = 1.0
"""For which the end waits for answers to what has been sent."""


class Service:
    """A monitor at work.

    Args:
        transport: where waveforms come from and alarms go.
        ledger: what it knows.
        rules: when an alarm is raised.
        on_alarm: is told of every alarm as soon as it is on disk.
    """

    def __init__(
        self,
        transport: Transport,
        ledger: Ledger,
        rules: Rules | None = None,
        on_alarm: Callable[[Alarm], None] = lambda alarm: None,
    ) -> None:
        self.watch = Watch(ledger, rules or Rules())
        self.failure: BadInput | None = None  # passes when there is room again
        self.crash: Exception | None = None
        self._transport, self._on_alarm = transport, on_alarm
        self._alarms = Teller(transport, ledger, Alarm, _alarm_message, math.inf, ALARMS_MOST)
        self._features = Teller(transport, ledger, Window, _features_message, LISTENERS_S, FEATURES_MOST)
        self._queue: queue.Queue[Message] = queue.Queue(WAITING)
        self._closing = threading.Event()
        self._worker = threading.Thread(target=self._run, name="monitor", daemon=True)
        transport.subscribe(WAVEFORMS.format(source="+"), self._enqueue)
        self._worker.start()

    def close(self) -> None:
        """Finish what has come, then stop.

        Raises:
            Exception: what ended the work, if something did.
        """
        self._closing.set()
        self._worker.join()
        self.check()

    def check(self) -> None:
        """Raise what ended the work, if something did."""
        if self.crash is not None:
            raise self.crash

    def _enqueue(self, message: Message) -> None:
        if self._closing.is_set() or self.crash is not None:
            return  # its sender keeps it
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            return  # so here

    def _run(self) -> None:
        torch.set_num_threads(1)
        try:
            while not self._closing.is_set() or not self._queue.empty():
                self._turn()
            self._part()
        except Exception as error:  # for whoever runs the service
            self.crash = error

    def _turn(self) -> None:
        """Take what has come, if anything, and tell; a full disk is tried again."""
        try:
            if batch := self._batch():
                self._take(batch)
                self.failure = None
            self._alarms.turn()
            self._features.turn()
        except BadInput as error:  # senders keep what is not confirmed
            self.failure = error
            self._closing.wait(1.0)

    def _batch(self) -> list[Message]:
        try:
            batch = [self._queue.get(timeout=PATIENCE_S)]
        except queue.Empty:
            return []
        while len(batch) < BATCH and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    def _take(self, batch: list[Message]) -> None:
        for topic, payload in self.watch.handle(batch):
            self._transport.publish(topic, payload)
        for alarm in self.watch.fresh:
            self._on_alarm(alarm)

    def _part(self) -> None:
        """Wait for answers to what has been sent; what is not answered is sent again by the next service."""
        until = time.monotonic() + FAREWELL_S
        while self._alarms.on_the_way + self._features.on_the_way and time.monotonic() < until:
            time.sleep(0.01)
            self._turn()
        self._alarms.close()
        self._features.close()


def _alarm_message(alarm: Alarm) -> tuple[str, bytes]:
    return ALARMS.format(machine=alarm.machine), msgspec.json.encode(alarm)


def _features_message(window: Window) -> tuple[str, bytes]:
    return FEATURES.format(machine=window.machine), features(window)


def features(window: Window) -> bytes:
    """A window's features as SenML."""
    numbers = {"rms": "m/s2", "kurtosis": "", "change": "", "outer": "", "inner": "", "ball": "", "shaft_hz": "Hz"}
    values: dict[str, tuple[float | bool | str, str]] = {"id": (window.id, ""), "judged": (window.judged, "")}
    for field, unit in numbers.items():
        value = getattr(window, field)
        if value is not None:
            values[field.removesuffix("_hz")] = (round(value, 5), unit)
    t_ns = window.t_ns if window.t_ns >= senml.ABSOLUTE_NS else window.taken_ns  # of a gateway without a clock
    return senml.encode(f"{window.machine}:{window.sensor}", t_ns, values)
