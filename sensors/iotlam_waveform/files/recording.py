"""What every reader returns, what it may cost, and the notes beside a file that say what the file cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from iotlam.contracts import UNITS, BadInput, SensorFrame, unit_factor
from iotlam.contracts.records import Record

FRAME_S = 1.0
TACHO = "tacho"
SPARE_BYTES = 250 * 2**20
"""What any file may take besides, less what is not counted: counts of a 16-bit converter, packed as double, come to six
times their file."""

SAME_RATE = 1e-3
"""Share by which a rate that is stated twice may differ: times are printed with few digits."""

SPELLINGS = {"g": "gn", "mg": "mgn", "m/s²": "m/s2", "m/s^2": "m/s2", "m/s/s": "m/s2", "sec": "s",
             "µs": "us", "μs": "us", "rpm": "1/min", "RPM": "1/min", "r/min": "1/min"}  # fmt: skip
"""How units are written besides. A waveform is weighed by nobody: its g is no gram."""

Positive = Annotated[float, Meta(gt=0.0)]
Stated = TypeVar("Stated", str, float)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is read for: the modality, its unit, and the sample rates that it takes, hertz."""

    modality: str
    unit: str
    rate_hz: tuple[float, float]


class Notes(Record, frozen=True):
    """What a person knows of a recording and its file does not say: `pump.wav.toml` beside `pump.wav`.

    Attributes:
        rate_hz: sample rate.
        units: unit of the values (`iotlam.contracts.UNITS`).
        scale: how many `units` one is in the file; of PCM, how many full scale is.
        shaft_hz: speed of the shaft, turns a second.
        sensor: name of the sensor.
        name: under which the file was published, where it is called otherwise now: of some sets it tells rate or speed.
        tacho: channel that holds a tachometer's pulses: a column's name, an array's, or of .wav its number from 1; one
            called `tacho`, if there is any, where this is None.
        pulses_per_turn: of the tachometer.
    """

    rate_hz: Positive | None = None
    units: str | None = None
    scale: Positive | None = None
    shaft_hz: Positive | None = None
    sensor: str | None = None
    name: str | None = None
    tacho: str | int | None = None
    pulses_per_turn: Annotated[int, Meta(ge=1, le=100_000)] = 1

    @property
    def pulses(self) -> str:
        """What the channel with a tachometer's pulses is called."""
        return TACHO if self.tacho is None else str(self.tacho)

    @classmethod
    def beside(cls, path: Path) -> Notes:
        """The notes of a file, empty where there are none.

        Raises:
            BadInput: if they cannot be read.
        """
        notes = path.parent / f"{path.name}.toml"
        return cls.from_toml(notes) if notes.is_file() else cls()


class Axis(NamedTuple):
    """A column of a table: its name, and its unit, empty where neither the file nor its notes state it."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One sensor's waveform as the file stores it.

    Attributes:
        values_NC: N samples of C axes or phases, any numeric dtype.
        sensor: name of the sensor.
        rate_hz: sample rate.
        units: unit of `values_NC * scale - offset_C`, where axes do not state their own.
        scale: what the stored numbers are multiplied by.
        offset_C: what is then taken off.
        shaft_hz: speed of the shaft, a number or an array spread over the recording; None where it is not known.
        axes: what the file says of each of the C; none where it names none.
    """

    values_NC: NDArray[Any]
    sensor: str
    rate_hz: float
    units: str
    scale: float = 1.0
    offset_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    shaft_hz: float | NDArray[np.float64] | None = None
    axes: tuple[Axis, ...] = ()


class Budget:
    """Bytes that reading a file may allocate: four times the file and 256 MB, whatever its headers claim."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._left = path, 4 * size + SPARE_BYTES

    @property
    def left(self) -> int:
        """Bytes that may still be allocated."""
        return self._left

    def spend(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            BadInput: if they are not left.
        """
        self._left -= count
        if self._left < 0:
            got = "one that expands beyond four times the file and 256 MB"
            raise bad(self._path, "content in keeping with its size", got, "store it uncompressed, as float32")


