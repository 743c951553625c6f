"""A window of frames as one unbroken stretch of samples for every sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.window import age_s, latest_by_sensor
from iotlam.contracts import BadInput, SensorFrame

Doubles = NDArray[np.float64]

LONGEST_S = 4.0
"""Of a longer window the newest seconds count."""

JITTER_S = 5e-3
"""Timestamps jitter: frames that miss each other by less follow one another."""

FASTEST_TURNS_HZ = 2000.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one sensor measured in a window.

    Attributes:
        values_CN: float64, C axes or phases of N samples; 0 where missing.
        valid_CN: bool, False where missing.
        rate_hz: sample rate.
        end_s: time of the last sample, seconds after now (0 or negative).
        speed_N: the cycle that its physics follows (turns of the shaft, periods of the supply), hertz; None where it
            is not known.
    """

    values_CN: Doubles
    valid_CN: NDArray[np.bool_]
    rate_hz: float
    end_s: float
    speed_N: Doubles | None


def stretches(frames: Sequence[SensorFrame], modality: str, speed_key: str) -> list[Stretch]:
    """Join the frames of every sensor by their times; what lies between them is missing.

    Args:
        frames: t_ns is the time of a frame's last sample; `rate_hz` stands in its metadata.
        modality: for errors.
        speed_key: metadata that gives the speed of the cycle in hertz, a number or an array spread over the frame.

    Raises:
        BadInput: for frames that do not fit together, or a speed that is none.
    """
    joined = []
    for newest_first in latest_by_sensor(frames, len(frames), modality):
        _check_alike(newest_first, modality)
        joined.append(_join(newest_first[::-1], modality, speed_key, age_s(newest_first[0], frames)))
    return joined


def _check_alike(frames: Sequence[SensorFrame], modality: str) -> None:
    kinds = {(float(frame.meta["rate_hz"]), frame.data.shape[1]) for frame in frames}
    if len(kinds) != 1 or 0 in frames[0].data.shape:
        got = "no samples" if 0 in frames[0].data.shape else f"(rate_hz, columns) {sorted(kinds)}"
        raise BadInput(
            f"Modality '{modality}', window of sensor '{frames[0].sensor}'",
            expected="samples, all at one rate and of the same columns",
            got=got,
            fix="leave out the frames that differ",
        )


def _join(frames: Sequence[SensorFrame], modality: str, speed_key: str, end_s: float) -> Stretch:
    rate_hz = float(frames[-1].meta["rate_hz"])
    stops = _stops(frames, rate_hz)
    longest = max(round(LONGEST_S * rate_hz), 1)
    length = min(-(stops[0] - len(frames[0].data)), longest)
    values_NC = np.zeros((length, frames[0].data.shape[1]))
    valid_NC = np.zeros(values_NC.shape, np.bool_)
    speed_N = np.full(length, np.nan)
    for frame, stop in zip(frames, stops, strict=True):
        here = slice(max(length + stop - len(frame.data), 0), length + stop)
        size = here.stop - here.start
        if size > 0:
            valid_NC[here] = _valid(frame)[-size:]
            values_NC[here] = np.where(valid_NC[here], frame.data[-size:], 0.0)
            speed_N[here] = _speed(frame, modality, speed_key)[-size:]
    known = all(speed_key in frame.meta for frame in frames)
    return Stretch(values_NC.T, valid_NC.T, rate_hz, end_s, _filled(speed_N) if known else None)


def _stops(frames: Sequence[SensorFrame], rate_hz: float) -> list[int]:
    """Where each frame ends, in samples after the end of the newest (0 or negative)."""
    newest = frames[-1]
    stops, following = [0], -len(newest.data)
    for frame in frames[-2::-1]:
        stop = round((frame.t_ns - newest.t_ns) / 1e9 * rate_hz)
        if abs(stop - following) <= max(JITTER_S * rate_hz, 1.0):
            stop = following
        stops.append(stop)
        following = stop - len(frame.data)
    return stops[::-1]


def _valid(frame: SensorFrame) -> NDArray[np.bool_]:
    valid_NC = np.isfinite(frame.data)
    if frame.mask is not None:
        valid_NC &= frame.mask.reshape(len(frame.data), -1)
    return np.asarray(valid_NC)


def _speed(frame: SensorFrame, modality: str, key: str) -> Doubles:
    if key not in frame.meta:
        return np.full(len(frame.data), np.nan)
    try:
        given = np.atleast_1d(np.asarray(frame.meta[key], np.float64))
    except (TypeError, ValueError):
        given = np.array([np.nan])
    if given.ndim != 1 or given.size == 0 or not ((given >= 0.0) & (given <= FASTEST_TURNS_HZ)).all():
        raise BadInput(
            f"Modality '{modality}', meta '{key}' of sensor '{frame.sensor}'",
            expected=f"one number from 0 to {FASTEST_TURNS_HZ:g} Hz, or several spread over the frame",
            got=f"{frame.meta[key]}"[:60],
            fix="give turns a second (1/min divided by 60), or leave it out",
        )
    return np.interp(np.linspace(0.0, 1.0, len(frame.data)), np.linspace(0.0, 1.0, given.size), given)


def _filled(speed_N: Doubles) -> Doubles:
    known = np.flatnonzero(np.isfinite(speed_N))
    return np.interp(np.arange(len(speed_N)), known, speed_N[known])
