"""What recordings are held against: sound ones of the same place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from iotlam_faults.baseline import Baseline, near_speed
from iotlam_faults.head import Doubles
from iotlam_faults.protocols import Window
from iotlam_faults.recordings import Recordings, Vibration
from iotlam_faults.splits import Fitted, Piece


def references(recordings: Recordings) -> dict[str, list[Piece]]:
    """Of each place what windows of other recordings are held against, and what is therefore never tested.

    The first window of a sound recording at every speed that differs enough to need its own.
    """
    found: dict[str, list[Piece]] = {}
    speeds_hz: dict[str, list[float]] = {}
    for one, shaft_hz in zip(recordings.windows, recordings.shaft_W.tolist(), strict=True):
        known_hz = speeds_hz.setdefault(one.entry.part, [])
        if not one.entry.faults and not any(near_speed(shaft_hz, known, known) for known in known_hz):
            known_hz.append(shaft_hz)
            found.setdefault(one.entry.part, []).append(one.piece)
    return found


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


def healthy_windows(recordings: Recordings, known: Mapping[str, Sequence[Piece]]) -> list[Vibration | None]:
    """What each window is held against: of its place's `references` that whose shaft turned most alike.

    None where there is none of another recording, or none of about that speed.
    """
    row_of = {one.piece: row for row, one in enumerate(recordings.windows)}
    found = []
    for one, shaft_hz in zip(recordings.windows, recordings.shaft_W.tolist(), strict=True):
        others = [piece for piece in known.get(one.entry.part, ()) if piece.recording != one.piece.recording]
        found.append(nearest((recordings.vibration(row_of[piece]) for piece in others), shaft_hz))
    return found


def nearest(past: Iterable[Vibration], shaft_hz: float) -> Vibration | None:
    """The window whose shaft turned most alike; None where none turned at about that speed."""
    near = [one for one in past if near_speed(shaft_hz, one.shaft_hz, one.shaft_hz)]
    return min(near, key=lambda one: abs(one.shaft_hz - shaft_hz), default=None)
