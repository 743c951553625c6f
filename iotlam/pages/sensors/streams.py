"""Windows of every installed modality, from real recordings where there are any, and their tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from statistics import median

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, IotlamError, ModalityManifest, PluginError, SensorFrame, TokenBatch, TokenSpec
from iotlam.plugins import LoadedModality, list_modalities, load

DATA_SETS = {"current": ("itsc_current",), "spectrum": ("rf",), "vibration": ("adi_cbm", "cwru")}
"""Public data sets as folders of the data folder, by the first word of a modality's name."""
MAX_FILE_BYTES, MAX_TRIES = 64_000_000, 40
MAX_FRAMES, MAX_HELD_BYTES = 1200, 128_000_000
SEEDS_APART = 100


@dataclass(frozen=True, slots=True)
class Window:
    """What one modality delivered in one situation.

    Attributes:
        frames: the readings.
        origin: the recording, a path below the data folder, or `sample`.
        part: which part of the recording, or which seed; '' for all of it.
    """

    frames: Sequence[SensorFrame]
    origin: str
    part: str

    @property
    def source(self) -> str:
        """Where the readings come from."""
        return ", ".join(filter(None, (self.origin, self.part)))

    @property
    def short_source(self) -> str:
        """The same without folders."""
        return ", ".join(filter(None, (PurePath(self.origin).name, self.part)))


@dataclass(frozen=True, slots=True)
class Stream:
    """One modality in all situations.

    Attributes:
        manifest: its manifest.
        spec: what its tokens are like.
        windows: one for each situation.
        tokens: those of each window, B = 1.
        tokenize_ms: median processor time of tokenizing one of them, milliseconds.
        recorded: whether the windows come from recordings, not samples.
        note: why no recording was used although there are some, '' otherwise.
    """

    manifest: ModalityManifest
    spec: TokenSpec
    windows: tuple[Window, ...]
    tokens: tuple[TokenBatch, ...]
    tokenize_ms: float
    recorded: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """Name of the modality."""
        return self.manifest.name


@dataclass(frozen=True, slots=True)
class Failure:
    """A modality that cannot be shown, and why, in one sentence."""

    name: str
    reason: str


def gather(
    count: int, seed: int, data: Path | None, on_done: Callable[[], object]
) -> tuple[list[Stream], list[Failure]]:
    """Windows and tokens of every installed modality; one that fails is named, the others go on.

    Args:
        count: number of situations.
        seed: of the samples.
        data: folder with recordings, None for samples only.
        on_done: called after each modality.
    """
    streams, failures = [], []
    for info in list_modalities():
        try:
            if info.problem is not None:
                raise PluginError(info.name, "read its manifest", info.problem)
            streams.append(_stream(load(info.name), count, seed, data))
        except IotlamError as error:
            failures.append(Failure(info.name, str(error)))
        on_done()
    return streams, failures


def _stream(modality: LoadedModality, count: int, seed: int, data: Path | None) -> Stream:
    samples = [
        Window(modality.sample(number), "sample", f"seed {number}")
        for number in range(SEEDS_APART * seed, SEEDS_APART * seed + count)
    ]
    files = recordings(modality.manifest, data)
    note = ""
    if files:
        try:
            windows = _recorded(modality, files, samples, data or Path())
            return replace(_tokenized(modality, windows), recorded=True)
        except IotlamError as error:
            note = str(error)
    return replace(_tokenized(modality, samples), note=note)


def _tokenized(modality: LoadedModality, windows: Sequence[Window]) -> Stream:
    """Tokens of the windows, timed after one that does not count."""
    modality.tokenize(windows[0].frames)
    tokens, times_ms = [], []
    for window in windows:
        start = time.process_time()  # of a busy machine the wall clock tells little
        tokens.append(modality.tokenize(window.frames))
        times_ms.append(1e3 * (time.process_time() - start))
    if not all(bool(batch.mask_BT.any()) for batch in tokens):
        raise PluginError(modality.manifest.name, "tokenize", "a window without a valid token")
    return Stream(modality.manifest, modality.spec, tuple(windows), tuple(tokens), median(times_ms))


def recordings(manifest: ModalityManifest, data: Path | None) -> list[Path]:
    """Files that a modality can read, from folders of its own: some suffixes mean different things to others.

    Its own are those called like it, or like the first word of its name, and the public data sets of that word.
    """
    if data is None:
        return []
    word = manifest.name.partition("_")[0]
    folders = [data / name for name in dict.fromkeys((manifest.name, word, *DATA_SETS.get(word, ())))]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    ends = tuple(manifest.files)
    return [path for path in files if path.name.lower().endswith(ends) and path.stat().st_size <= MAX_FILE_BYTES]