def unpacked(parts: Iterable[bytes], budget: Budget) -> bytearray:
    """What a compressed stream holds, part by part, so that no more is ever held than is paid for, but for a part.

    Raises:
        BadInput: if it expands beyond the budget.
    """
    content = bytearray()
    for part in parts:
        budget.spend(len(part) + len(part) // 8)  # a bytearray grows by an eighth ahead
        content += part
    return content


def bad(path: Path, expected: str, got: str, fix: str) -> BadInput:
    """The error of a file."""
    return BadInput(f"File '{path.name}'", expected=expected, got=got, fix=fix)


def damaged(path: Path, got: str) -> BadInput:
    """The error of a file that is cut off or spoilt."""
    return bad(path, f"a whole {path.suffix.lower()} file", got, "copy or export it again")


def spelt(unit: str) -> str:
    """The symbol of a unit that a file or its notes write in another way."""
    return SPELLINGS.get(unit, unit)


def factor(path: Path, given: str, wanted: str) -> float:
    """What values in the unit that a file or its notes state are multiplied by to be in another.

    Raises:
        BadInput: if it is unknown or of another quantity.
    """
    try:
        return unit_factor(given, wanted)
    except BadInput as error:
        raise bad(path, f"a unit, {error.expected}", error.got, error.fix) from error


def speed_trace(path: Path, key: str, speed_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns a second as a file states them in `key`, if all are.

    Raises:
        BadInput: if one is not positive, or missing.
    """
    wrong_M = ~(np.isfinite(speed_M) & (speed_M > 0.0))
    if wrong_M.any():
        at = int(wrong_M.argmax())
        raise bad(path, f"positive numbers as '{key}'", f"{speed_M[at]:g} turns a second in place {at + 1}",
                  "cut that part off, or leave the speed away")  # fmt: skip
    return speed_M


def agreed(path: Path, key: str, stated: Stated, noted: Stated | None) -> Stated:
    """What a file and its notes state alike, or the file alone.

    Raises:
        BadInput: if they contradict each other.
    """
    if noted is None or noted == stated:
        return stated
    if isinstance(stated, str) or not math.isclose(stated, noted, rel_tol=SAME_RATE):
        raise contradicted(path, key, stated, noted)
    return noted


def contradicted(path: Path, key: str, stated: object, noted: object) -> BadInput:
    """The error of notes that state something else than their file."""
    fix = "leave it out of the notes, or correct the file"
    return bad(path, f"notes that agree with its own {key}, {stated}", f"{noted}", fix)


def frames_of(recording: Recording, quantity: Quantity, path: Path, budget: Budget) -> Iterator[SensorFrame]:
    """The recording in frames of a second; time is counted from its first sample.

    Of axes that state their units those of the quantity are taken, and named in the metadata.

    Raises:
        BadInput: if it is empty, its unit is of another quantity, or its rate is not one that the modality takes.
    """
    taken = _measuring(path, recording.axes, quantity)
    values_NC, rate_hz = recording.values_NC, recording.rate_hz
    low, high = quantity.rate_hz
    if not low <= rate_hz <= high:
        raise bad(path, f"a sample rate from {low:g} to {high:g} Hz", f"{rate_hz:g} Hz", "state the true rate")
    if values_NC.ndim != 2 or 0 in values_NC.shape or values_NC.shape[1] > values_NC.shape[0]:
        raise bad(path, "samples x axes", f"an array of shape {values_NC.shape}", "store one column an axis")
    units = [recording.axes[index].unit for index in taken] or [recording.units]
    factor_C = np.array([factor(path, unit, quantity.unit) for unit in units])
    scale_C = (recording.scale * factor_C).astype(np.float32)
    offset_C = (recording.offset_C * factor_C).astype(np.float32)
    meta: dict[str, Any] = {"sensor": recording.sensor, "rate_hz": rate_hz}
    if taken:
        meta["axes"] = tuple(recording.axes[index].name for index in taken)
    chosen = taken if len(taken) < len(recording.axes) else slice(None)
    budget.spend(4 * values_NC.size)
    step = round(FRAME_S * rate_hz)
    for start in range(0, len(values_NC), step):
        with np.errstate(over="ignore", invalid="ignore"):
            part_NC = values_NC[start : start + step, chosen].astype(np.float32)
            part_NC *= scale_C
            part_NC -= offset_C
        if recording.shaft_hz is not None:
            meta = {**meta, "shaft_hz": _speed(recording.shaft_hz, start, len(part_NC), len(values_NC))}
        yield SensorFrame(t_ns=round((start + len(part_NC) - 1) / rate_hz * 1e9), data=part_NC, meta=meta)


def _measuring(path: Path, axes: tuple[Axis, ...], quantity: Quantity) -> list[int]:
    """Which axes measure the quantity.

    Raises:
        BadInput: if there are axes and none does.
    """
    taken, wanted = of_quantity(axes, quantity.unit), UNITS[quantity.unit].quantity
    if axes and not taken:
        got = ", ".join(f"{axis.name} [{axis.unit or '?'}]" for axis in axes)[:60]
        fix = f"add it, or units to {path.name}.toml for columns that state none"
        raise bad(path, f"a column of {wanted} with its unit, such as 'x [{quantity.unit}]'", got, fix)
    return taken


def of_quantity(axes: Sequence[Axis], unit: str) -> list[int]:
    """Which axes are of a unit's quantity, none where that or theirs is unknown."""
    wanted = UNITS[unit].quantity if unit in UNITS else None
    return [index for index, axis in enumerate(axes) if axis.unit in UNITS and UNITS[axis.unit].quantity == wanted]


def _speed(shaft_hz: float | NDArray[np.float64], start: int, size: int, count: int) -> float | NDArray[np.float64]:
    """The speed as stated, or its trace at the samples of a part of `count` samples."""
    if isinstance(shaft_hz, float):
        return shaft_hz
    if len(shaft_hz) == count:
        return shaft_hz[start : start + size]
    return np.interp(np.arange(start, start + size), np.linspace(0.0, count - 1.0, len(shaft_hz)), shaft_hz)
