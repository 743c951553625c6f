"""Velocity of the housing and the zones of ISO 20816-3: how hard a machine shakes; no verdict on its bearing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BAND_HZ = (10.0, 1000.0)
SLOW_HZ, SLOW_FROM_HZ = 10.0, 2.0
"""Shafts slower than 600 rpm are measured from 2 Hz on: else their own rhythm would be left out."""

LEAST_HZ = 2.0
"""The standard is for shafts from 120 rpm on."""

EDITION = "ISO 20816-3:2022"

Group = Literal["1 rigid", "1 flexible", "2 rigid", "2 flexible"]

LIMITS_MM_S: dict[Group, tuple[float, float, float]] = {
    "1 rigid": (2.3, 4.5, 7.1),
    "1 flexible": (3.5, 7.1, 11.0),
    "2 rigid": (1.4, 2.8, 4.5),
    "2 flexible": (2.3, 4.5, 7.1),
}
"""Between zones A, B, C and D, root mean square: group 1 above 300 kW, group 2 from 15 to 300 kW."""


def band_hz(rate_hz: float, shaft_hz: float | None) -> tuple[float, float]:
    """Between which frequencies the velocity is measured: those of the standard, as far as the sample rate holds them.

    Args:
        rate_hz: sample rate.
        shaft_hz: speed of the shaft; where it is not known it is taken for 600 rpm or more.
    """
    low_hz, high_hz = BAND_HZ
    return SLOW_FROM_HZ if shaft_hz is not None and shaft_hz < SLOW_HZ else low_hz, min(high_hz, rate_hz / 2.0)


def velocity_rms_mm_s(values_BN: Tensor, rate_hz: float, shaft_hz: float | None) -> Tensor:
    """Root mean square of the velocity in the band of the standard, (B,).

    Args:
        values_BN: acceleration in m/s2, at least a second.
        rate_hz: its sample rate.
        shaft_hz: speed of the shaft, None where it is not known.
    """
    low_hz, high_hz = band_hz(rate_hz, shaft_hz)
    count = values_BN.shape[1]
    window_N = torch.hann_window(count, dtype=values_BN.dtype)
    hertz_F = torch.fft.rfftfreq(count, 1.0 / rate_hz)
    inside_F = (hertz_F >= low_hz) & (hertz_F <= high_hz)
    spectrum_BF = torch.fft.rfft((values_BN - values_BN.mean(1, keepdim=True)) * window_N)
    per_line_BF = spectrum_BF.abs()[:, inside_F] / (2.0 * torch.pi * hertz_F[inside_F])
    power_B = 2.0 * per_line_BF.square().sum(-1) / (count * window_N.square().sum())
    velocity_B: Tensor = 1e3 * power_B.sqrt()
    return velocity_B


def zone(velocity_mm_s: float, group: Group) -> str:
    """The zone, A (as new) to D (damaging), of a velocity."""
    return "ABCD"[sum(velocity_mm_s > limit for limit in LIMITS_MM_S[group])]


def zones(velocity_mm_s: float, rate_hz: float, shaft_hz: float | None) -> dict[Group, str]:
    """The zone of a velocity in each group; none where the standard gives none (`no_zone`)."""
    return {} if no_zone(rate_hz, shaft_hz) else {group: zone(velocity_mm_s, group) for group in LIMITS_MM_S}


def no_zone(rate_hz: float, shaft_hz: float | None) -> str:
    """Why the standard gives no zone, in words; empty where it gives one."""
    if shaft_hz is not None and shaft_hz < LEAST_HZ:
        return f"the standard is for shafts from {60.0 * LEAST_HZ:.0f} rpm on"
    if band_hz(rate_hz, shaft_hz)[1] < BAND_HZ[1]:
        return f"{rate_hz:g} Hz of sample rate do not hold the standard's band, up to {BAND_HZ[1]:.0f} Hz"
    return ""
