"""Physics of many windows at once, as numbers: how far a bearing's lines stand out, and what rings.

Batched: a whole plant's second is one call. Lines are the same on every machine, for they follow from geometry and
speed; what rings is the machine's own.

Shapes: B windows of N samples, K bands, F lines of a spectrum, L lines that are looked for, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iotlam_machine.bearings import FaultOrders
from iotlam_waveform.envelope import Bands, modulation, squared, squared_envelopes, surroundings

TOLERANCE = 0.01
"""Lines are looked for within this share of their order, for slip."""

TRIES = 13
"""Places at which each is looked for."""

SURROUNDINGS_HZ = 40.0
LEVELS = 9
LEVELS_FROM_HZ = 60.0
CHUNK = 32
"""Windows that are worked on at once: their spectra fit the cache."""

TINY = 1e-12

LINES = (
    "outer 1", "outer 2", "outer 3", "inner 1", "inner 2", "inner 3", "inner 1-", "inner 1+", "inner 2-", "inner 2+",
    "ball 1", "ball 2", "ball 3", "ball 1-", "ball 1+", "ball 2-", "ball 2+", "cage 1", "cage 2", "cage 3",
)  # fmt: skip
"""Harmonics, and sidebands at the shaft's order (inner race) or the cage's (balls)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What physics sees in windows.

    Attributes:
        lines_BC: nats by which each of `LINES` stands out: whitened and not, of the clearest band and mean of all.
        levels_BC: logarithms of the power in even bands, less their mean: what rings, not how loudly.
    """

    lines_BC: NDArray[np.float32]
    levels_BC: NDArray[np.float32]


def line_orders(orders: FaultOrders) -> NDArray[np.float32]:
    """Where `LINES` are, multiples of the shaft's speed."""
    times = np.arange(1.0, 4.0)
    inner, ball, cage = orders.inner, 2.0 * orders.ball, orders.cage
    parts = (
        orders.outer * times,
        inner * times, (inner - 1.0, inner + 1.0, 2.0 * inner - 1.0, 2.0 * inner + 1.0),
        ball * times, (ball - cage, ball + cage, 2.0 * ball - cage, 2.0 * ball + cage),
        cage * times,
    )  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


def evidence(values_BN: Tensor, rate_hz: float, shaft_B: Tensor, orders: Sequence[FaultOrders]) -> Evidence:
    """Evidence of windows of one length and rate.

    Args:
        values_BN: acceleration, float32.
        rate_hz: sample rate.
        shaft_B: speed of each window's shaft, hertz.
        orders: of each window's bearing.
    """
    return Evidence(lines(values_BN, rate_hz, shaft_B, orders), levels(values_BN, rate_hz))


def lines(values_BN: Tensor, rate_hz: float, shaft_B: Tensor, orders: Sequence[FaultOrders]) -> NDArray[np.float32]:
    """How far lines stand out, as `Evidence.lines_BC`; arguments as of `evidence`."""
    hertz_BL = torch.from_numpy(np.stack([line_orders(one) for one in orders])) * shaft_B[:, None]
    parts = [
        _lines(values_BN[start : start + CHUNK], rate_hz, hertz_BL[start : start + CHUNK])
        for start in range(0, len(values_BN), CHUNK)
    ]
    return torch.cat(parts).numpy()


def _lines(values_BN: Tensor, rate_hz: float, hertz_BL: Tensor) -> Tensor:
    bands = Bands.of_rate(rate_hz)
    columns = []
    for whiten in (False, True):
        envelopes = squared_envelopes(values_BN, rate_hz, bands, whiten=whiten)
        line_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
        power_BKF = modulation(envelopes.values_BKM).square()
        width = round(SURROUNDINGS_HZ / line_hz)
        stretches = int(float(hertz_BL.max()) * (1.0 + TOLERANCE) / line_hz) // width + 2  # one more than is looked at
        power_BKF = power_BKF[..., : stretches * width]
        nats_BKF = 0.5 * torch.log(power_BKF / surroundings(power_BKF, width) + TINY)
        nats_BKL = _greatest(nats_BKF, hertz_BL / line_hz)
        columns += [nats_BKL.amax(1), nats_BKL.mean(1)]
    return torch.cat(columns, 1)


def _greatest(nats_BKF: Tensor, at_BL: Tensor) -> Tensor:
    """The greatest within the tolerance of each place, (B, K, L)."""
    last = nats_BKF.shape[-1] - 1
    reach_BL = (TOLERANCE * at_BL).clamp_min(0.75)
    index_BLT = torch.round(at_BL[..., None] + reach_BL[..., None] * torch.linspace(-1.0, 1.0, TRIES)).long()
    index_BX = index_BLT.clamp(1, last).flatten(1)
    picked_BKX = nats_BKF.gather(2, index_BX[:, None].expand(-1, nats_BKF.shape[1], -1))
    greatest_BKL = picked_BKX.reshape(*picked_BKX.shape[:2], *index_BLT.shape[1:]).amax(-1)
    return torch.where(at_BL[:, None] <= last, greatest_BKL, 0.0)  # nothing is seen beyond the spectrum


def levels(values_BN: Tensor, rate_hz: float) -> NDArray[np.float32]:
    """What rings: logarithms of the power in even bands, less their mean, (B, LEVELS)."""
    parts = [_levels(values_BN[start : start + CHUNK], rate_hz) for start in range(0, len(values_BN), CHUNK)]
    return torch.cat(parts).numpy()


def _levels(values_BN: Tensor, rate_hz: float) -> Tensor:
    power_BF = squared(torch.fft.rfft(values_BN - values_BN.mean(1, keepdim=True)))
    step_hz = rate_hz / values_BN.shape[1]
    bands = Bands.of_rate(rate_hz)
    edges = np.linspace(LEVELS_FROM_HZ, bands.starts_hz[-1] + bands.width_hz, LEVELS + 1)
    parts = [
        power_BF[:, round(low / step_hz) : round(high / step_hz)] for low, high in zip(edges, edges[1:], strict=False)
    ]
    levels_BC = torch.stack([(part.sum(1) + TINY).log() for part in parts], 1)
    return levels_BC - levels_BC.mean(1, keepdim=True)
