"""Raw recordings: interleaved I and Q, the type in the suffix, the rate beside the file or in its name.

Suffixes are those of GNU Radio (.cfile, .cf32), of rtl_sdr and rtl_433 (.cu8, .cs8, .cs16), and of Universal Radio
Hacker (.complex, .complex16s, ...), where 16 and 32 count the bits of a whole sample. All are little-endian.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from iotlam.contracts import BadInput
from iotlam.contracts.records import Record
from iotlam_spectrum.stretch import Stretch, plausible_rate, whole_samples

TYPES = {
    ".complex": "<f4", ".cfile": "<f4", ".cf32": "<f4", ".complex32s": "<i2", ".cs16": "<i2",
    ".complex16s": "i1", ".cs8": "i1", ".complex16u": "u1", ".cu8": "u1",
}  # fmt: skip
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_NUMBER = r"(\d{1,12}(?:\.\d{1,12})?)([kMG]?)"


class Notes(Record, frozen=True):
    """What `NAME.SUFFIX.toml` says of the recording `NAME.SUFFIX`.

    Attributes:
        rate_hz: complex samples per second.
        centre_hz: tuned frequency, 0 where unknown.
        start_ns: time of the first sample, nanoseconds on the site's clock.
        sensor: name of the receiver; the file's where none is given.
    """

    rate_hz: float
    centre_hz: float = 0.0
    start_ns: int = 0
    sensor: str = ""


def raw_stretches(path: Path) -> list[Stretch]:
    """The one stretch of a raw recording.

    Raises:
        BadInput: if the suffix is unknown, a sample is torn, or the rate is neither beside the file nor in its name.
    """
    if path.suffix.lower() not in TYPES:
        expected = f"a file that ends in {', '.join(TYPES)}"
        fix = "describe it in a .sigmf-meta that names it as core:dataset"
        raise BadInput(f"Recording '{path}'", expected=expected, got=f"'{path.suffix}'", fix=fix)
    dtype = np.dtype(TYPES[path.suffix.lower()])
    samples = whole_samples(path, path.stat().st_size, dtype)
    beside = path.with_name(path.name + ".toml")
    told = Notes.from_toml(beside) if beside.exists() else _from_name(path)
    rate_hz = plausible_rate(path, told.rate_hz)
    return [Stretch(path, 0, samples, dtype, rate_hz, told.centre_hz, told.start_ns, told.sensor or path.stem)]


def _from_name(path: Path) -> Notes:
    """Rate and frequency from a name such as g001_433.92M_250k.cu8 (rtl_433) or x_2Msps_1090MHz.cf32 (SatDump)."""
    fields = path.stem.split("_")
    rates, centres = (_fields(fields, unit) for unit in ("sps", "Hz"))
    if not rates and len(fields) > 2:
        centres, rates = _fields(fields[-2:-1], "") + centres, _fields(fields[-1:], "")
    if len(rates) == 1 and len(centres) <= 1:
        return Notes(rate_hz=rates[0], centre_hz=centres[0] if centres else 0.0)
    raise BadInput(
        f"Recording '{path}'",
        expected="its sample rate in the file's name (NAME_433.92M_250k, NAME_250ksps) or beside it",
        got="no rate",
        fix=f"write 'rate_hz = 1e6' with the true rate into '{path.name}.toml' beside it",
    )


def _fields(fields: list[str], unit: str) -> list[float]:
    found = (re.fullmatch(_NUMBER + unit, field, re.IGNORECASE) for field in fields)
    return [float(match[1]) * _FACTORS[match[2].lower()] for match in found if match and (unit or match[2])]
