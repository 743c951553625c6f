"""Recordings cut into windows, so that what differs between them is the machine and not how it was recorded.

Sets mix sample rates, and a classifier that sees the frequencies that one rate has and another lacks tells the rates
apart: on CWRU, whose sound records are sampled four times as fast, that alone gives 100 %. So recordings of several
rates are brought to one that all can give.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from iotlam.contracts import BadInput, SensorFrame
from iotlam.training.progress import progress
from iotlam_faults.data.catalogue import Entry, downloads, entries
from iotlam_faults.data.reading import Waveform, waveforms
from iotlam_faults.data.store import Store
from iotlam_faults.evidence import Evidence, evidence
from iotlam_faults.physics.speed import shaft_speed
from iotlam_faults.protocols import Window
from iotlam_faults.splits import Piece
from iotlam_machine.bearings import FaultOrders
from iotlam_machine.machine import BEARING_FAULTS
from iotlam_waveform.vibration_orders.lines import FEWEST_TURNS

COMMON_SHARE = Fraction(5, 6)
"""Of the lowest rate: above it each recording's own anti-aliasing filter would show."""

FINEST_RATIO = 1000
"""Rates are brought to one another by ratios of whole numbers up to this."""

REACHES = (1, 2, 4, 8, 16, 32)
RUN = 2 * REACHES[-1]
"""Samples of a run by which copies are found; two recordings do not have as many in common by chance."""

EVERY_BITS = 10
"""One run in two to this power, by its checksum: a second of 12 kHz has about a dozen."""

TIMES = 0x9E3779B97F4A7C15
"""An odd number, by whose powers samples are weighted in a checksum."""


@dataclass(frozen=True, slots=True)
class Vibration:
    """One window's samples, and how the shaft turned meanwhile.

    Attributes:
        values_N: m/s2, float32.
        shaft_hz: speed of the shaft.
    """

    values_N: Tensor
    shaft_hz: float

    def frame(self, rate_hz: float) -> SensorFrame:
        """As the sensor of a bearing gives it, at a sample rate."""
        meta = {"sensor": "bearing", "rate_hz": rate_hz, "shaft_hz": self.shaft_hz}
        return SensorFrame(0, self.values_N.numpy()[:, None], meta=meta)


