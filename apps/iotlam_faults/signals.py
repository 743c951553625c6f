"""What is diagnosed: the channels of a recording, and what is known of their machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_machine.bearings import Bearing, FaultOrders
from iotlam_waveform.current import read as read_current
from iotlam_waveform.files import read_recordings
from iotlam_waveform.files.recording import Notes
from iotlam_waveform.vibration.plugin import QUANTITY

if TYPE_CHECKING:  # it loads the data sets' tables
    from iotlam_faults.data.catalogue import Entry


@dataclass(frozen=True, slots=True)
class Signal:
    """What is diagnosed.

    Attributes:
        values_N: m/s2, float32.
        rate_hz: sample rate.
        channel: name of the sensor and axis.
        source: of the recording, for headings and errors.
        shaft_hz: speed of the shaft, None where it is not known.
        bearing: geometry, None where it is not known.
        bearing_name: as the user called it.
        doubt: what is known to be odd about the recording.
        part: where in its machine the sensor sits.
        speed_N: turns a second at every sample, None where the recording has no such trace.
        stated_hz: speed that is stated beside such a trace, which counts before it; None without both.
        sensor: name of the sensor alone, empty where the file gives none.
        axis: name of the sensor's axis as the file or else its place gives it, empty of an only one without a name.
    """

    values_N: NDArray[np.float32]
    rate_hz: float
    channel: str
    source: str
    shaft_hz: float | None = None
    bearing: Bearing | FaultOrders | None = None
    bearing_name: str = ""
    doubt: str = ""
    part: str = ""
    speed_N: NDArray[np.float32] | None = None
    stated_hz: float | None = None
    sensor: str = ""
    axis: str = ""

    @property
    def orders(self) -> FaultOrders | None:
        """Orders of the bearing's faults."""
        return self.bearing.orders if isinstance(self.bearing, Bearing) else self.bearing

    @property
    def lacking(self) -> tuple[str, ...]:
        """What is not known without which no fault can be told by its lines: `speed`, `bearing`."""
        return tuple(word for word, value in (("speed", self.shaft_hz), ("bearing", self.bearing)) if value is None)

    def first(self, seconds: float, turns: float = 0.0) -> Signal:
        """The first seconds of it, and as many as turns of the shaft take; its speed is that meanwhile."""
        if self.speed_N is None:
            count = round(max(seconds, turns / self.shaft_hz if self.shaft_hz else 0.0) * self.rate_hz)
            return replace(self, values_N=self.values_N[:count])
        turned_N = np.cumsum(self.speed_N, dtype=np.float64) / self.rate_hz
        count = max(round(seconds * self.rate_hz), int(np.searchsorted(turned_N, turns)) + 1)
        speed_N = self.speed_N[:count]
        return replace(
            self, values_N=self.values_N[:count], speed_N=speed_N, shaft_hz=float(speed_N.mean(dtype=np.float64))
        )

    def at_speed(self, stated_hz: float | None) -> Signal:
        """With a speed that is stated of it; a trace that it has counts, and is held against that."""
        if stated_hz is None:
            return self
        return replace(self, shaft_hz=stated_hz) if self.speed_N is None else replace(self, stated_hz=stated_hz)

    def at_rate(self, rate_hz: float) -> Signal:
        """As if it were sampled at a rate that differs little: its speed turns as far from sample to sample."""
        by = rate_hz / self.rate_hz
        shaft_hz, stated_hz = (None if hz is None else hz * by for hz in (self.shaft_hz, self.stated_hz))
        speed_N = None if self.speed_N is None else self.speed_N * np.float32(by)
        return replace(self, rate_hz=rate_hz, shaft_hz=shaft_hz, stated_hz=stated_hz, speed_N=speed_N)

    def known_as(self, published: Sequence[Entry]) -> Signal:
        """With what the catalogue knows of its recording, if one of the entries is of this channel."""
        names = self.channel, self.channel.rpartition(".")[0]
        entry = next((entry for entry in published if entry.channel in names), None)
        if entry is None:
            return self
        known = replace(self, bearing=entry.geometry, bearing_name=entry.model, doubt=entry.doubt, part=entry.part)
        return known.at_speed(entry.shaft_hz)

    def told(self, shaft_hz: float | None, bearing: Bearing | FaultOrders | None, name: str, part: str) -> Signal:
        """With what its user says of it, which counts before all but a trace of the speed."""
        found = replace(self, part=part or self.part).at_speed(shaft_hz)
        return found if bearing is None else replace(found, bearing=bearing, bearing_name=name)