def _recorded(modality: LoadedModality, files: list[Path], samples: Sequence[Window], data: Path) -> list[Window]:
    """One window for each sample, as long as that; from as many different files as there are.

    Raises:
        BadInput: if no file can be read.
    """
    evenly = np.linspace(0, len(files) - 1, min(len(samples), len(files))).round().astype(int)
    spares = [path for index, path in enumerate(files) if index not in evenly]
    read: list[tuple[Path, list[SensorFrame]]] = []
    problem: IotlamError | None = None
    for path in [*(files[index] for index in evenly), *spares[:MAX_TRIES]]:
        try:
            if len(read) < len(samples) and (frames := _beginning(modality, path)):
                read.append((path, frames))
        except IotlamError as error:
            problem = problem or error
    if not read:
        raise problem or BadInput("Recordings", expected="readings", got="empty files", fix="remove them")
    parts = math.ceil(len(samples) / len(read))
    windows = []
    for index, sample in enumerate(samples):
        path, frames = read[index % len(read)]
        part = cut(modality.manifest, frames, sample.frames, (index // len(read) + 0.5) / parts)
        windows.append(Window(part, str(path.relative_to(data)), _which(modality.manifest, frames, part[0])))
    return windows


def _beginning(modality: LoadedModality, path: Path) -> list[SensorFrame]:
    """The first frames of a recording, as many as memory bears."""
    frames, held = [], 0
    for frame in modality.read(path):
        frames.append(frame)
        held += frame.data.nbytes
        if len(frames) == MAX_FRAMES or held > MAX_HELD_BYTES:
            break
    return frames


def cut(
    manifest: ModalityManifest, frames: Sequence[SensorFrame], like: Sequence[SensorFrame], start: float
) -> list[SensorFrame]:
    """A window of a recording: as many sensors as another window, readings as far apart and waveforms no longer.

    Args:
        manifest: of the modality.
        frames: the recording.
        like: the other window.
        start: where to begin, as a share of the sensors and of the time that is left, 0 to 1.
    """
    frames = _few_sensors(frames, len({frame.sensor for frame in like}), start)
    wanted_ns, have_ns = (np.array([frame.t_ns for frame in some]) for some in (like, frames))
    spare_ns = max(int(np.ptp(have_ns) - np.ptp(wanted_ns)), 0)
    at_ns = have_ns[0] + int(start * spare_ns) + wanted_ns - wanted_ns[0]
    chosen = [frames[index] for index in np.unique(np.searchsorted(have_ns, at_ns).clip(max=len(frames) - 1))]
    if not is_waveform(manifest):
        return chosen
    length = max(len(frame.data) for frame in like)
    return [_part(manifest, frame, int(start * max(len(frame.data) - length, 0)), length) for frame in chosen]


def _few_sensors(frames: Sequence[SensorFrame], count: int, start: float) -> list[SensorFrame]:
    """The frames of some of a recording's sensors: data sets keep many machines in one file."""
    sensors = list(dict.fromkeys(frame.sensor for frame in frames))
    first = min(int(start * len(sensors)), max(len(sensors) - count, 0))
    return [frame for frame in frames if frame.sensor in sensors[first : first + count]]


def is_waveform(manifest: ModalityManifest) -> bool:
    """Whether a reading is any number of samples in time."""
    return manifest.dims[0] == "sample" and manifest.shape[0] == 0


def sample_times_s(manifest: ModalityManifest, frame: SensorFrame, now_ns: int = 0) -> NDArray[np.float64]:
    """Times of a waveform's samples after `now_ns`, seconds; without a known rate all are its own."""
    last = len(frame.data) - 1
    marked = {"start": 0.0, "middle": last / 2.0, "end": last}[manifest.stamp]
    rate_hz = float(frame.meta.get("rate_hz", math.inf))
    return np.asarray((frame.t_ns - now_ns) / 1e9 + (np.arange(last + 1) - marked) / rate_hz)


def _part(manifest: ModalityManifest, frame: SensorFrame, first: int, length: int) -> SensorFrame:
    """Some samples of a waveform, with the time that its stamp now marks."""
    after = max(len(frame.data) - first - length, 0)
    moved = {"start": first, "middle": (first - after) / 2.0, "end": -after}[manifest.stamp]
    rate_hz = float(frame.meta.get("rate_hz", math.inf))
    mask = None if frame.mask is None else frame.mask[first : first + length]
    data = frame.data[first : first + length]
    return replace(frame, t_ns=frame.t_ns + round(1e9 * moved / rate_hz), data=data, mask=mask)


def _which(manifest: ModalityManifest, recording: Sequence[SensorFrame], part: SensorFrame) -> str:
    """Of which sensor a part of a recording is, if it has several, and how long after the beginning, in words."""
    several = len({frame.sensor for frame in recording}) > 1
    first = next(frame for frame in recording if frame.sensor == part.sensor)
    start_s, begins_s = (
        sample_times_s(manifest, frame, first.t_ns)[0] if is_waveform(manifest) else (frame.t_ns - first.t_ns) / 1e9
        for frame in (first, part)
    )
    seconds = begins_s - start_s
    words = [part.sensor if several else "", f"{seconds:.3g} s on" if seconds > 1e-3 else ""]
    return ", ".join(filter(None, words))
