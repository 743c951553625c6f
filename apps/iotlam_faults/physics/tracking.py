"""Order tracking: a signal over the shaft's angle instead of time, so that orders stand still while the speed moves.

With a tachometer the angle is given; without one it is followed along a ridge of the shaft's harmonics in short spectra
(Bonnardot et al., MSSP 19, 2005; Leclere et al., MSSP 66, 2016). A ridge can be found in noise too: it is believed only
where the shaft's harmonics are clearer over its angle than any steady speed's are over time.

Shapes: N samples, T short spectra, G speeds that are tried, H harmonics.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from iotlam_faults.physics.speed import STEP, WITHIN, ShaftSpeed, shaft_nats
from iotlam_waveform.envelope import Envelopes, surroundings

FRAME_TURNS = 12.0
"""Length of a short spectrum, turns at the middle of the range."""

HOP = 0.125
SPEEDS = 481
STEEPEST = 0.6
"""By how much, as a share a second, the speed may change."""

HARMONICS = 4
"""Higher ones smear in a short spectrum while the speed moves."""
MOST_NATS = 7.0
SURROUNDINGS_ORDERS = 3.0
SMOOTH_TURNS = 14.0
"""Over how many turns the path is smoothed: a shaft has inertia."""

MOVES = 0.005
"""Share by which a speed moves about its middle from which on its lines smear."""

CLEARER = 0.5
"""Nats a line from which a path is believed: noise and steady machines, simulated and real, stay below."""

SLOWEST = 0.125
"""Share of the mean speed down to which the angle is sampled finely enough for all that the signal holds: slower turns
are few, and to sample all as finely as those need would take memory without bound."""

FOLLOWED = 0.32
"""Share to either side of a stated speed within which it is followed."""


def angle_turns(speed_N: Tensor, rate_hz: float) -> Tensor:
    """The shaft's angle at every sample, in turns from 0, of its speed in hertz."""
    steps_N = (speed_N[1:] + speed_N[:-1]).double() / (2.0 * rate_hz)
    return torch.cat([torch.zeros(1, dtype=torch.float64), steps_N.cumsum(0)])


def followed(values_N: Tensor, rate_hz: float, steady: ShaftSpeed, measured_N: Tensor | None = None) -> ShaftSpeed:
    """The speed with its path where it moves; where it is steady as it came, or as measured.

    Args:
        values_N: the vibration.
        rate_hz: its sample rate.
        steady: the one speed that fits it best.
        measured_N: turns a second at every sample, where a tachometer tells.
    """
    if measured_N is not None:
        moving = _along(measured_N, steady)
        return moving if moves(measured_N) else replace(moving, contradicted=steady.contradicted, path_N=None)
    path_N = track_speed(values_N, rate_hz, (steady.hz * (1.0 - FOLLOWED), steady.hz * (1.0 + FOLLOWED)))
    passes = float(path_N.min()) * (1.0 - WITHIN) <= steady.stated_hz <= float(path_N.max()) * (1.0 + WITHIN)
    if not passes or not moves(path_N):
        return steady
    moving = _along(path_N, steady)
    per_turn = math.ceil(rate_hz / moving.hz)
    angular_M = resample_to_angle(values_N, angle_turns(path_N, rate_hz), per_turn)
    over_time = _clearest(values_N, rate_hz, steady.hz, FOLLOWED)
    gain = _clearest(angular_M, per_turn * moving.hz, moving.hz, MOVES) - over_time
    return moving if gain > CLEARER else steady


def over_angle(envelopes: Envelopes, speed: ShaftSpeed) -> Envelopes:
    """The envelopes as they would be had the shaft turned evenly at its mean speed."""
    if speed.path_N is None:
        return envelopes
    count = envelopes.values_BKM.shape[-1]
    speed_M = functional.interpolate(speed.path_N[None, None], size=count, mode="linear")[0, 0]
    per_turn = math.ceil(envelopes.rate_hz / max(float(speed_M.min()), SLOWEST * speed.hz))
    angular_BKM = resample_to_angle(envelopes.values_BKM, angle_turns(speed_M, envelopes.rate_hz), per_turn)
    return replace(envelopes, values_BKM=angular_BKM, rate_hz=per_turn * speed.hz)


def moves(speed_N: Tensor) -> bool:
    """Whether a speed moves so much that its lines smear."""
    return float(speed_N.max() / speed_N.min()) - 1.0 > 2.0 * MOVES


def _along(path_N: Tensor, steady: ShaftSpeed) -> ShaftSpeed:
    return ShaftSpeed(float(path_N.double().mean()), steady.stated_hz, False, path_N)


def _clearest(values_N: Tensor, rate_hz: float, speed_hz: float, within: float) -> float:
    """How clear a shaft's harmonics are at the best speed within a share."""
    speed_G = speed_hz * (1.0 + torch.arange(-within, within + STEP, STEP))
    return float(shaft_nats(values_N, rate_hz / len(values_N), speed_G).max())


