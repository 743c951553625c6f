"""Telling others what a ledger holds: again, until it has been handed over and somebody listened.

What a broker has acknowledged it may still take with it when it dies, and who listens comes back to a broker in a time
of its own. So nothing counts as told at once, and some is told twice; its `id` tells.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from typing import Generic

from iotlam.streams.transport import Transport
from iotlam_faults.monitor.ledger import Entry, Ledger

SETTLED_S = 1.0
"""What has been handed over counts as told when the connection has held so much longer."""

AGAIN_S = 5.0
"""What nobody listened to is sent again after this time."""


class Teller(Generic[Entry]):
    """Tells the windows or the alarms of a ledger.

    Args:
        transport: what carries them.
        ledger: where they wait.
        kind: which of the two.
        packed: topic and payload of one.
        patience_s: from each connection on, how long what nobody listens to is kept and sent again.
        most: that may be on their way or wait for who listens.
    """

    def __init__(
        self,
        transport: Transport,
        ledger: Ledger,
        kind: type[Entry],
        packed: Callable[[Entry], tuple[str, bytes]],
        patience_s: float,
        most: int,
    ) -> None:
        self._transport, self._ledger = transport, ledger
        self._kind: type[Entry] = kind
        self._packed: Callable[[Entry], tuple[str, bytes]] = packed
        self._patience_s, self._most, self._last = patience_s, most, 0
        self._sent: dict[int, tuple[str, bytes]] = {}  # by row, until it counts as told
        self._answers: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
        self._heard: deque[tuple[float, int]] = deque()  # since when, and the row
        self._unheard: deque[tuple[float, int]] = deque()  # when it is due again, and the row
        self._connected_at, self._again = time.monotonic(), False
        transport.on_connect(self._connected)

    def turn(self) -> None:
        """Send what is due, and note what has been told.

        Raises:
            BadInput: if the disk is full.
        """
        self._listen()
        if self._again:
            self._again = False
            self._unheard = deque((0.0, row) for row in sorted(row for _, row in (*self._heard, *self._unheard)))
            self._heard.clear()
        if self._send_again():
            self._send_new()
        self._settle(time.monotonic() - SETTLED_S)

    @property
    def on_the_way(self) -> int:
        """How many have been sent and not been answered."""
        return len(self._sent) - len(self._heard) - len(self._unheard)

    def close(self) -> None:
        """Count as told what has been handed over.

        Raises:
            BadInput: if the disk is full.
        """
        self._listen()
        self._settle(time.monotonic())

    def _connected(self) -> None:
        """What is not answered the transport sends again; what a broker had and died with is sent again by `turn`."""
        self._connected_at, self._again = time.monotonic(), True

    def _listen(self) -> None:
        now = time.monotonic()
        while not self._answers.empty():
            row, heard = self._answers.get()
            if heard or now - self._connected_at > self._patience_s:
                self._heard.append((now, row))
            else:
                self._unheard.append((now + AGAIN_S, row))

    def _send_again(self) -> bool:
        while self._unheard and self._unheard[0][0] <= time.monotonic():
            if not self._send(self._unheard[0][1]):
                return False
            self._unheard.popleft()
        return True

    def _send_new(self) -> None:
        while (room := self._most - self.on_the_way - len(self._unheard)) > 0:
            found = self._ledger.untold(self._kind, self._last, room)
            for row, entry in found:
                self._sent[row] = self._packed(entry)
                if not self._send(row):
                    del self._sent[row]
                    return
                self._last = row
            if not found:
                return
            self._listen()

    def _send(self, row: int) -> bool:
        topic, payload = self._sent[row]
        return self._transport.publish(topic, payload, answered=lambda heard: self._answers.put((row, heard)))

    def _settle(self, before: float) -> None:
        rows = [row for since, row in self._heard if since <= before]
        if rows:
            self._ledger.told(self._kind, rows)
        for row in rows:
            self._heard.popleft()
            del self._sent[row]
