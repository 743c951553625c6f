"""Pictures and films on disk as frames.

A header that claims more than `allowed_cost` grants is refused before anything is decoded, whatever the file says of
itself; damage that the decoders notice becomes a sentence.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iotlam.blocks.recording import allowed_cost, check_cost
from iotlam.contracts import BadInput, MissingExtra, SensorFrame
from iotlam_video.calibration import View, view_of

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

DEMUXERS = {".mp4": "mov", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
"""One demuxer per suffix: probing would let a playlist in a film's clothes open other files."""
FILM_BYTES_PER_PIXEL = 20
"""What decoders keep to predict from; measured 7 (MPEG-4) to 19 (H.265), 38 for H.264 with 16 reference pictures."""
RGB_BYTES_PER_PIXEL, OTHER_BYTES_PER_PIXEL = 5, 8
"""Four bytes in Pillow's memory, one more while it is reduced, or four for its copy in RGB."""
PROGRESSIVE_BYTES_PER_PIXEL = 6
"""A progressive JPEG's coefficients, two bytes for each of three channels, are all held until its end."""
MAX_STILL_PIXELS = 64_000_000


def read(path: Path) -> Iterator[SensorFrame]:
    """The frames of a film (.mp4, .mov, .mkv, .avi) or of a picture (.jpg, .jpeg, .png), one at a time.

    Calibration comes from the file beside it (`iotlam.blocks.recording.calibration_beside`, `CameraCalibration`);
    `meta["calibration"]` says what of it was assumed. Pictures are reduced to what the tokens can use. Times are those
    of the container; damaged pictures, and those whose time is not later than the one before, are left out.

    Yields:
        Frames with data uint8 (H, W, 3), RGB.

    Raises:
        BadInput: if the file cannot be decoded, at the place where it cannot be, or if its pictures are too small or
            take more memory than 4 x the file + 16 MB.
        MissingExtra: if the decoder's package is not installed.
    """
    demuxer = DEMUXERS.get(path.suffix.lower())
    return _film(path, demuxer) if demuxer else _still(path)


def _still(path: Path) -> Iterator[SensorFrame]:
    image_module = _need("PIL.Image")
    try:
        with image_module.open(path, formats=["JPEG", "PNG"]) as image:
            height, width = image.size[::-1]
            view = view_of(path, height, width)
            _check_still(path, image, view)
            smooth = image_module.Resampling.HAMMING
            colour = image if image.mode == "RGB" else image.convert("RGB")
            picture = colour.resize((view.width, view.height), smooth, reducing_gap=2.0)
            data = np.array(picture, dtype=np.uint8)
    except BadInput:
        raise
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes lead them to
        raise _undecodable(path, "a JPEG or PNG picture", error) from error
    yield SensorFrame(view.start_ns, data, meta=view.meta)


def _check_still(path: Path, image: Image, view: View) -> None:
    """Refuse a picture that is too large or not 8-bit; lets a JPEG's decoder reduce it as far as it can."""
    height, width = view.source
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        raise BadInput(f"File {path}", expected="8 bits per channel", got=f"mode {image.mode}", fix="convert it")
    if width * height > MAX_STILL_PIXELS:
        got = f"{height} x {width}"
        raise BadInput(f"File {path}", expected="at most 64 million pixels", got=got, fix="reduce the picture")
    image.draft("RGB", (2 * view.width, 2 * view.height))
    kept = PROGRESSIVE_BYTES_PER_PIXEL * width * height if image.info.get("progressive") else 0
    each = RGB_BYTES_PER_PIXEL if image.mode == "RGB" else OTHER_BYTES_PER_PIXEL
    decoded = each * image.size[0] * image.size[1]
    check_cost(path, decoded + kept, f"a picture of {height} x {width}")


def _film(path: Path, demuxer: str) -> Iterator[SensorFrame]:
    av = _need("av")
    bounds = {"max_pixels": str(allowed_cost(path) // FILM_BYTES_PER_PIXEL)}
    count = 0
    try:
        with av.open(f"file:{path}", format=demuxer, options=bounds) as container:
            for frame in _pictures(path, container, bounds):
                yield frame
                count += 1
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise _undecodable(path, f"a film whose pictures can be decoded (read so far: {count})", error) from error
    if not count:
        raise _undecodable(path, "a film", "no picture that can be decoded")


def _pictures(path: Path, container: Any, bounds: dict[str, str]) -> Iterator[SensorFrame]:
    if not container.streams.video:
        raise _undecodable(path, "a film", "no video stream")
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None:
        raise _undecodable(path, "a film in a codec that libav decodes", "an unknown codec")
    check_cost(path, FILM_BYTES_PER_PIXEL * codec.width * codec.height, f"a film of {codec.height} x {codec.width}")
    codec.thread_count, codec.options = 1, bounds
    view, last_ns = view_of(path, codec.height, codec.width), -(2**63)
    reformatter = importlib.import_module("av.video.reformatter").VideoReformatter()
    for frame in container.decode(stream):
        t_ns = _time_ns(frame, view.start_ns)
        if frame.is_corrupt or t_ns is None or not last_ns < t_ns < 2**63:
            continue
        if (frame.height, frame.width) != view.source:
            got = f"{frame.height} x {frame.width} after {view.source[0]} x {view.source[1]}"
            raise BadInput(f"File {path}", expected="pictures of one size", got=got, fix="encode it anew")
        small = reformatter.reformat(frame, view.width, view.height, "rgb24", interpolation="AREA", threads=1)
        last_ns = t_ns
        yield SensorFrame(t_ns, small.to_ndarray(), meta=view.meta)


def _time_ns(frame: VideoFrame, start_ns: int) -> int | None:
    """Time of a picture, exact; None where the container gives none."""
    if frame.pts is None or not frame.time_base:
        return None
    return start_ns + round(Fraction(frame.time_base) * frame.pts * 10**9)


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra({"PIL.Image": "pillow"}.get(module, module), "sensors") from error


def _undecodable(path: Path, expected: str, reason: object) -> BadInput:
    got = " ".join(str(reason).replace(str(path), "it").split())
    return BadInput(f"File {path}", expected=expected, got=got or type(reason).__name__, fix="record or copy it anew")
