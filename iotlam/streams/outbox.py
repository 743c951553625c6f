"""Store and forward: what is sent is on disk first, and stays there until the receiver says that it has it.

So neither a broker that dies with what it holds nor a sender that is switched off loses a message. Numbers tell the
receiver what it has had already, so none counts twice.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from iotlam.contracts import BadInput
from iotlam.streams.envelope import CONFIRMED, MOST, Count, Envelope
from iotlam.streams.transport import Message, Transport

RETRY_S = 5.0
"""If what was sent first is not confirmed within this time, all that was not confirmed is sent again."""

ON_THE_WAY = 1024
"""Messages that may be sent and not yet confirmed: a receiver that has fallen behind must not be flooded."""

IDLE_S = 0.02
BATCH = 256

FORMAT = 1
SCHEMA = """
create table if not exists life (epoch integer not null);
create table if not exists waiting (
    at integer primary key autoincrement, source text not null, number integer not null, body blob not null
);
create index if not exists waiting_source on waiting (source, number);
create table if not exists next (source text primary key, number integer not null) without rowid;
"""


class Outbox:
    """Messages of some sources on their way.

    Args:
        transport: what carries them.
        path: the file they wait in.
        topic: on which they go; `{source}` in it is replaced.
        name: of this sender, unique; the receiver answers on `iotlam/confirmed/<name>`.
        most_bytes: what may wait; beyond it `put` refuses, for nothing is thrown away.

    Raises:
        BadInput: if the file cannot be used.
    """

    def __init__(
        self, transport: Transport, path: Path, topic: str, name: str, most_bytes: int = 4_000_000_000
    ) -> None:
        self._transport, self._topic, self._most_bytes = transport, topic, most_bytes
        self._reply_to = f"{CONFIRMED}{name}"
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._database = open_database(path, SCHEMA, FORMAT)
        self._epoch = self._begin()
        self._sent, self._round = 0, 0
        self._first, self._first_since = 0, time.monotonic()
        self._bytes = int(self._database.execute("select coalesce(sum(length(body)), 0) from waiting").fetchone()[0])
        self._oldest = dict(self._database.execute("select source, min(number) from waiting group by source"))
        transport.subscribe(self._reply_to, self._confirmed)
        transport.on_connect(self._rewind)
        self._pump = threading.Thread(target=self._run, name=f"outbox {name}", daemon=True)
        self._pump.start()

    def put(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Accept messages, each of a source; when this returns they are on disk.

        Raises:
            BadInput: if too much waits already, or the disk is full; then none of them is accepted.
        """
        batch = list(messages)
        size = sum(len(body) for _, body in batch)
        if self._bytes + size > self._most_bytes:
            got, fix = f"{self._bytes + size:,} waiting", "bring the receiver back, or allow more"
            raise BadInput("Outbox", expected=f"at most {self._most_bytes:,} bytes", got=got, fix=fix)
        with self._lock:
            try:
                with self._database:
                    numbered = [(source, self._take_number(source), body) for source, body in batch]
                    self._database.executemany("insert into waiting (source, number, body) values (?, ?, ?)", numbered)
            except sqlite3.OperationalError as error:
                fix = "make room on the disk"
                raise BadInput("Outbox", expected="to write on its disk", got=str(error), fix=fix) from error
            self._bytes += size
            for source, number, _ in numbered:
                self._oldest.setdefault(source, number)

    def waiting(self) -> int:
        """How many messages the receiver has not confirmed yet."""
        with self._lock:
            return int(self._database.execute("select count(*) from waiting").fetchone()[0])

    def close(self) -> None:
        """Stop sending; what waits goes out the next time."""
        self._closing.set()
        self._pump.join()
        with self._lock:
            self._database.close()

    def _begin(self) -> int:
        with self._database:
            row = self._database.execute("select epoch from life").fetchone()
            if row is None:
                self._database.execute("insert into life values (?)", (time.time_ns(),))
        return int(self._database.execute("select epoch from life").fetchone()[0])

    def _take_number(self, source: str) -> int:
        row = self._database.execute(
            "insert into next values (?, 0) on conflict do update set number = number + 1 returning number", (source,)
        ).fetchone()
        return int(row[0])

    def _rewind(self) -> None:
        """Send again from the first that is not confirmed: what was on its way may be lost."""
        self._sent, self._round, self._first_since = 0, self._round + 1, time.monotonic()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._watch_first()
            if not (self._transport.connected and self._send_some()):
                self._closing.wait(IDLE_S)

    def _watch_first(self) -> None:
        """Rewind where the first message that waits has been sent and is not confirmed in time."""
        with self._lock:
            first = self._database.execute("select min(at) from waiting").fetchone()[0] or 0
        if first != self._first or first > self._sent:
            self._first, self._first_since = first, time.monotonic()
        elif time.monotonic() - self._first_since > RETRY_S:
            self._rewind()

    def _send_some(self) -> bool:
        this_round = self._round
        with self._lock:
            (on_the_way,) = self._database.execute(
                "select count(*) from waiting where at <= ?", (self._sent,)
            ).fetchone()
            most = max(min(BATCH, ON_THE_WAY - on_the_way), 0)
            rows = self._database.execute(
                "select at, source, number, body from waiting where at > ? order by at limit ?", (self._sent, most)
            ).fetchall()
        for at, source, number, body in rows:
            payload = Envelope(source, self._epoch, number, self._oldest[source], body).pack()
            if not self._transport.publish(self._topic.format(source=source), payload, self._reply_to):
                return False
            if self._round != this_round:  # rewound meanwhile: begin anew
                return True
            self._sent = at
        return bool(rows)

    def _confirmed(self, message: Message) -> None:
        """The receiver has all of some sources' messages up to a number."""
        try:
            epoch, upto = msgspec.json.decode(message.payload, type=tuple[Count, dict[str, Count]])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        with self._lock:
            if self._closing.is_set():
                return
            try:
                if self._epoch < epoch < MOST:
                    self._begin_after(epoch)
                elif epoch == self._epoch:
                    self._forget(
                        {source: number for source, number in upto.items() if self._has_numbered(source, number)}
                    )
            except sqlite3.OperationalError:  # a full disk: it is confirmed again
                return

    def _forget(self, upto: dict[str, int]) -> None:
        gone_bytes = 0
        with self._database:
            for source, number in upto.items():
                gone = self._database.execute(
                    "delete from waiting where source = ? and number <= ? returning length(body)", (source, number)
                ).fetchall()
                gone_bytes += sum(size for (size,) in gone)
        self._bytes -= gone_bytes
        self._oldest.update({source: max(number + 1, self._oldest.get(source, 0)) for source, number in upto.items()})

    def _has_numbered(self, source: str, number: int) -> bool:
        (last,) = self._database.execute("select max(number) from next where source = ?", (source,)).fetchone()
        return last is not None and number <= int(last)

    def _begin_after(self, epoch: int) -> None:
        """The receiver knows a later numbering of ours: the disk was lost and the clock is behind."""
        with self._database:
            self._database.execute("update life set epoch = ?", (epoch + 1,))
        self._epoch = epoch + 1
        self._rewind()


def open_database(path: Path, schema: str, form: int) -> sqlite3.Connection:
    """A database file with some tables; writes are on disk when they are committed.

    Args:
        path: the file.
        schema: statements that make its tables where they are not there.
        form: number of that schema; a file of another is refused.

    Raises:
        BadInput: if the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False)
        (found,) = database.execute("pragma user_version").fetchone()
        (tables,) = database.execute("select count(*) from sqlite_master").fetchone()
        if tables and found != form:
            raise _no_file_of_ours(path, f"one of another format ({found})")
        database.execute("pragma journal_mode=wal")
        database.executescript(f"{schema}; pragma user_version = {form}")
    except (OSError, sqlite3.Error) as error:
        raise _no_file_of_ours(path, str(error)) from error
    return database


def _no_file_of_ours(path: Path, got: str) -> BadInput:
    return BadInput(str(path), expected="a file for messages", got=got, fix="name another place")
