"""SigMF recordings (Signal Metadata Format 1.x, sigmf.org): a JSON file of metadata and a file of samples."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from iotlam.contracts import BadInput
from iotlam_spectrum.stretch import Stretch, plausible_rate, whole_samples

_CORE = "core:{}".format
_TYPE = re.compile(r"c(?:(f32|f64|i32|i16|u32|u16)_(le|be)|(i8|u8))")
_BYTES_AT_ONCE = 1 << 20
MAX_META_BYTES, MAX_CAPTURES = 1 << 24, 10_000


class Global(msgspec.Struct, rename=_CORE):
    """What holds for the whole recording; other keys do not concern the reader."""

    datatype: str
    sample_rate: float | None = None
    num_channels: int = 1
    sha512: str | None = None
    dataset: str | None = None
    trailing_bytes: int = 0
    metadata_only: bool = False


class Capture(msgspec.Struct, rename=_CORE):
    """What holds from one sample on."""

    sample_start: int
    frequency: float = 0.0
    datetime: str | None = None
    header_bytes: int = 0


class Meta(msgspec.Struct):
    """A `.sigmf-meta` file."""

    global_: Global = msgspec.field(name="global")
    captures: list[Capture] = []


def sigmf_stretches(path: Path) -> list[Stretch]:
    """The captures of a recording, each with its own frequency and time.

    Args:
        path: the `.sigmf-meta` or the `.sigmf-data` of a recording; other data files (`core:dataset`) through
            their `.sigmf-meta`.

    Raises:
        BadInput: if metadata or samples are missing, damaged, of several channels or of real numbers, or do not fit
            together or the checksum.
    """
    if path.suffix not in (".sigmf-meta", ".sigmf-data"):
        raise _bad(path, "a .sigmf-meta file", f"'{path.suffix}'", "unpack the archive with tar -xf")
    meta_path = path.with_suffix(".sigmf-meta")
    meta = _read_meta(meta_path)
    dtype = _sample_type(meta_path, meta.global_)
    data_path = _data_path(meta_path, meta.global_)
    _check_sum(data_path, meta.global_.sha512)
    return _captures(meta_path, data_path, meta, dtype)


def _read_meta(path: Path) -> Meta:
    if not path.is_file():
        raise _bad(path, "a file of metadata", "no such file", "put it beside the samples")
    if path.stat().st_size > MAX_META_BYTES:
        raise _bad(path, f"at most {MAX_META_BYTES} bytes", f"{path.stat().st_size}", "leave out annotations")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(path, "SigMF metadata", str(error), "restore the file") from error


def _sample_type(path: Path, told: Global) -> np.dtype[np.number]:
    if told.num_channels != 1 or told.metadata_only:
        got = "metadata only" if told.metadata_only else f"{told.num_channels} channels"
        raise _bad(path, "samples of one channel", got, "give one recording per receiver")
    match = _TYPE.fullmatch(told.datatype)
    if match is None:
        expected = "a core:datatype such as cf32_le, ci16_le, ci8 or cu8"
        raise _bad(path, expected, repr(told.datatype[:20]), "convert the samples to complex ones")
    kind, size = (match[1] or match[3])[0], int((match[1] or match[3])[1:]) // 8
    return np.dtype(f"{'>' if match[2] == 'be' else '<'}{kind}{size}")


def _data_path(path: Path, told: Global) -> Path:
    if told.dataset is None:
        data_path = path.with_suffix(".sigmf-data")
    elif told.dataset != Path(told.dataset).name:
        # A file must not make the reader open another one elsewhere.
        raise _bad(path, "a core:dataset in the same folder", repr(told.dataset[:40]), "put the samples beside it")
    else:
        data_path = path.with_name(told.dataset)
    try:
        if data_path.is_file():
            return data_path
    except OSError:
        pass  # a name that no file can have
    raise _bad(path, f"its samples in '{data_path.name[:40]}'", "no such file", "put them beside the metadata")


def _check_sum(path: Path, sha512: str | None) -> None:
    if sha512 is None:
        return
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while block := file.read(_BYTES_AT_ONCE):
            digest.update(block)
    if digest.hexdigest() != sha512.lower():
        raise _bad(path, f"SHA-512 {sha512[:12]}...", f"{digest.hexdigest()[:12]}...", "copy the recording again")


def _captures(path: Path, data_path: Path, meta: Meta, dtype: np.dtype[np.number]) -> list[Stretch]:
    told, captures = meta.global_, meta.captures or [Capture(0)]
    if told.sample_rate is None:
        raise _bad(path, "core:sample_rate", "none", "add it to 'global'")
    rate_hz = plausible_rate(path, told.sample_rate)
    if len(captures) > MAX_CAPTURES:
        raise _bad(path, f"at most {MAX_CAPTURES} captures", str(len(captures)), "split the recording")
    if min(told.trailing_bytes, *(capture.header_bytes for capture in captures)) < 0:
        raise _bad(path, "counts of bytes from 0 up", "a negative one", "correct the metadata")
    around = told.trailing_bytes + sum(capture.header_bytes for capture in captures)
    samples = whole_samples(data_path, max(data_path.stat().st_size - around, 0), dtype)
    starts = [capture.sample_start for capture in captures]
    if not all(0 <= one < two for one, two in zip(starts, [*starts[1:], samples], strict=True)):
        got = f"samples {', '.join(map(str, starts[:5]))} of {samples}"
        raise _bad(path, "captures that start one after another within the data", got, "restore the recording")
    stretches, offset = [], 0
    for capture, stop in zip(captures, [*starts[1:], samples], strict=True):
        offset += capture.header_bytes
        start = offset + capture.sample_start * 2 * dtype.itemsize
        length, start_ns = stop - capture.sample_start, _start_ns(path, capture, rate_hz)
        stretches.append(Stretch(data_path, start, length, dtype, rate_hz, capture.frequency, start_ns, path.stem))
    return stretches


def _start_ns(path: Path, capture: Capture, rate_hz: float) -> int:
    """Time of a capture's first sample; counted from the recording's start where no date is given."""
    if capture.datetime is None:
        return round(capture.sample_start * 1e9 / rate_hz)
    try:
        moment = datetime.fromisoformat(capture.datetime)
    except ValueError as error:
        raise _bad(path, "a core:datetime as in RFC 3339", repr(capture.datetime[:40]), "correct it") from error
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _bad(path: Path, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"SigMF recording '{path}'", expected=expected, got=got, fix=fix)
