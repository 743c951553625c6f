"""What recordings are held against: sound ones of their place, of about their speed, never themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam_faults.evaluate import Bench
from iotlam_faults.evidence import LINES
from iotlam_faults.methods import embed, rises
from iotlam_faults.model import load_model
from iotlam_faults.pasts import healthy_windows, references
from iotlam_faults.protocols import PROTOCOLS
from iotlam_faults.recordings import Recordings, cut

from .test_evaluate import wave


def owners(recordings: Recordings) -> list[str]:
    """Of each window the recording that it is held against, empty where there is none."""
    first = references(recordings)
    name_of = {recordings.values_WN[row].data_ptr(): one.piece for row, one in enumerate(recordings.windows)}
    found = [name_of[one.values_N.data_ptr()] if one else None for one in healthy_windows(recordings, first)]
    assert all(piece is None or piece in first["DE"] for piece in found)
    return [piece.recording if piece else "" for piece in found]


def test_recordings_are_held_against_one_other_of_their_place() -> None:
    recordings = cut([wave("a", "", 0.0, 1), wave("b", "", 0.0, 2), wave("o", "outer", 0.6, 3)])
    assert owners(recordings) == [""] * 4 + ["a-1.wav"] * 8
    other = [replace(one, entry=one.entry.changed(part="FE")) for one in recordings.windows[8:]]
    assert owners(replace(recordings, windows=(*recordings.windows[:8], *other)))[8:] == [""] * 4


def test_a_single_sound_recording_is_held_against_none() -> None:
    assert owners(cut([wave("a", "", 0.0, 1), wave("o", "outer", 0.6, 3)])) == [""] * 4 + ["a-1.wav"] * 4


def test_the_shaft_must_have_turned_alike_and_the_nearest_is_taken() -> None:
    recordings = cut([wave("a", "", 0.0, 1), wave("b", "", 0.0, 2), wave("o", "outer", 0.6, 3)])
    for slow, fast, found in ((0.92, 1.03, "b-2.wav"), (0.98, 1.09, "a-1.wav"), (0.95, 1.2, "a-1.wav"), (0.8, 1.2, "")):
        shaft_W = torch.tensor([slow] * 4 + [fast] * 4 + [1.0] * 4) * recordings.shaft_W[8]
        assert owners(replace(recordings, shaft_W=shaft_W))[8:] == [found] * 4


@pytest.mark.parametrize("protocol", ["unseen-bearing", "random-windows"])
def test_what_others_are_held_against_is_neither_learnt_nor_tested(protocol: str) -> None:
    waves = [
        wave(f"{fault or 'sound'}{n}", fault, 0.6, 10 * n + len(fault))
        for fault in ("", "outer", "inner")
        for n in (1, 2)
    ]
    recordings = cut(waves)
    bench = Bench.of(recordings, None)
    first = {piece for pieces in references(recordings).values() for piece in pieces}
    assert len(first) == 1 == len(bench.set_aside)
    for split in PROTOCOLS[protocol](recordings.windows):
        rows = np.concatenate([bench.rows(split.train), bench.rows(split.test)])
        assert first.isdisjoint(recordings.windows[row].piece for row in rows) and len(rows) == 23


def test_the_encoder_reads_the_past_beside_the_window_and_latents_are_of_the_window_alone() -> None:
    recordings = cut([wave("a", "", 0.0, 1), wave("o", "outer", 0.6, 3)])
    sound = recordings.vibration(0)
    mixed, alone, beside = (
        embed(load_model(None), recordings, past) for past in ([None] * 4 + [sound] * 4, [None] * 8, [sound] * 8)
    )
    np.testing.assert_array_equal(mixed.latents_WC, alone.latents_WC)
    np.testing.assert_array_equal(mixed.alone_WL, alone.beside_WL)
    np.testing.assert_allclose(mixed.beside_WL[:4], alone.beside_WL[:4], atol=1e-4)
    np.testing.assert_allclose(mixed.beside_WL[4:], beside.beside_WL[4:], atol=1e-4)
    assert np.abs(mixed.beside_WL[4:] - alone.beside_WL[4:]).max() > 0.1


def test_lines_that_a_sound_machine_had_have_not_risen() -> None:
    recordings = cut([wave("a", "", 0.0, 1), wave("b", "", 0.0, 2), wave("o", "outer", 0.8, 3)])
    found = recordings.evidence()
    sound = recordings.vibration(0)
    rises_WC = rises(recordings, found, [sound, *[None] * 3, *[sound] * 8])
    outer = [index for index, name in enumerate(LINES) if name.startswith("outer")]
    assert np.abs(rises_WC[0]).max() < 1e-5 and not rises_WC[1:4].any()
    assert rises_WC[8:, outer].mean() > 1.0 > 0.5 > abs(rises_WC[4:8, outer].mean())


def test_short_sound_recordings_are_not_all_set_aside() -> None:
    recordings = cut([wave(f"s{n}", "", 0.0, n) for n in range(5)], window_s=4.0)
    assert len(recordings.windows) == 5 and len(Bench.of(recordings, None).set_aside) == 1
