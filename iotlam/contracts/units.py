"""Units of measured data: the symbols of SenML (RFC 8428, RFC 8798) and a few that sensors need besides."""

from __future__ import annotations

from typing import NamedTuple

from iotlam.contracts.errors import BadInput


class Unit(NamedTuple):
    """A unit: what kind of quantity it measures, and how many of that kind's first unit it is."""

    quantity: str
    factor: float


UNITS = {
    "/": Unit("ratio", 1.0),
    "%": Unit("ratio", 1e-2),
    "count": Unit("count", 1.0),
    "m": Unit("length", 1.0),
    "cm": Unit("length", 1e-2),
    "mm": Unit("length", 1e-3),
    "km": Unit("length", 1e3),
    "s": Unit("time", 1.0),
    "ms": Unit("time", 1e-3),
    "us": Unit("time", 1e-6),
    "Hz": Unit("frequency", 1.0),
    "1/min": Unit("frequency", 1.0 / 60.0),
    "m/s": Unit("speed", 1.0),
    "mm/s": Unit("speed", 1e-3),
    "km/h": Unit("speed", 1.0 / 3.6),
    "m/s2": Unit("acceleration", 1.0),
    "gn": Unit("acceleration", 9.80665),  # standard gravity; SenML's g is the gram
    "mgn": Unit("acceleration", 9.80665e-3),
    "V": Unit("voltage", 1.0),
    "mV": Unit("voltage", 1e-3),
    "A": Unit("current", 1.0),
    "mA": Unit("current", 1e-3),
    "K": Unit("temperature", 1.0),
    "Cel": Unit("celsius", 1.0),
    "Pa": Unit("pressure", 1.0),
    "hPa": Unit("pressure", 1e2),
    "dB": Unit("level", 1.0),
    "rad": Unit("angle", 1.0),
    "lx": Unit("illuminance", 1.0),
    "%RH": Unit("relative humidity", 1.0),
}
"""Every unit that a manifest may name."""


def unit_factor(given: str, wanted: str) -> float:
    """What values in unit `given` must be multiplied by to be in unit `wanted`.

    Raises:
        BadInput: if a unit is unknown or the two measure different quantities.
    """
    for symbol in (given, wanted):
        if symbol not in UNITS:
            raise BadInput("Unit", expected=f"one of {', '.join(UNITS)}", got=f"'{symbol}'", fix="use a known symbol")
    if UNITS[given].quantity != UNITS[wanted].quantity:
        raise BadInput(
            "Unit",
            expected=f"one of {UNITS[wanted].quantity}, such as '{wanted}'",
            got=f"'{given}', of {UNITS[given].quantity}",
            fix="measure that quantity",
        )
    return UNITS[given].factor / UNITS[wanted].factor
