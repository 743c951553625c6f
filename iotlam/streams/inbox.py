"""Each message of a source counts once and in turn, whatever the transport repeats, loses or mixes up.

What has been taken is written in the same transaction as its effect: so a receiver that is killed has either done all
of it or none, and the sender, who keeps what is not confirmed, sends the rest again.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict

import msgspec

from iotlam.streams.envelope import Envelope

SCHEMA = """
create table if not exists taken (
    source text primary key, epoch integer not null, number integer not null
) without rowid;
"""


class Inbox:
    """Which messages have been taken.

    Args:
        database: where effects are written too.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        database.executescript(SCHEMA)
        self._database = database
        self._taken: dict[str, tuple[int, int]] = {
            source: (epoch, number) for source, epoch, number in database.execute("select * from taken")
        }
        self._fresh: dict[str, tuple[int, int]] = {}

    def admits(self, envelope: Envelope) -> bool:
        """Whether a message is the next in turn of its source; if so it counts as taken once `commit` is called."""
        last_epoch, last = self._fresh.get(envelope.source) or self._taken.get(envelope.source, (0, -1))
        if envelope.epoch < last_epoch or (envelope.epoch == last_epoch and envelope.number <= last):
            return False
        follows = envelope.epoch == last_epoch and envelope.number == last + 1
        if not follows and envelope.number != envelope.oldest:  # one before it is still on its way
            return False
        self._fresh[envelope.source] = (envelope.epoch, envelope.number)
        return True

    def write(self) -> None:
        """Write what was admitted, within the transaction that writes its effect."""
        rows = [(source, epoch, number) for source, (epoch, number) in self._fresh.items()]
        self._database.executemany("insert or replace into taken values (?, ?, ?)", rows)

    def settle(self, done: bool) -> None:
        """After the transaction: what was admitted is taken for good, or, where it failed, not at all."""
        if done:
            self._taken.update(self._fresh)
        self._fresh.clear()

    def confirmations(self, sources: dict[str, set[str]]) -> list[tuple[str, bytes]]:
        """What to tell senders: topic and payload.

        Args:
            sources: by the topic on which a sender awaits answers.
        """
        found = []
        for topic, names in sources.items():
            by_epoch: dict[int, dict[str, int]] = defaultdict(dict)
            for name in names:
                if name in self._taken:
                    epoch, number = self._taken[name]
                    by_epoch[epoch][name] = number
            found += [(topic, msgspec.json.encode((epoch, upto))) for epoch, upto in by_epoch.items()]
        return found
