"""The shaft's speed, as the vibration itself tells it.

The shaft leaves lines at its harmonics, in the spectrum and in that of the squared signal. Where they stand says how
fast it really turned: more exactly than a nameplate or a display, and sometimes against what a file says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam_waveform.envelope import surroundings

HARMONICS = 8
STEP = 2e-4
"""Speeds are tried in steps of this share."""

WITHIN = 0.03
NEAR = 0.003
CLEARLY = 0.8
"""How much stronger, in nats a line, other harmonics must be than those near the stated speed to be believed."""

TRUSTED_TURNS = 100.0
"""With fewer the shaft's lines are not told from noise and from the bearing's, and the stated speed stands."""

MAINS_HZ, MAINS_WANDER_HZ = (50.0, 60.0), 0.1
"""At multiples of these, wherever they wander, a line is the supply's as likely as the shaft's."""

SURROUNDINGS_HZ = 20.0
MOST_NATS = 7.0


@dataclass(frozen=True, slots=True)
class ShaftSpeed:
    """The speed of a shaft.

    Attributes:
        hz: turns a second.
        stated_hz: what was said of it.
        contradicted: whether the vibration says clearly another speed than was stated.
        path_N: turns a second at every sample where the speed moves, whose mean is `hz`; None where it is steady.
    """

    hz: float
    stated_hz: float
    contradicted: bool
    path_N: Tensor | None = None


def shaft_speed(values_N: Tensor, rate_hz: float, stated_hz: float) -> ShaftSpeed:
    """The speed whose harmonics are strongest, near the stated one unless another is clearly stronger.

    Args:
        values_N: float, one signal; at least some ten turns.
        rate_hz: its sample rate.
        stated_hz: speed as stated.
    """
    return speeds(values_N, rate_hz, stated_hz)[0]


def speeds(values_N: Tensor, rate_hz: float, stated_hz: float) -> list[ShaftSpeed]:
    """As `shaft_speed`; where that contradicts the stated speed, what the lines say near that stands behind it."""
    step_hz = rate_hz / len(values_N)
    if stated_hz / step_hz < TRUSTED_TURNS:
        return [ShaftSpeed(stated_hz, stated_hz, False)]
    share_G = torch.arange(-WITHIN, WITHIN + STEP, STEP)
    speed_G, is_near_G = stated_hz * (1.0 + share_G), share_G.abs() <= NEAR
    nats_G = shaft_nats(values_N, step_hz, speed_G)
    near = ShaftSpeed(float(speed_G[torch.where(is_near_G, nats_G, -torch.inf).argmax()]), stated_hz, False)
    needed = float(nats_G[is_near_G].max()) + 2.0 * CLEARLY
    if nats_G.max() <= needed:
        return [near]
    own_G = shaft_nats(values_N, step_hz, speed_G, mains=False)
    return [ShaftSpeed(float(speed_G[own_G.argmax()]), stated_hz, True), near] if own_G.max() > needed else [near]


def shaft_nats(values_N: Tensor, step_hz: float, speed_G: Tensor, mains: bool = True) -> Tensor:
    """How clear the shaft's harmonics are at every speed, in the signal and in its square; nats a line, (G,).

    Args:
        values_N: float, one signal.
        step_hz: between lines of its spectrum.
        speed_G: hertz.
        mains: whether lines at multiples of the supply's frequency count.
    """
    values_N = values_N - values_N.mean()
    return _harmonics(values_N, step_hz, speed_G, mains) + _harmonics(values_N.square(), step_hz, speed_G, mains)


def _harmonics(values_N: Tensor, step_hz: float, speed_G: Tensor, mains: bool) -> Tensor:
    """Mean over the harmonics of log(1 + line over its surroundings), for every speed."""
    count = len(values_N)
    power_F = torch.fft.rfft((values_N - values_N.mean()) * torch.hann_window(count)).abs().square()
    top = min(int(speed_G[-1] * (HARMONICS + 1) / step_hz), len(power_F))
    clear_F = power_F[:top] / surroundings(power_F[None, :top], round(SURROUNDINGS_HZ / step_hz))[0]
    if not mains:
        clear_F = torch.where(of_mains(torch.arange(top) * step_hz, step_hz), 1.0, clear_F)
    index_GH = torch.round(speed_G[:, None] * torch.arange(1, HARMONICS + 1) / step_hz).long()
    around_GHK = (index_GH[..., None] + torch.tensor([-1, 0, 1])).clamp(0, len(clear_F) - 1)
    nats_GH = torch.log1p(clear_F[around_GHK].amax(-1)).clamp_max(MOST_NATS)
    return nats_GH.mean(-1)


def of_mains(line_F: Tensor, step_hz: float) -> Tensor:
    """Which lines (hertz) may be the supply's."""
    found_F = torch.zeros(len(line_F), dtype=torch.bool)
    for hz in MAINS_HZ:
        order_F = (line_F / hz).round()
        found_F |= (order_F > 0) & ((line_F - order_F * hz).abs() <= order_F * MAINS_WANDER_HZ + 2.0 * step_hz)
    return found_F
