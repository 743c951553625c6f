"""Copies of recordings under other names: found wherever they begin, end and are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iotlam_faults.data.catalogue import Entry
from iotlam_faults.data.reading import Waveform
from iotlam_faults.recordings import RUN, cut
from iotlam_faults.splits import Leak, Split

RATE_HZ = 12_000.0
SAMPLES_NC = np.random.default_rng(0).normal(size=(60_000, 1)).astype(np.float32)


def wave(bearing: str, values_NC: NDArray[np.float32], rate_hz: float = RATE_HZ) -> Waveform:
    entry = Entry(
        set="own", file=f"{bearing}.npz", bearing=bearing, rate_hz=rate_hz, faults=("outer",), rpm=1470.0, model="6205"
    )
    return Waveform(values_NC, entry, Path(entry.file))


def split(*waves: Waveform) -> Split:
    pieces = [one.piece for one in cut(waves).windows]
    tested = tuple(piece for piece in pieces if piece.group == "own/tested")
    return Split("of two", tuple(piece for piece in pieces if piece not in set(tested)), tested)


@pytest.mark.parametrize(
    "part", [slice(None), slice(-1), slice(1, None), slice(777, None), slice(30_000, None), slice(9_000, 25_000)]
)
@pytest.mark.parametrize("lowest_hz", [None, 10_000.0])
def test_a_copy_under_another_name_is_refused(part: slice, lowest_hz: float | None) -> None:
    others = [wave("slow", 2.0 * SAMPLES_NC[:20_000], lowest_hz)] if lowest_hz else []  # then all are resampled
    with pytest.raises(Leak, match=r"the same samples on both, as learnt\.npz and tested\.npz") as caught:
        split(wave("learnt", SAMPLES_NC), wave("tested", SAMPLES_NC[part]), *others)
    assert caught.value.kind == "copy"


@pytest.mark.parametrize("coarse", [True, False])
def test_recordings_that_are_alike_but_no_copies_are_split(coarse: bool) -> None:
    """Of so coarse a step that most samples are zero, and with a stretch in which the sensor said nothing."""
    noise_WNC = np.random.default_rng(1).normal(0.0, 0.4, (2, 60_000, 1)).astype(np.float32)
    learnt_NC, tested_NC = noise_WNC.round() if coarse else noise_WNC
    learnt_NC[20_000:30_000] = tested_NC[25_000:35_000] = 0.0
    assert len(split(wave("learnt", learnt_NC), wave("tested", tested_NC)).train) == 5


def test_every_window_has_runs_by_which_copies_are_found() -> None:
    windows = cut([wave("learnt", SAMPLES_NC)]).windows
    assert all(0 < len(one.piece.runs) < RATE_HZ / RUN for one in windows)
    assert len({one.piece.content for one in windows}) == len(windows)
