"""What recordings are held against: sound ones of the same place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from iotlam_faults.baseline import Baseline, near_speed
from iotlam_faults.head import Doubles
from iotlam_faults.protocols import Window
from iotlam_faults.recordings import Recordings, Vibration
from iotlam_faults.splits import Fitted, Piece


def first_windows(windows: Sequence[Window]) -> dict[str, list[Piece]]:
    """Of each place the first window of every sound recording: what others are held against, and never tested."""
    found: dict[str, dict[str, Piece]] = {}
    for one in windows:
        if not one.entry.faults:
            found.setdefault(one.entry.part, {}).setdefault(one.piece.recording, one.piece)
    return {part: list(pieces.values()) for part, pieces in found.items()}


def fit_baselines(windows: Sequence[Window], profile_WC: Doubles) -> dict[str, Fitted[Baseline]]:
    """The healthy baseline of each recording: all sound windows at its place in other recordings.

    Where there is one sound recording alone, its first window is the baseline of the place.
    """
    row_of = {one.piece: row for row, one in enumerate(windows)}
    found = {}
    for part in {one.entry.part for one in windows}:
        here = [one for one in windows if one.entry.part == part]
        sound = [one.piece for one in here if not one.entry.faults]
        several = len({piece.recording for piece in sound}) > 1
        for recording in {one.piece.recording for one in here}:
            past = [piece for piece in sound if piece.recording != recording] if several else sound[:1]
            if past:
                found[recording] = Fitted.on(
                    past, lambda pieces: Baseline.fit(profile_WC[[row_of[piece] for piece in pieces]])
                )
    return found


def healthy_windows(recordings: Recordings, first: Mapping[str, Sequence[Piece]]) -> list[Vibration | None]:
    """What the encoder holds each window against: of its place's `first_windows` that whose shaft turned most alike.

    None where there is none of another recording, or none of about that speed.
    """
    row_of = {one.piece: row for row, one in enumerate(recordings.windows)}
    found = []
    for one, shaft_hz in zip(recordings.windows, recordings.shaft_W.tolist(), strict=True):
        others = [piece for piece in first.get(one.entry.part, ()) if piece.recording != one.piece.recording]
        found.append(nearest((recordings.vibration(row_of[piece]) for piece in others), shaft_hz))
    return found


def nearest(past: Iterable[Vibration], shaft_hz: float) -> Vibration | None:
    """The window whose shaft turned most alike; None where none turned at about that speed."""
    near = [one for one in past if near_speed(shaft_hz, one.shaft_hz, one.shaft_hz)]
    return min(near, key=lambda one: abs(one.shaft_hz - shaft_hz), default=None)
