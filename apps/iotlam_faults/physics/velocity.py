"""Velocity of the housing and the zones of ISO 20816-3: how hard a machine shakes; no verdict on its bearing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BAND_HZ = (10.0, 1000.0)
EDITION = "ISO 20816-3:2022"

Group = Literal["1 rigid", "1 flexible", "2 rigid", "2 flexible"]

LIMITS_MM_S: dict[Group, tuple[float, float, float]] = {
    "1 rigid": (2.3, 4.5, 7.1),
    "1 flexible": (3.5, 7.1, 11.0),
    "2 rigid": (1.4, 2.8, 4.5),
    "2 flexible": (2.3, 4.5, 7.1),
}
"""Between zones A, B, C and D, root mean square: group 1 above 300 kW, group 2 from 15 to 300 kW."""


def velocity_rms_mm_s(values_BN: Tensor, rate_hz: float) -> Tensor:
    """Root mean square of the velocity between 10 Hz and 1 kHz, (B,).

    Args:
        values_BN: acceleration in m/s2, at least a second.
        rate_hz: its sample rate.
    """
    count = values_BN.shape[1]
    window_N = torch.hann_window(count, dtype=values_BN.dtype)
    hertz_F = torch.fft.rfftfreq(count, 1.0 / rate_hz)
    inside_F = (hertz_F >= BAND_HZ[0]) & (hertz_F <= BAND_HZ[1])
    spectrum_BF = torch.fft.rfft((values_BN - values_BN.mean(1, keepdim=True)) * window_N)
    per_line_BF = spectrum_BF.abs()[:, inside_F] / (2.0 * torch.pi * hertz_F[inside_F])
    power_B = 2.0 * per_line_BF.square().sum(-1) / (count * window_N.square().sum())
    velocity_B: Tensor = 1e3 * power_B.sqrt()
    return velocity_B


def zone(velocity_mm_s: float, group: Group) -> str:
    """The zone, A (as new) to D (damaging), of a velocity."""
    return "ABCD"[sum(velocity_mm_s > limit for limit in LIMITS_MM_S[group])]
