"""What a monitor knows, on disk: one file, changed by whole transactions.

A window's features, the machine's state, the alarm that follows, and that the window has been taken: all of it or
nothing. What must be told to others waits here until it is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from iotlam.contracts import BadInput
from iotlam.streams.inbox import Inbox
from iotlam.streams.outbox import open_database
from iotlam_faults.monitor.alarm import Machine

FORMAT = 1
SCHEMA = """
create table if not exists windows (
    machine text not null, epoch integer not null, number integer not null, t_ns integer not null,
    change real, rms real, kurtosis real, outer real, inner real, ball real, shaft_hz real, judged text not null
);
create index if not exists windows_machine on windows (machine, t_ns);
create table if not exists machines (machine text primary key, state blob not null) without rowid;
create table if not exists alarms (
    id integer primary key, machine text not null, number integer not null, t_ns integer not null,
    raised integer not null, change real not null, fault text not null, because text not null, told integer not null
);
"""


class Window(msgspec.Struct, frozen=True):
    """Features of a window.

    Attributes:
        machine: whose.
        epoch: of the sender's numbering.
        number: in it.
        t_ns: when its first sample was measured.
        change: from the baseline; None while that is learnt or does not apply.
        rms: of the acceleration, m/s2.
        kurtosis: 3 for noise.
        outer: nats by which the first line of an outer race stands out; None where the bearing is not known.
        inner: of an inner race.
        ball: of a rolling element.
        shaft_hz: speed of the shaft.
        judged: `learning`, `sound`, `changed`, or `other speed` where the baseline does not apply.
    """

    machine: str
    epoch: int
    number: int
    t_ns: int
    change: float | None
    rms: float
    kurtosis: float
    outer: float | None = None
    inner: float | None = None
    ball: float | None = None
    shaft_hz: float | None = None
    judged: str = ""


class Alarm(msgspec.Struct, frozen=True):
    """An alarm that was raised or has ended.

    Attributes:
        machine: whose.
        number: of the window that decided.
        t_ns: when that was measured.
        raised: or ended.
        change: of that window.
        fault: what is named: `inner`, `outer`, `ball`, or `unclear`.
        because: why, in words.
        id: of this alarm among the monitor's; 0 before it is written.
    """

    machine: str
    number: int
    t_ns: int
    raised: bool
    change: float
    fault: str
    because: str
    id: int = 0


class Ledger:
    """The monitor's file.

    Args:
        path: the file.

    Raises:
        BadInput: if it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.database = open_database(path, SCHEMA, FORMAT)
        try:
            self.inbox = Inbox(self.database)
            self._machines = {
                name: msgspec.msgpack.decode(state, type=Machine)
                for name, state in self.database.execute("select machine, state from machines")
            }
        except (sqlite3.Error, msgspec.DecodeError) as error:
            fix = "name another folder, or restore the file"
            raise BadInput(str(path), expected="a monitor's file", got=f"a damaged one: {error}", fix=fix) from error

    def machine(self, name: str) -> Machine:
        """State of a machine, a new one if it has never been heard of."""
        return self._machines.setdefault(name, Machine())

    @property
    def machines(self) -> dict[str, Machine]:
        """All machines by name."""
        return self._machines

    @contextmanager
    def effect(self, touched: Collection[str]) -> Iterator[None]:
        """A transaction: what is written in it and what was admitted count together, or neither.

        Args:
            touched: machines whose state may change in it.

        Raises:
            BadInput: if the disk is full; then nothing has changed, on disk and here.
        """
        before = {name: msgspec.msgpack.encode(self.machine(name)) for name in touched}
        try:
            with _room(), self.database:
                yield
                self.inbox.write()
        except BaseException:
            self._machines.update({name: msgspec.msgpack.decode(raw, type=Machine) for name, raw in before.items()})
            self.inbox.settle(False)
            raise
        self.inbox.settle(True)

    def write(self, windows: Iterable[Window], alarms: Iterable[Alarm], touched: Iterable[str]) -> None:
        """Write windows, alarms and the state of machines, within a transaction."""
        self.database.executemany(
            "insert into windows values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(msgspec.structs.astuple, windows)
        )
        self.database.executemany(
            "insert into alarms values (null, ?, ?, ?, ?, ?, ?, ?, 0)",
            [msgspec.structs.astuple(alarm)[:-1] for alarm in alarms],
        )
        self.database.executemany(
            "insert or replace into machines values (?, ?)",
            [(name, msgspec.msgpack.encode(self._machines[name])) for name in touched],
        )

    def untold(self) -> list[Alarm]:
        """Alarms of which nobody has been told yet."""
        return self._alarms("where told = 0 order by id")

    def told(self, alarm: Alarm) -> None:
        """Others know of an alarm now.

        Raises:
            BadInput: if the disk is full; then they will be told again.
        """
        with _room(), self.database:
            self.database.execute("update alarms set told = 1 where id = ?", (alarm.id,))

    def alarms(self) -> list[Alarm]:
        """All alarms, the newest first."""
        return self._alarms("order by id desc")

    def history(self, name: str, most: int = 300) -> list[tuple[int, float | None, str]]:
        """Time, change and judgement of a machine's newest windows, oldest first."""
        rows = self.database.execute(
            "select t_ns, change, judged from windows where machine = ? order by t_ns desc limit ?", (name, most)
        ).fetchall()
        return rows[::-1]

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def _alarms(self, rest: str) -> list[Alarm]:
        columns = "machine, number, t_ns, raised, change, fault, because, id"
        rows = self.database.execute(f"select {columns} from alarms {rest}")
        return [Alarm(one[0], one[1], one[2], bool(one[3]), *one[4:]) for one in rows]


@contextmanager
def _room() -> Iterator[None]:
    """Says in a sentence that the disk is full."""
    try:
        yield
    except sqlite3.OperationalError as error:
        fix = "make room on the disk; what was sent is kept by its senders"
        raise BadInput("Monitor", expected="to write on its disk", got=str(error), fix=fix) from error
