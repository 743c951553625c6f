"""Strictly causal signal parts: what comes out at t depends on nothing after t, not even in its last bit.

Shapes: B lines of T steps of width D; C signals of N samples.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Doubles = NDArray[np.float64]

DELAY_SAMPLES = 12
"""By how many samples of the slower of two rates `resample` delays: half the length of its filter."""

CUTOFF = 0.42
"""Where its filter has fallen by half, as a share of the slower rate."""

FINEST_RATIO = 128
KAISER_BETA = 4.5  # 50 dB of stop band


class CausalBlock(nn.Module):
    """A gated residual layer that looks at now and a few steps back (WaveNet, van den Oord et al. 2016).

    Args:
        width: D.
        dilation: how many steps apart the taps are.
        taps: how many there are, the present step included.
    """

    def __init__(self, width: int, dilation: int, taps: int = 3) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)  # over the width alone: a norm over time would look ahead
        self.look = nn.Linear(taps * width, 2 * width)
        self.out = nn.Linear(width, width)
        self.delays = [dilation * back for back in range(taps)]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The layer's output, (B, T, D)."""
        seen = self.norm(x_BTD)
        taps = torch.cat([delayed(seen, delay) for delay in self.delays], -1)
        y_BTD: Tensor = x_BTD + self.out(functional.glu(self.look(taps), -1))
        return y_BTD


def delayed(x_BTD: Tensor, steps: int) -> Tensor:
    """The sequence `steps` later, zeros before it; the same length."""
    length = x_BTD.shape[1]
    return functional.pad(x_BTD, (0, 0, min(steps, length), 0))[:, :length]


def running_mean(values_CN: Doubles, valid_CN: NDArray[np.bool_]) -> Doubles:
    """Mean of all valid values so far, the present one included; 0 before the first."""
    count_CN = np.cumsum(valid_CN, axis=-1)
    total_CN = np.cumsum(np.where(valid_CN, values_CN, 0.0), axis=-1)
    return np.asarray(total_CN / np.maximum(count_CN, 1))


def common_rate_hz(rate_hz: float, wanted_hz: float) -> float:
    """The rate that `resample` really gives: `rate_hz` times a ratio of small whole numbers, within 0.4 % of wanted."""
    return rate_hz * float(_ratio(rate_hz, wanted_hz))


def resample(values_CN: NDArray[np.float32], rate_hz: float, wanted_hz: float) -> NDArray[np.float32]:
    """Bring signals to another rate with one polyphase filter; also at equal rates, so that all get the same low-pass.

    A Kaiser-windowed sinc, shifted so that no output uses an input measured after it: the output is late by
    `DELAY_SAMPLES` samples of the slower rate. Output n belongs to the time of input n * rate_hz / `common_rate_hz`.

    Args:
        values_CN: float32, C signals.
        rate_hz: their rate.
        wanted_hz: the rate wanted.

    Returns:
        float32 (C, M), all whose time is not after the last input's.
    """
    ratio = _ratio(rate_hz, wanted_hz)
    kernel_LK = _kernel(ratio, rate_hz, wanted_hz)
    count = values_CN.shape[1]
    pad = (kernel_LK.shape[-1] - ratio.denominator, -count % ratio.denominator)
    padded = functional.pad(torch.from_numpy(values_CN)[:, None], pad)
    phases_CLB = functional.conv1d(padded, kernel_LK[:, None], stride=ratio.denominator)
    made = math.floor((count - 1) * ratio) + 1
    return phases_CLB.transpose(1, 2).reshape(len(values_CN), -1)[:, :made].numpy()


def _ratio(rate_hz: float, wanted_hz: float) -> Fraction:
    ratio = Fraction(wanted_hz / rate_hz)
    if ratio > 1:
        return 1 / (1 / ratio).limit_denominator(FINEST_RATIO)
    return ratio.limit_denominator(FINEST_RATIO)


@lru_cache(maxsize=32)
def _kernel(ratio: Fraction, rate_hz: float, wanted_hz: float) -> Tensor:
    """Taps (L, K): L outputs for every `ratio.denominator` inputs."""
    slower = min(1.0, wanted_hz / rate_hz)  # as a share of the input's rate
    delay = DELAY_SAMPLES / slower
    reach = math.floor(2 * delay)
    output_L1 = np.arange(ratio.numerator)[:, None] / float(ratio)
    lag_LK = output_L1 + reach - np.arange(reach + ratio.denominator)
    inside_LK = np.clip(1.0 - ((lag_LK - delay) / delay) ** 2, 0.0, None)
    taps_LK = np.sinc(2 * CUTOFF * slower * (lag_LK - delay)) * np.i0(KAISER_BETA * np.sqrt(inside_LK))
    taps_LK = np.where((lag_LK >= 0) & (lag_LK <= 2 * delay), taps_LK, 0.0)
    return torch.from_numpy((taps_LK / taps_LK.sum(1, keepdims=True)).astype(np.float32))
