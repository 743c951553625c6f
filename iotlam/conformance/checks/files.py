"""Reading recordings, where the manifest names a reader."""

from __future__ import annotations

import importlib
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from iotlam.conformance.catalog import MADE, Failed, NotApplicable, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.watch import open_files
from iotlam.contracts import BadInput, IotlamError, check_window
from iotlam.plugins.registry import guarded

AREA = "files"
READS = (*MADE, "reader-imports")
EXAMPLE = (*READS, "example-is-read")
FREE_BYTES = 16_000_000


@check(AREA, "platinum", needs=MADE)
def reader_imports(subject: Subject) -> None:
    """The reader that the manifest names is there."""
    _suffixes(subject)
    module, _, function = subject.manifest.reader.partition(":")
    found = guarded(subject.name, "import of its reader", lambda: importlib.import_module(module))
    if not callable(getattr(found, function, None)):
        raise Failed("reader", expected=f"a function '{function}' in {module}", got="none", fix="correct the name")


@check(AREA, "platinum", needs=READS)
def example_is_read(subject: Subject) -> None:
    """An example file in the package gives frames that fit the manifest."""
    frames = list(subject.modality.read(_example(subject)))
    if not frames:
        raise Failed("reader", expected="frames from the example", got="none", fix="yield the frames of the file")
    for frame in frames:
        check_window(subject.manifest, [frame])


@check(AREA, "platinum", needs=EXAMPLE)
def frames_in_order(subject: Subject) -> None:
    """Frames of a sensor come in order of time."""
    newest: dict[str, int] = {}
    for frame in subject.modality.read(_example(subject)):
        if newest.setdefault(frame.sensor, frame.t_ns - 1) >= frame.t_ns:
            raise Failed(
                "reader",
                expected="frames in order of time",
                got=f"a step back at {frame.t_ns} ns",
                fix="sort the recording, or say what its times mean",
            )
        newest[frame.sensor] = frame.t_ns


@check(AREA, "platinum", needs=EXAMPLE)
def reader_is_repeatable(subject: Subject) -> None:
    """A file read again gives the same frames."""
    one, other = (list(subject.modality.read(_example(subject))) for _ in range(2))
    same = len(one) == len(other) and all(
        a.t_ns == b.t_ns and np.array_equal(a.data, b.data, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
    if not same:
        raise Failed("reader", expected="the same frames from the same file", got="others", fix="keep no state in it")


@check(AREA, "gold", needs=READS)
def missing_file_refused(subject: Subject) -> None:
    """A file that is not there is refused in a sentence."""
    with _folder(subject) as folder:
        _refuses(subject, folder / f"none{subject.manifest.files[0]}", "a file that is not there")


@check(AREA, "gold", needs=READS)
def wrong_suffix_refused(subject: Subject) -> None:
    """A file with another suffix is refused in a sentence."""
    with _folder(subject) as folder:
        path = folder / "recording.unknown"
        path.write_bytes(b"\0" * 64)
        _refuses(subject, path, "a file of another kind")


@check(AREA, "gold", needs=READS)
def empty_file_refused(subject: Subject) -> None:
    """A file of no bytes is refused in a sentence."""
    with _folder(subject) as folder:
        for suffix in _suffixes(subject):
            path = folder / f"empty{suffix}"
            path.write_bytes(b"")
            _refuses(subject, path, "an empty file")


@check(AREA, "gold", needs=READS)
def noise_file_survived(subject: Subject) -> None:
    """A file of random bytes gives frames or a BadInput."""
    rng = np.random.default_rng(0)
    with _folder(subject) as folder:
        for suffix in _suffixes(subject):
            path = folder / f"noise{suffix}"
            path.write_bytes(rng.bytes(4096))
            _reads_or_refuses(subject, path, "a file of random bytes")


@check(AREA, "platinum", needs=(*EXAMPLE, "empty-file-refused"))
def truncated_file_survived(subject: Subject) -> None:
    """The example cut short anywhere gives frames or a BadInput."""
    whole = _example(subject).read_bytes()
    with _folder(subject) as folder:
        path = folder / _example(subject).name
        for share in (0.0, 0.01, 0.1, 0.33, 0.5, 0.77, 0.99):
            path.write_bytes(whole[: int(share * len(whole))])
            _reads_or_refuses(subject, path, f"the first {share:.0%} of a file")


@check(AREA, "platinum", needs=(*EXAMPLE, "noise-file-survived"))
def damaged_file_survived(subject: Subject) -> None:
    """The example with bits flipped gives frames or a BadInput."""
    rng = np.random.default_rng(0)
    whole = np.frombuffer(_example(subject).read_bytes(), dtype=np.uint8)
    with _folder(subject) as folder:
        path = folder / _example(subject).name
        for _ in range(20):
            damaged = whole.copy()
            places = rng.integers(0, len(whole), 3)
            damaged[places] ^= rng.integers(1, 256, 3, dtype=np.uint8)
            path.write_bytes(damaged.tobytes())
            _reads_or_refuses(subject, path, f"a file with damage at {sorted(places.tolist())}")


@check(AREA, "platinum", needs=EXAMPLE)
def reader_closes_files(subject: Subject) -> None:
    """Reading leaves no file open."""
    with open_files() as counts:
        for _ in range(3):
            for _frame in subject.modality.read(_example(subject)):
                pass
    if counts and counts[0] > 0:
        raise Failed("reader", expected="files closed when read", got=f"{counts[0]} left open", fix="open it in a with")


@check(AREA, "platinum", needs=EXAMPLE)
def reader_memory_bounded(subject: Subject) -> None:
    """Reading allocates at most four times the file, beyond 16 MB."""
    path = _example(subject)
    tracemalloc.start()
    try:
        for _frame in subject.modality.read(path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = 4 * path.stat().st_size + FREE_BYTES
    if peak > bound:
        raise Failed(
            "reader", expected=f"at most {bound / 1e6:.0f} MB", got=f"{peak / 1e6:.0f} MB", fix="read piece by piece"
        )


def _example(subject: Subject) -> Path:
    """A file of the package that the reader is meant for."""
    _suffixes(subject)
    found = [path for path in sorted(subject.target.folder.rglob("*")) if path.name.endswith(subject.manifest.files)]
    if not found:
        raise NotApplicable(f"the package holds no example file that ends in {', '.join(subject.manifest.files)}")
    return found[0]


@contextmanager
def _folder(subject: Subject) -> Iterator[Path]:
    _suffixes(subject)
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _suffixes(subject: Subject) -> tuple[str, ...]:
    """Suffixes of the files that it reads."""
    if not subject.manifest.files:
        raise NotApplicable("the manifest names no reader")
    return subject.manifest.files


def _refuses(subject: Subject, path: Path, what: str) -> None:
    if _reads_or_refuses(subject, path, what):
        raise Failed("reader", expected=f"a BadInput for {what}", got="frames, or none", fix="raise BadInput")


def _reads_or_refuses(subject: Subject, path: Path, what: str) -> bool:
    """Whether it was read to the end without an error."""
    try:
        for _frame in subject.modality.read(path):
            pass
    except BadInput:
        return False
    except IotlamError as error:
        raise Failed("reader", expected=f"frames or a BadInput for {what}", got=getattr(error, "reason", str(error)),
                     fix="check the file while reading and raise BadInput") from error  # fmt: skip
    return True