@dataclass(frozen=True, slots=True)
class Recordings:
    """Windows of many recordings, at one rate.

    Attributes:
        windows: what each is, of what; W of them.
        values_WN: m/s2, float32.
        rate_hz: sample rate.
        shaft_W: speed of the shaft in the recording, hertz.
        orders: of each window's bearing.
    """

    windows: tuple[Window, ...]
    values_WN: Tensor
    rate_hz: float
    shaft_W: Tensor
    orders: tuple[FaultOrders, ...]

    def faults_WL(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Which faults each window's bearing has."""
        return np.array([[label in one.entry.faults for label in labels] for one in self.windows])

    @property
    def groups_W(self) -> NDArray[np.str_]:
        """The physical bearing of each window."""
        return np.array([one.piece.group for one in self.windows])

    def evidence(self) -> Evidence:
        """What physics sees in the windows."""
        return evidence(self.values_WN, self.rate_hz, self.shaft_W, self.orders)

    def check_turns(self) -> None:
        """Every window holds as many turns of the shaft as its lines take.

        Raises:
            BadInput: naming the slowest recording, if not.
        """
        slowest = int(self.shaft_W.argmin())
        seconds, shaft_hz = self.values_WN.shape[1] / self.rate_hz, float(self.shaft_W[slowest])
        if seconds * shaft_hz < FEWEST_TURNS:
            got = f"{seconds * shaft_hz:.1f} of {self.windows[slowest].piece.recording}"
            fix = f"make windows of {math.ceil(FEWEST_TURNS / shaft_hz)} s or more, as in --window-s"
            raise BadInput("Windows", expected=f"{FEWEST_TURNS:g} turns of the shaft or more in each", got=got, fix=fix)

    def vibration(self, row: int) -> Vibration:
        """What was measured in one of the windows."""
        return Vibration(self.values_WN[row], float(self.shaft_W[row]))

    @property
    def parts_W(self) -> NDArray[np.str_]:
        """Where in its machine each window's sensor sits."""
        return np.array([one.entry.part for one in self.windows])


def cut(recordings: Iterable[Waveform], window_s: float = 1.0, rate_hz: float | None = None) -> Recordings:
    """Cut recordings into windows that do not overlap; recordings of other faults than a bearing's are left out.

    Speeds are refined by the recording's own lines: what a file states is a display's reading, or nominal.

    Args:
        recordings: of one channel each is used, the first.
        window_s: length of a window.
        rate_hz: sample rate to bring them to; default: one that all of them can give.

    Raises:
        BadInput: if none is as long as a window, one is sampled too slowly, or its speed or bearing is not known.
    """
    if not math.isfinite(window_s):
        raise BadInput("--window-s", expected="a number of seconds", got=f"{window_s}", fix="give one")
    waves = [wave for wave in recordings if set(wave.entry.faults) <= set(BEARING_FAULTS)]
    rates = {wave.entry.rate_hz for wave in waves}
    if rate_hz is None:
        rate_hz = float(COMMON_SHARE * Fraction(min(rates))) if len(rates) > 1 else min(rates, default=1.0)
    elif min(rates, default=rate_hz) < rate_hz:
        got, fix = f"{min(rates):g} Hz", "record faster"
        raise BadInput("Recordings", expected=f"a sample rate of {rate_hz:g} Hz or more", got=got, fix=fix)
    size = round(window_s * rate_hz)
    windows: list[Window] = []
    values, shafts, orders = [], [], []
    for wave in waves:
        shaft_hz, known = _known(wave)
        values_N = _at_rate(wave.values_NC[:, 0], wave.entry.rate_hz, rate_hz)
        starts = range(0, len(values_N) - size + 1, size)
        for piece in _pieces(wave, starts, size, wave.entry.rate_hz / rate_hz):
            windows.append(Window(piece, wave.entry))
            values.append(values_N[piece.start : piece.stop])
            shafts.append(shaft_hz)
            orders.append(known)
    if not windows:
        got = f"{len(waves)} recordings, none of them so long"
        raise BadInput("Recordings", expected=f"some of {window_s:g} s or longer", got=got, fix="shorten the windows")
    return Recordings(tuple(windows), torch.from_numpy(np.stack(values)), rate_hz, torch.tensor(shafts), tuple(orders))


def _known(wave: Waveform) -> tuple[float, FaultOrders]:
    entry = wave.entry
    if entry.shaft_hz is None or entry.geometry is None:
        lacking = "speed" if entry.shaft_hz is None else "bearing model or geometry"
        raise BadInput(
            f"Recording {wave.path.name}", expected=f"its {lacking}", got="none", fix="add it to the catalogue"
        )
    speed = shaft_speed(torch.from_numpy(wave.values_NC[:, 0]), entry.rate_hz, entry.shaft_hz)
    return speed.hz, entry.geometry.orders


def _pieces(wave: Waveform, starts: Iterable[int], size: int, recorded: float) -> Iterator[Piece]:
    """The windows of a recording, with checksums of what was recorded, so many samples for one of theirs."""
    entry, samples_N = wave.entry, np.ascontiguousarray(wave.values_NC[:, 0], np.float32)
    below = PurePosixPath(entry.member).parts  # as deep lies the recording in its set's folder
    name = "/".join(wave.path.parts[-len(below) :]) if below else entry.file
    runs, runs_at = _runs(samples_N)
    for start in starts:
        first, end = round(start * recorded), round((start + size) * recorded)
        content = hashlib.sha256(samples_N[first:end].tobytes()).hexdigest()[:16]
        low, high = np.searchsorted(runs_at, (first, end - RUN + 1))
        own = frozenset(runs[low:high].tolist())
        yield Piece(f"{name} {entry.channel}".rstrip(), entry.group, start, start + size, entry.load, content, own)


def _runs(samples_N: NDArray[np.float32]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Checksums of runs of `RUN` samples, and where they begin; one in `EVERY`, and only of runs that vary."""
    sums_N, times = samples_N.view(np.uint32).astype(np.uint64), TIMES
    moves_N = np.concatenate([[0], np.cumsum(samples_N[1:] != samples_N[:-1])])
    for reach in REACHES:  # each time of runs that are twice as long
        sums_N = sums_N[:-reach] * np.uint64(times) + sums_N[reach:]
        times = times * times % 2**64
    at = np.flatnonzero(sums_N >> np.uint64(64 - EVERY_BITS) == 1)
    at = at[moves_N[at + RUN - 1] - moves_N[at] >= RUN // 2]
    return sums_N[at], at


def _at_rate(values_N: NDArray[np.float32], rate_hz: float, new_hz: float) -> NDArray[np.float32]:
    if rate_hz == new_hz:
        return np.ascontiguousarray(values_N, np.float32)
    ratio = Fraction(new_hz / rate_hz).limit_denominator(FINEST_RATIO)
    resampled: NDArray[np.float32] = resample_poly(values_N - values_N.mean(), ratio.numerator, ratio.denominator)
    return resampled.astype(np.float32)


def of_set(store: Store, name: str) -> list[Waveform]:
    """Recordings of vibration of a published set, as far as they are here and speed and bearing are known.

    Of what was recorded at several rates those of the lowest are taken, for the others repeat it.

    Raises:
        BadInput: if there is no such set, or none of it is here.
    """
    chosen = of_lowest_rate(entries_here(store, name))
    found: list[Waveform] = []
    with progress(f"Reading {name}", total=len(chosen)) as step:
        for entry in chosen:
            found += waveforms(store, entry)
            step(1)
    return found


def entries_here(store: Store, name: str) -> list[Entry]:
    """Recordings of vibration of a published set that are here, and whose speed and bearing are known.

    Raises:
        BadInput: if there is no such set, or none of it is here.
    """
    files = {one.file: one for one in downloads(name)}
    known = [
        entry
        for entry in entries(name)
        if entry.shaft_hz is not None
        and entry.geometry is not None
        and not entry.is_current
        and store.recordings(entry, files[entry.file])
    ]
    if not known:
        expected, fix = f"recordings in {store.folder(name)}", f"run: iotlam faults data get {name}"
        raise BadInput(f"Data set '{name}'", expected=expected, got="none of known speed and bearing", fix=fix)
    return known


def of_lowest_rate(known: Sequence[Entry]) -> list[Entry]:
    """Of each bearing, place of its defect and load the entries of the lowest rate."""
    lowest: dict[tuple[str, str, float | None], float] = {}
    for entry in known:
        alike = entry.group, entry.place, entry.load
        lowest[alike] = min(entry.rate_hz, lowest.get(alike, entry.rate_hz))
    return [entry for entry in known if entry.rate_hz == lowest[entry.group, entry.place, entry.load]]
