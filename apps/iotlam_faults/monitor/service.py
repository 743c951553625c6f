"""The monitor as a service: listens to a transport, watches, tells others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import msgspec
import torch

from iotlam.contracts import BadInput
from iotlam.streams import senml
from iotlam.streams.transport import Message, Transport
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger, Window
from iotlam_faults.monitor.watch import Watch

WAVEFORMS = "iotlam/machines/{source}/waveform"
FEATURES = "iotlam/machines/{machine}/features"
ALARMS = "iotlam/machines/{machine}/alarm"
BATCH = 256
WAITING = 4000
"""Messages that may wait in memory; what is beyond is dropped, and sent again by who keeps it."""

PATIENCE_S = 0.05


class Service:
    """A monitor at work.

    Args:
        transport: where waveforms come from and alarms go.
        ledger: what it knows.
        rules: when an alarm is raised.
        on_alarm: is told of every alarm.
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
        self._transport, self._ledger, self._on_alarm = transport, ledger, on_alarm
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
        except Exception as error:  # for whoever runs the service
            self.crash = error

    def _turn(self) -> None:
        """Take what has come, if anything, and tell of alarms; a full disk is tried again."""
        try:
            if batch := self._batch():
                self._take(batch)
                self.failure = None
            self._tell()
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
        for window in self.watch.fresh:
            self._transport.publish(FEATURES.format(machine=window.machine), features(window))

    def _tell(self) -> None:
        for alarm in self._ledger.untold():
            if not self._transport.publish(ALARMS.format(machine=alarm.machine), msgspec.json.encode(alarm)):
                return  # the next time
            self._ledger.told(alarm)
            self._on_alarm(alarm)


def features(window: Window) -> bytes:
    """A window's features as SenML."""
    values: dict[str, tuple[float | bool | str, str]] = {"rms": (window.rms, "m/s2"), "kurtosis": (window.kurtosis, "")}
    for name in ("change", "outer", "inner", "ball"):
        value = getattr(window, name)
        if value is not None:
            values[name] = (round(value, 4), "")
    if window.shaft_hz is not None:
        values["shaft"] = (window.shaft_hz, "Hz")
    return senml.encode(window.machine, window.t_ns, {**values, "judged": (window.judged, "")})
