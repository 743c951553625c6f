"""What a monitor knows, on disk: one file, changed by whole transactions.

A window's features, the sensor's state, the alarm that follows, and that the window has been taken: all of it or
nothing. What must be told to others waits here until it is told.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from iotlam.contracts import BadInput
from iotlam.streams.inbox import Inbox
from iotlam.streams.outbox import open_database
from iotlam_faults.checks import SAME_RATE
from iotlam_faults.monitor.alarm import Sensor

FORMAT = 2
SCHEMA = """
create table if not exists windows (
    machine text not null, sensor text not null, epoch integer not null, number integer not null,
    t_ns integer not null, taken_ns integer not null, judged text not null, change real, rms real, kurtosis real,
    outer real, inner real, ball real, shaft_hz real, told integer not null default 0
);
create index if not exists windows_sensor on windows (machine, sensor);
create index if not exists windows_untold on windows (told) where told = 0;
create table if not exists sensors (
    machine text, sensor text, state blob not null, primary key (machine, sensor)
) without rowid;
create table if not exists alarms (
    machine text not null, sensor text not null, epoch integer not null, number integer not null,
    t_ns integer not null, kind text not null, raised integer not null, change real, fault text not null,
    because text not null, id text not null, told integer not null default 0
);
create index if not exists alarms_untold on alarms (told) where told = 0;
"""

KEPT_WINDOWS = 5_000_000
"""Beyond which the oldest are thrown away once they have been told: the file stays below about a gigabyte."""

Key = tuple[str, str]
"""A machine and one of its sensors: name, channel where there are several, and sample rate."""


def without_rate(key: Key) -> Key:
    """The sensor, at whatever rate."""
    return key[0], key[1].rpartition("/")[0]


def rate_of(key: Key) -> float:
    """The sample rate, hertz."""
    return float(key[1].rpartition("/")[2].removesuffix("Hz"))


class Window(msgspec.Struct, frozen=True):
    """Features of a window.

    Attributes:
        machine: whose.
        sensor: of it.
        epoch: of the sender's numbering.
        number: in it.
        t_ns: when its first sample was measured, by the machine's clock.
        taken_ns: when it was taken, by the monitor's clock.
        judged: `learning`, `sound`, `changed`, `other speed` where the baseline does not apply, or `dead` where the
            sensor says nothing.
        change: from the baseline; None while that is learnt or does not apply.
        rms: of the acceleration, m/s2; None for a dead window.
        kurtosis: 3 for noise.
        outer: nats by which the first line of an outer race stands out; None where the bearing is not known.
        inner: of an inner race.
        ball: of a rolling element.
        shaft_hz: speed of the shaft.
    """

    machine: str
    sensor: str
    epoch: int
    number: int
    t_ns: int
    taken_ns: int
    judged: str
    change: float | None = None
    rms: float | None = None
    kurtosis: float | None = None
    outer: float | None = None
    inner: float | None = None
    ball: float | None = None
    shaft_hz: float | None = None

    @property
    def id(self) -> str:
        """The same whenever and by whomever it is told: by it doubles are dropped."""
        return f"{self.machine}/{self.sensor}/{self.epoch}/{self.number}"


class Alarm(msgspec.Struct, frozen=True):
    """An alarm that was raised or has ended.

    Attributes:
        machine: whose.
        sensor: of it.
        epoch: of the window that decided.
        number: of that window.
        t_ns: when that was measured.
        kind: `changed`, or `dead` where the sensor says nothing.
        raised: or ended.
        change: of that window; None where it has none.
        fault: what is named: `inner`, `outer`, `ball`, `unclear` or `dead`; empty where it has ended.
        because: why, in words.
        id: the same whenever and by whomever it is told: by it doubles are dropped.
    """

    machine: str
    sensor: str
    epoch: int
    number: int
    t_ns: int
    kind: str
    raised: bool
    change: float | None
    fault: str
    because: str
    id: str


Entry = TypeVar("Entry", Window, Alarm)
TABLES: dict[type, str] = {Window: "windows", Alarm: "alarms"}


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
            self._sensors = {
                (machine, sensor): msgspec.msgpack.decode(state, type=Sensor)
                for machine, sensor, state in self.database.execute("select machine, sensor, state from sensors")
            }
            self._keys: dict[Key, list[Key]] = defaultdict(list)
            for key in self._sensors:
                self._keys[without_rate(key)].append(key)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            fix = "name another folder, or restore the file"
            raise BadInput(str(path), expected="a monitor's file", got=f"a damaged one: {error}", fix=fix) from error

    def key(self, machine: str, name: str, rate_hz: float) -> Key:
        """The sensor of a machine that is known by a name at about a rate; a new one if none is."""
        known = self._keys[machine, name]
        nearest = min(known, key=lambda key: abs(rate_of(key) - rate_hz), default=None)
        if nearest is None or abs(rate_of(nearest) / rate_hz - 1.0) > SAME_RATE:
            known.append(nearest := (machine, f"{name}/{rate_hz:.9g}Hz"))
        return nearest

    def sensor(self, key: Key) -> Sensor:
        """State of a sensor, a new one if it has never been heard of."""
        return self._sensors.setdefault(key, Sensor())

    @property
    def sensors(self) -> dict[Key, Sensor]:
        """All sensors of all machines."""
        return self._sensors

    @contextmanager
    def effect(self, touched: Collection[Key]) -> Iterator[None]:
        """A transaction: what is written in it and what was admitted count together, or neither.

        Args:
            touched: sensors whose state may change in it.

        Raises:
            BadInput: if the disk is full; then nothing has changed, on disk and here.
        """
        before = {key: msgspec.msgpack.encode(self.sensor(key)) for key in touched}
        try:
            with _room(), self.database:
                yield
                self.inbox.write()
        except BaseException:
            self._sensors.update({key: msgspec.msgpack.decode(raw, type=Sensor) for key, raw in before.items()})
            self.inbox.settle(False)
            raise
        self.inbox.settle(True)

    def write(self, windows: Iterable[Window], alarms: Iterable[Alarm], touched: Iterable[Key]) -> None:
        """Write windows, alarms and the state of sensors, within a transaction."""
        for kind, entries in ((Window, windows), (Alarm, alarms)):
            marks = ", ".join("?" * len(kind.__struct_fields__))
            self.database.executemany(
                f"insert into {TABLES[kind]} ({_columns(kind)}) values ({marks})", map(msgspec.structs.astuple, entries)
            )
        self.database.executemany(
            "insert or replace into sensors values (?, ?, ?)",
            [(*key, msgspec.msgpack.encode(self._sensors[key])) for key in touched],
        )

    def forget(self, machine: str) -> None:
        """Learn a machine's baselines anew from its next windows; alarms that stand end.

        Raises:
            BadInput: if the disk is full; then nothing has changed.
        """
        keys = [key for key in self._sensors if key[0] == machine]
        ended = [
            alarm
            for key in keys
            for kind, latch in (("changed", self._sensors[key].changed), ("dead", self._sensors[key].dead))
            if latch.stands
            for alarm in self._entries(
                Alarm, "where machine = ? and sensor = ? and kind = ? order by rowid desc limit 1", (*key, kind)
            )
        ]
        with _room(), self.database:
            self.write([], [_forgotten(alarm) for _, alarm in ended], [])
            self.database.execute("delete from sensors where machine = ?", (machine,))
        for key in keys:
            del self._sensors[key]

    def untold(self, kind: type[Entry], after: int, most: int) -> list[tuple[int, Entry]]:
        """Windows or alarms of which nobody has been told yet, in the order they came, each with its row.

        Args:
            kind: which of the two.
            after: the row after which to begin.
            most: no more than so many.
        """
        return self._entries(kind, "where told = 0 and rowid > ? order by rowid limit ?", (after, most))

    def told(self, kind: type[Entry], rows: Sequence[int]) -> None:
        """Others know of windows or alarms now; the oldest windows beyond `KEPT_WINDOWS` go.

        Raises:
            BadInput: if the disk is full; then they will be told again.
        """
        with _room(), self.database:
            self.database.executemany(f"update {TABLES[kind]} set told = 1 where rowid = ?", [(row,) for row in rows])
            if kind is Window:
                oldest = max(rows) - KEPT_WINDOWS
                self.database.execute("delete from windows where rowid <= ? and told = 1", (oldest,))

    def alarms(self, most: int = -1) -> list[Alarm]:
        """The newest alarms, the newest first; all where no number is given."""
        return [alarm for _, alarm in self._entries(Alarm, "order by rowid desc limit ?", (most,))]

    def history(self, key: Key, most: int = 300) -> list[Window]:
        """A sensor's newest windows, oldest first; in the order they came, whatever its clock says."""
        rest = "where machine = ? and sensor = ? order by rowid desc limit ?"
        return [window for _, window in self._entries(Window, rest, (*key, most))][::-1]

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def _entries(self, kind: type[Entry], rest: str, values: tuple[object, ...]) -> list[tuple[int, Entry]]:
        rows = self.database.execute(f"select rowid, {_columns(kind)} from {TABLES[kind]} {rest}", values)
        fields = kind.__struct_fields__
        return [(one[0], msgspec.convert(dict(zip(fields, one[1:], strict=True)), kind, strict=False)) for one in rows]


def _forgotten(raised: Alarm) -> Alarm:
    because, name = "its baseline is learnt anew", f"{raised.id}/forgotten"
    return msgspec.structs.replace(raised, raised=False, fault="", because=because, id=name)


def _columns(kind: type[Window] | type[Alarm]) -> str:
    return ", ".join(kind.__struct_fields__)


@contextmanager
def _room() -> Iterator[None]:
    """Says in a sentence that the disk is full."""
    try:
        yield
    except sqlite3.OperationalError as error:
        fix = "make room on the disk; what was sent is kept by its senders"
        raise BadInput("Monitor", expected="to write on its disk", got=str(error), fix=fix) from error