def read_signals(path: Path, notes: Notes | None = None) -> list[Signal]:
    """The channels of a recording, an axis each, named as the file names them.

    Args:
        path: of the file.
        notes: what is known of it besides; default: those that stand beside it.

    Raises:
        BadInput: if the file cannot be read.
    """
    found: dict[str, list[SensorFrame]] = {}
    for frame in read_recordings(path, QUANTITY, notes):
        found.setdefault(frame.sensor, []).append(frame)
    signals = []
    for sensor, frames in found.items():
        values_NC = np.concatenate([frame.data for frame in frames])
        shaft_hz, speed_N = _speed(frames)
        whole, axes = sensor or path.stem, _axes(frames[0])
        for axis, values_N in zip(axes, values_NC.T, strict=True):
            one = Signal(
                values_N,
                float(frames[0].meta["rate_hz"]),
                f"{whole}.{axis}" if len(axes) > 1 else whole,
                path.name,
                shaft_hz,
                speed_N=speed_N,
                sensor="" if sensor == path.stem else sensor,
                axis=axis,
            )
            signals.append(one)
    return signals


def _speed(frames: Sequence[SensorFrame]) -> tuple[float | None, NDArray[np.float32] | None]:
    """The shaft's speed as the frames state it, and its trace where they hold one."""
    if "shaft_hz" not in frames[0].meta:
        return None, None
    stated = [np.asarray(frame.meta["shaft_hz"], np.float64) for frame in frames]
    if all(speed.size == 1 for speed in stated):
        return float(np.mean(stated)), None
    speed_N = np.concatenate([_spread(speed, len(frame.data)) for speed, frame in zip(stated, frames, strict=True)])
    return float(speed_N.mean()), speed_N


def _spread(speed_M: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """A number or an array, spread over so many samples."""
    at_N, at_M = np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, speed_M.size)
    return np.interp(at_N, at_M, speed_M.ravel()).astype(np.float32)


def _axes(frame: SensorFrame) -> tuple[str, ...]:
    """Names of a sensor's axes: those that its file gives, else by their places."""
    count = frame.data.shape[1]
    places = ("",) if count == 1 else tuple("xyz"[:count]) if count <= 3 else tuple(map(str, range(count)))
    return tuple(frame.meta.get("axes", places))


def read_motor_current(path: Path) -> tuple[NDArray[np.float32], float]:
    """The phases of a motor's current, ampere (N, P), and their sample rate; of several sensors the first.

    Raises:
        BadInput: if the file cannot be read.
    """
    frames = list(read_current(path))
    first = [frame.data for frame in frames if frame.sensor == frames[0].sensor]
    return np.concatenate(first), float(frames[0].meta["rate_hz"])


def pick(signals: Sequence[Signal], names: Sequence[str]) -> list[Signal]:
    """The channels that are asked for, of a sensor's name all its axes; without a name all there are.

    Raises:
        BadInput: if there is no such channel.
    """
    if not names:
        return list(signals)
    found: list[Signal] = []
    for name in names:
        if not (called := _called(signals, name)):
            known = ", ".join(signal.channel for signal in signals)
            raise BadInput("--channel", expected=f"one of {known}", got=f"'{name}'", fix="name one of them")
        found += called
    return found


def named(signals: Sequence[Signal], name: str) -> Signal | None:
    """The channel of that name, in capitals or not: the channel's own, its axis's, or its sensor's, of which the first.

    None if there is no such channel.
    """
    return next(iter(_called(signals, name)), None)


def _called(signals: Sequence[Signal], name: str) -> list[Signal]:
    """The channels of that name: the one whose own it is, else those of its axis, else those of its sensor."""
    for names in zip(*map(_names, signals), strict=True):
        called = zip(signals, names, strict=True)
        if found := [signal for signal, known in called if known and known.casefold() == name.casefold()]:
            return found
    return []


def _names(signal: Signal) -> tuple[str, str, str, str]:
    """What a channel may be called, the most exact first."""
    sensor = signal.channel.removesuffix(f".{signal.axis}")
    return signal.channel, f"{sensor}.{signal.axis}".rstrip("."), signal.axis, sensor


def alike(signals: Sequence[Signal], asked: Sequence[Signal]) -> list[Signal | None]:
    """Of a healthy recording the channels that are those asked: of their sensor and axis, None for what it lacks.

    To one that is asked alone its only channel is alike, too, unless their axes have other names.

    Raises:
        BadInput: if it lacks them all.
    """
    axes = {one.axis.casefold() for one in (*asked, *signals)}
    if len(asked) == len(signals) == 1 and (len(axes) == 1 or "" in axes):
        return list(signals)
    places = {_place(one): one for one in reversed(signals)}
    found = [places.get(_place(one)) for one in asked]
    if all(one is None for one in found):
        wanted, known = (", ".join(_names(one)[1] for one in them) for them in (asked, signals))
        got, fix = f"{known} in {signals[0].source}", "record the same sensor, or name its channel: --channel"
        raise BadInput("--healthy", expected=f"a channel of {wanted}", got=got, fix=fix)
    return found


def _place(signal: Signal) -> tuple[str, str]:
    return signal.sensor, signal.axis.casefold()
