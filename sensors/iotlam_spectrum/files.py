"""Reading recordings of I/Q: SigMF, and raw samples whose rate stands beside them or in their name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_spectrum.raw import raw_stretches
from iotlam_spectrum.sigmf import sigmf_stretches
from iotlam_spectrum.stretch import Stretch

WINDOW = 4096


def read(path: Path) -> Iterator[SensorFrame]:
    """Read a recording in windows of 4096 samples, the last one shorter; a few windows of memory whatever its size.

    Times count from the recording's start, or are UTC where it says when it was made.

    Args:
        path: `.sigmf-meta` or `.sigmf-data` (its companion must lie beside it), or raw samples.

    Raises:
        BadInput: if the file is damaged, or does not say its rate; told before the first window.
    """
    if path.suffix == ".coco":
        raise BadInput(
            f"File '{path}'",
            expected="samples",
            got="an archive of Universal Radio Hacker (.coco, tar with bzip2)",
            fix="unpack it with tar -xjf and give what is inside the suffix .complex",
        )
    stretches = sigmf_stretches(path) if path.suffix.startswith(".sigmf") else raw_stretches(path)
    return (frame for stretch in stretches for frame in _windows(stretch))


def _windows(stretch: Stretch) -> Iterator[SensorFrame]:
    meta = {"sensor": stretch.sensor, "rate_hz": stretch.rate_hz, "centre_hz": stretch.centre_hz}
    with stretch.path.open("rb") as file:
        file.seek(stretch.offset)
        for start in range(0, stretch.samples, WINDOW):
            count = min(WINDOW, stretch.samples - start)
            parts = np.frombuffer(file.read(count * 2 * stretch.dtype.itemsize), dtype=stretch.dtype)
            end_ns = stretch.start_ns + round((start + count) * 1e9 / stretch.rate_hz)
            yield SensorFrame(t_ns=end_ns, data=to_complex(parts), meta=meta)


def to_complex(parts_N: NDArray[np.number]) -> NDArray[np.complex64]:
    """Pairs of I and Q as complex64 (N / 2,), integers over full scale (-1 to 1), unsigned ones about their middle."""
    with np.errstate(over="ignore"):  # beyond float32 is missing
        values_N = parts_N.astype(np.float32)
    if parts_N.dtype.kind in "iu":
        half = 2.0 ** (8 * parts_N.dtype.itemsize - 1)
        middle = half - 0.5 if parts_N.dtype.kind == "u" else 0.0
        values_N = (values_N - np.float32(middle)) / np.float32(half)
    return values_N.view(np.complex64)
