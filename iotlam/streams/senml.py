"""SenML (RFC 8428): measurements as JSON that other systems read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

UNITS = {"m/s2": "m/s2", "Hz": "Hz", "": "/", "degC": "Cel", "A": "A", "s": "s"}
"""Ours to those of the SenML registry; a ratio is `/`."""


ABSOLUTE_NS = 2**28 * 1_000_000_000
"""Times before this one, of 1978, are counted from now on: so reads the RFC what a clock that is not set says."""

ILLEGAL = re.compile(r"[^A-Za-z0-9\-:./_]|_(?=x)")
"""What no name may hold, and an underscore that would look like the escape of it."""


class Record(msgspec.Struct, omit_defaults=True):
    """A line of a pack, labelled as the RFC does."""

    bn: str | None = None
    bt: float | None = None
    n: str = ""
    u: str | None = None
    v: float | None = None
    vb: bool | None = None
    vs: str | None = None
    t: float | None = None


def encode(source: str, t_ns: int, values: Mapping[str, tuple[float | bool | str, str]]) -> bytes:
    """A pack of a source's values at one time.

    Args:
        source: becomes the base name, as `urn:dev:iotlam:<source>:`; what no name may hold is written by its code
            point, a space as `_x0020_`.
        t_ns: when it was measured, from `ABSOLUTE_NS` on.
        values: value and unit by name.
    """
    records = [_record(name, value, unit) for name, (value, unit) in values.items()]
    if records:
        records[0].bn, records[0].bt = f"urn:dev:iotlam:{_legal(source)}:", t_ns / 1e9
    return msgspec.json.encode(records)


def decode(payload: bytes) -> dict[str, tuple[float, float | bool | str]]:
    """Time in seconds and value by full name, base names and times resolved.

    Raises:
        msgspec.DecodeError: if it is no SenML.
    """
    found: dict[str, tuple[float, float | bool | str]] = {}
    base, base_s = "", 0.0
    for one in msgspec.json.decode(payload, type=Sequence[Record]):
        base, base_s = one.bn if one.bn is not None else base, one.bt if one.bt is not None else base_s
        value = next(value for value in (one.v, one.vb, one.vs, 0.0) if value is not None)
        found[base + one.n] = (base_s + (one.t or 0.0), value)
    return found


def _legal(name: str) -> str:
    return ILLEGAL.sub(lambda one: f"_x{ord(one[0]):04X}_", name)


def _record(name: str, value: float | bool | str, unit: str) -> Record:
    if isinstance(value, bool):
        return Record(n=name, vb=value)
    if isinstance(value, str):
        return Record(n=name, vs=value)
    return Record(n=name, u=UNITS.get(unit, unit), v=float(value))