def resample_to_angle(values_N: Tensor, turns_N: Tensor, per_turn: int) -> Tensor:
    """The signal at even angles, `per_turn` samples a turn.

    Args:
        values_N: the signal, or several (..., N), without frequencies above half of what `per_turn` holds at the lowest
            speed.
        turns_N: the shaft's angle at its samples; must increase.
        per_turn: samples in a turn.
    """
    first, last = math.ceil(float(turns_N[0]) * per_turn), math.floor(float(turns_N[-1]) * per_turn)
    wanted_M = torch.arange(first, last + 1, dtype=torch.float64) / per_turn
    at_M = _interpolate(wanted_M, turns_N, torch.arange(len(turns_N), dtype=torch.float64))
    before_M = at_M.floor().long().clamp(1, len(turns_N) - 3)
    return _cubic(values_N.double(), before_M, at_M - before_M).to(values_N.dtype)


def track_speed(values_N: Tensor, rate_hz: float, range_hz: tuple[float, float]) -> Tensor:
    """The shaft's speed at every sample, hertz, without a tachometer.

    The path through short spectra on which the shaft's first harmonics are strongest and that does not jump (Viterbi).

    Args:
        values_N: the vibration.
        rate_hz: its sample rate.
        range_hz: between which speeds to look.
    """
    count, recorded_hz = len(values_N), rate_hz
    values_N, rate_hz = _slower(values_N, rate_hz, 2.0 * (HARMONICS + 1) * range_hz[1])
    speed_G = torch.linspace(*range_hz, SPEEDS)
    middle = float(speed_G.mean())
    frame = min(round(FRAME_TURNS / middle * rate_hz), len(values_N))
    hop = max(round(HOP * frame), 1)
    frames_TN = values_N.unfold(0, frame, hop)
    window_N = torch.hann_window(frame)
    padded = 4 * frame
    power_TF = torch.fft.rfft((frames_TN - frames_TN.mean(1, keepdim=True)) * window_N, padded).abs().square()
    index_GH = torch.round(speed_G[:, None] * torch.arange(1, HARMONICS + 1) * padded / rate_hz).long()
    index_GH = index_GH.clamp_max(power_TF.shape[1] - 2)
    power_TF = power_TF[:, : int(index_GH.max()) + 1]
    clear_TF = power_TF / surroundings(power_TF, round(SURROUNDINGS_ORDERS * middle * padded / rate_hz))
    nats_TG = torch.log1p(clear_TF[:, index_GH]).clamp_max(MOST_NATS).sum(-1)
    step = float(speed_G[1] - speed_G[0])
    reach = max(math.ceil(STEEPEST * middle * hop / rate_hz / step), 1)
    path_T = speed_G[_best_path(nats_TG, reach)]
    at_T = (torch.arange(len(path_T)) * hop + frame / 2.0).double() / rate_hz
    speed_M = _interpolate(torch.arange(len(values_N)).double() / rate_hz, at_T, path_T.double()).float()
    smooth_M = _smooth(speed_M, round(SMOOTH_TURNS / middle * rate_hz))
    time_N, time_M = (torch.arange(size).double() / hz for size, hz in ((count, recorded_hz), (len(smooth_M), rate_hz)))
    return _interpolate(time_N, time_M, smooth_M.double()).float()


def _slower(values_N: Tensor, rate_hz: float, wanted_hz: float) -> tuple[Tensor, float]:
    """The signal's low frequencies at a sample rate near the wanted one, and that rate."""
    size = min(round(len(values_N) / rate_hz * wanted_hz), len(values_N)) // 2 * 2
    spectrum_F = torch.fft.rfft(values_N - values_N.mean())[: size // 2 + 1]
    return torch.fft.irfft(spectrum_F, size) * (size / len(values_N)), rate_hz * size / len(values_N)


def _smooth(values_N: Tensor, width: int) -> Tensor:
    half = min(width // 2, (len(values_N) - 1) // 2)
    window_W = torch.hann_window(2 * half + 3, periodic=False)[1:-1]
    padded_N = functional.pad(values_N[None, None], (half, half), mode="replicate")
    return functional.conv1d(padded_N, (window_W / window_W.sum())[None, None])[0, 0]


def _best_path(nats_TG: Tensor, reach: int) -> Tensor:
    """Indices of the path with the greatest sum whose steps are at most `reach`; a step costs a little."""
    cost_R = 0.05 * (torch.arange(-reach, reach + 1).abs() / reach)
    score_G, back = nats_TG[0], []
    for nats_G in nats_TG[1:]:
        padded_G = functional.pad(score_G, (reach, reach), value=-torch.inf)
        best_G, came_G = (padded_G.unfold(0, 2 * reach + 1, 1) - cost_R).max(-1)
        back.append(torch.arange(len(score_G)) + came_G - reach)
        score_G = best_G + nats_G
    path = [int(score_G.argmax())]
    for came_G in reversed(back):
        path.append(int(came_G[path[-1]]))
    return torch.tensor(path[::-1])


def _cubic(values_N: Tensor, before_M: Tensor, share_M: Tensor) -> Tensor:
    """Catmull and Rom's cubic between samples."""
    a, b, c, d = (values_N[..., before_M + offset] for offset in (-1, 0, 1, 2))
    t = share_M
    return b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))


def _interpolate(at_M: Tensor, x_N: Tensor, y_N: Tensor) -> Tensor:
    """Straight lines through points, and on beyond their ends."""
    right_M = torch.searchsorted(x_N, at_M).clamp(1, len(x_N) - 1)
    left_M = right_M - 1
    share_M = (at_M - x_N[left_M]) / (x_N[right_M] - x_N[left_M]).clamp_min(1e-12)
    return y_N[left_M] + share_M * (y_N[right_M] - y_N[left_M])
