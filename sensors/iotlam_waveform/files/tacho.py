"""The shaft's speed from a tachometer's pulses that were recorded beside the waveform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam_waveform.files.recording import Notes, Recording, bad

RISES, FALLS = 0.6, 0.4
"""Shares of the channel's range: a pulse has come above the one, and is over below the other."""

UNEVEN = 1.7
"""By how much a pulse may be longer or shorter after the last than that after the one before, and how much longer than
that next to it what is recorded before the first and after the last."""

SPAN = 1000.0
"""Samples that the turns take at least over which a speed is: a pulse may come a sample early or late. Whole turns, for
marks need not stand evenly."""

POINTS_PER_TURN = 4
BLOCK = 1 << 18


def tacho_among(path: Path, notes: Notes, channels: Sequence[str]) -> int | None:
    """Which of the channels holds a tachometer's pulses, its name in capitals or not; None where none does.

    Raises:
        BadInput: if the notes name one that is not there.
    """
    known = [name.lower() for name in channels]
    if notes.pulses.lower() in known:
        return known.index(notes.pulses.lower())
    if notes.tacho is not None:
        got, fix = ", ".join(channels)[:60] or "none", f"correct tacho in {path.name}.toml"
        raise bad(path, f"a channel '{notes.pulses}' with a tachometer's pulses", got, fix)
    return None


def with_speed(path: Path, recording: Recording, notes: Notes, pulses_N: NDArray[Any]) -> Recording:
    """The recording with the trace of speed that pulses tell, spread evenly over it.

    Args:
        path: of the file, for errors.
        recording: of N samples.
        notes: how many pulses there are in a turn.
        pulses_N: the tachometer's signal meanwhile, in any unit.

    Raises:
        BadInput: if they are not as many, not of two turns at least, one was missed or came twice, or they begin late
            or stop early.
    """
    count, each = len(recording.values_NC), notes.pulses_per_turn
    if pulses_N.size != count or pulses_N.dtype.kind not in "iuf":
        got = f"{pulses_N.size} of {pulses_N.dtype} for {count}"
        raise bad(path, f"numbers in '{notes.pulses}', sample by sample", got, "record both at one rate")
    at_P = pulse_times(pulses_N.ravel())
    if len(at_P) < 2 * each + 1:
        got, fix = f"{len(at_P)} pulses, {each} a turn", f"state tacho and pulses_per_turn in {path.name}.toml"
        raise bad(path, f"a tachometer's pulses of two turns at least in '{notes.pulses}'", got, fix)
    _check(path, at_P, count, recording.rate_hz)
    turns = len(at_P) // each
    over = min(math.ceil(SPAN * turns / (at_P[-1] - at_P[0])), turns // 2)
    start_P, end_P = at_P[: -over * each], at_P[over * each :]
    wanted_M = np.linspace(0.0, count - 1.0, POINTS_PER_TURN * turns)
    speed_M = np.interp(wanted_M, (start_P + end_P) / 2.0, over * recording.rate_hz / (end_P - start_P))
    return replace(recording, shaft_hz=speed_M)


def _check(path: Path, at_P: NDArray[np.float64], count: int, rate_hz: float) -> None:
    """No pulse is missed or came twice, and they come from the first turn to the last.

    Raises:
        BadInput: if not.
    """
    steps_P = np.diff(at_P)
    uneven_P = np.maximum(steps_P[1:] / steps_P[:-1], steps_P[:-1] / steps_P[1:])
    if uneven_P.max(initial=1.0) > UNEVEN:
        got = f"one {uneven_P.max():.1f} times as long as the next about {at_P[uneven_P.argmax() + 1] / rate_hz:.3f} s"
        fix = "cut that part off, or leave the channel away"
        raise bad(path, "a tachometer's pulses of which none is missed or doubled", got, fix)
    if at_P[0] > UNEVEN * steps_P[0] or count - 1 - at_P[-1] > UNEVEN * steps_P[-1]:
        got = f"pulses from {at_P[0] / rate_hz:.3f} to {at_P[-1] / rate_hz:.3f} s of {count / rate_hz:.3f}"
        fix = "cut off what is without, or leave the channel away"
        raise bad(path, "a tachometer's pulses from the first turn to the last", got, fix)


def split_tacho(path: Path, recording: Recording, notes: Notes, channel: int | None) -> Recording:
    """The recording with the speed that one of its channels tells, and without that channel; None leaves it as it is.

    Raises:
        BadInput: if its pulses tell no speed.
    """
    if channel is None:
        return recording
    axes = tuple(axis for index, axis in enumerate(recording.axes) if index != channel)
    kept = replace(recording, values_NC=np.delete(recording.values_NC, channel, 1), axes=axes)
    return with_speed(path, kept, notes, recording.values_NC[:, channel])


def pulse_times(pulses_N: NDArray[Any]) -> NDArray[np.float64]:
    """When pulses rise, in samples, with what lies between samples; none where the channel stands still."""
    if not pulses_N.size:
        return np.zeros(0)
    low, high = float(np.fmin.reduce(pulses_N)), float(np.fmax.reduce(pulses_N))  # of what is there
    if not 0.0 < high - low < np.inf:
        return np.zeros(0)
    rise, fall = (low + share * (high - low) for share in (RISES, FALLS))
    found, last = [], 0
    for start in range(0, len(pulses_N), BLOCK):
        first = max(start - 1, 0)
        part_M = pulses_N[first : start + BLOCK].astype(np.float64)
        marks_M = (part_M > rise).astype(np.int8) - (part_M < fall)
        sure_S = np.flatnonzero(marks_M)
        after_P = sure_S[np.diff(marks_M[sure_S], prepend=np.int8(last)) == 2]
        before_P = np.nan_to_num(part_M[after_P - 1], nan=fall)
        found.append(first + after_P - 1 + (rise - before_P) / (part_M[after_P] - before_P))
        last = marks_M[sure_S[-1]] if len(sure_S) else last
    return np.concatenate(found)
