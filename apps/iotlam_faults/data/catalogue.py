"""The catalogue: what is known of every recording, whoever published it.

`sets.toml` says what the sets are; `recordings.csv` has a row for each recording, or for those that one pattern names
in an archive; `files.csv` what has to be downloaded for them. What is wrong or odd in a set is told there: a speed that
a file states and its own lines deny is replaced, and `doubt` says so.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from iotlam.contracts import BadInput
from iotlam.contracts.records import Record
from iotlam_machine.bearings import Bearing, find_bearing

HERE = Path(__file__).parent
POSITIVE = Meta(gt=0.0)


class DataSet(Record, frozen=True):
    """A published set.

    Attributes:
        name: as on the command line and of its folder.
        title: what it is.
        home: page of its publisher.
        licence: as its publisher states it.
        cite: whom to cite.
        load_unit: unit of its recordings' `load`.
        last_records: of those that a pattern names, how many at the end have the fault; 0 for all.
    """

    name: str
    title: str
    home: str
    licence: str
    cite: str
    load_unit: str = ""
    last_records: Annotated[int, Meta(ge=0)] = 0


class Entry(Record, frozen=True):
    """A recording, or the recordings of one bearing that a pattern names.

    Attributes:
        set: name of the data set.
        file: what is downloaded for it.
        bearing: the physical bearing, unique in its set; recordings of one bearing may not be on both sides of a split.
        rate_hz: sample rate.
        channel: which sensor, array or columns of the file.
        member: path or pattern of paths in the archive, where `file` is one.
        model: number of the bearing, for its geometry; empty where it is not known.
        part: where in the machine it sits.
        faults: what is wrong; none for a sound bearing.
        severity_mm: width of the defect.
        place: where on its race a defect is (clock position), or which phase.
        origin: `artificial` or `lifetime`.
        load: in the unit of its set.
        rpm: true or nominal speed of the shaft.
        doubt: what a reader should know before trusting it.
        own_geometry: of a bearing that has no number here.
    """

    set: str
    file: str
    bearing: str
    rate_hz: Annotated[float, POSITIVE]
    channel: str = ""
    member: str = ""
    model: str = ""
    part: str = ""
    faults: tuple[str, ...] = ()
    severity_mm: Annotated[float, POSITIVE] | None = None
    place: str = ""
    origin: str = ""
    load: float | None = None
    rpm: Annotated[float, Meta(ge=1.0, le=1e6)] | None = None
    doubt: str = ""
    own_geometry: Bearing | None = None

    @property
    def group(self) -> str:
        """The physical bearing among those of all sets."""
        return f"{self.set}/{self.bearing}"

    @property
    def is_current(self) -> bool:
        """Whether it is of a motor's current; else of vibration."""
        return self.set == "itsc_current" or self.channel.startswith("phase_current")

    @property
    def geometry(self) -> Bearing | None:
        """Geometry of the bearing, None where it is not known."""
        return self.own_geometry or (find_bearing(self.model) if self.model else None)

    @property
    def shaft_hz(self) -> float | None:
        """Turns of the shaft a second."""
        return self.rpm / 60.0 if self.rpm else None


class Download(Record, frozen=True):
    """A file as its publisher offers it.

    Attributes:
        set: name of the data set.
        file: its name here.
        bytes: its size.
        addresses: where it is offered, the publisher's own first.
        sha256: of its content; empty where nobody has published one and it was not at hand.
        git_blob: git's own checksum of the content, where the publisher keeps it in a repository.
    """

    set: str
    file: str
    bytes: Annotated[int, Meta(gt=0)]
    addresses: tuple[str, ...]
    sha256: str = ""
    git_blob: str = ""


SETS = {
    name: DataSet.from_raw({"name": name, **raw}, "sets.toml")
    for name, raw in tomllib.loads((HERE / "sets.toml").read_text(encoding="utf-8")).items()
}


def find_set(name: str) -> DataSet:
    """A set by its name.

    Raises:
        BadInput: if there is no such set.
    """
    if name not in SETS:
        raise BadInput("Data set", expected=f"one of {', '.join(SETS)}", got=f"'{name}'", fix="name one of them")
    return SETS[name]


def entries(name: str) -> list[Entry]:
    """All recordings of a set.

    Raises:
        BadInput: if there is no such set.
    """
    find_set(name)
    return [entry for entry in _entries() if entry.set == name]


def downloads(name: str) -> list[Download]:
    """All files of a set.

    Raises:
        BadInput: if there is no such set.
    """
    find_set(name)
    return [download for download in _downloads() if download.set == name]


def entry_of(row: dict[str, str], subject: str) -> Entry:
    """A row of a catalogue as an entry.

    Raises:
        BadInput: naming the column that is wrong.
    """
    raw: dict[str, object] = {key: text.strip() for key, text in row.items() if text and text.strip()}
    raw["faults"] = [name for name in row.get("faults", "").split("+") if name.strip()]
    for key in ("rate_hz", "severity_mm", "load", "rpm"):
        if key in raw:
            raw[key] = number(raw[key], f"{subject}, {key}")
    return Entry.from_raw(raw, subject)


def read_table(path: Path) -> Iterable[dict[str, str]]:
    """Rows of a .csv file with a header.

    Raises:
        BadInput: naming the line with a quote that is not closed, or with more fields than the header.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                if None in row:
                    got, fix = f"{len(row[None])} more", "put a field with a comma in it into quotes"
                    raise BadInput(_line(path, rows), expected=f"{len(row) - 1} fields", got=got, fix=fix)
                yield row
        except csv.Error as error:
            raise BadInput(_line(path, rows), expected="closed quotes", got=str(error), fix="close them") from error


def _line(path: Path, rows: csv.DictReader[str]) -> str:
    return f"{path}, line {rows.reader.line_num}"


def number(text: object, subject: str) -> float:
    """A field as a number.

    Raises:
        BadInput: if it is none.
    """
    try:
        found = float(str(text))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadInput(subject, expected="a number", got=f"'{text}'", fix="correct it, or leave it empty")
    return found


@cache
def _entries() -> tuple[Entry, ...]:
    return tuple(entry_of(row, "recordings.csv") for row in read_table(HERE / "recordings.csv"))


@cache
def _downloads() -> tuple[Download, ...]:
    return tuple(
        Download(
            set=row["set"],
            file=row["file"],
            bytes=int(row["bytes"]),
            addresses=tuple(row["addresses"].split()),
            sha256=row["sha256"],
            git_blob=row["git_blob"],
        )
        for row in read_table(HERE / "files.csv")
    )
