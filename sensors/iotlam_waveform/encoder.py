"""The learnt part: an autoregressive, strictly causal network over patches of 32 samples.

Trained without labels to say what the next patches will be: a Gaussian for each of their samples, given all patches so
far. Its context is what a token carries. The mean follows tones; the spread follows impacts and their rhythm.

Shapes: L lines (axes or phases) of N samples, T patches of P = 32 samples, H patches ahead, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from iotlam.blocks.causal import CausalBlock
from iotlam.contracts import SensorFrame

PATCH = 32
AHEAD = 4
WIDTH = 64
DILATIONS = (1, 2, 4, 8, 16)
CONTEXT_PATCHES = 1 + 2 * sum(DILATIONS)
"""How far back the context reaches, the present patch included."""

LINEAR_PATCHES = 16
PAIRS_EVERY = 5
LIMIT = 10.0  # running deviations; an impact beyond says no more
LEAST_STD = 0.05
TINY = 1e-9
SEGMENT = 96  # patches of one line that one window gives to a training step
LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class Patches:
    """Lines cut into patches, each in units of the running root mean square up to its end.

    Attributes:
        values_LTP: float32, missing samples 0.
        rms_LT: float64, the running root mean square, in the unit of the data.
        valid_LT: bool, whether at least half of a patch was measured.
    """

    values_LTP: NDArray[np.float32]
    rms_LT: NDArray[np.float64]
    valid_LT: NDArray[np.bool_]


def cut(values_LN: NDArray[Any], valid_LN: NDArray[np.bool_]) -> Patches:
    """Cut lines into whole patches from their first sample on; what is left at the end is dropped."""
    lines, count = len(values_LN), values_LN.shape[1] // PATCH
    values_LTP = values_LN[:, : count * PATCH].reshape(lines, count, PATCH).astype(np.float64)
    seen_LTP = valid_LN[:, : count * PATCH].reshape(lines, count, PATCH)
    values_LTP = np.where(seen_LTP, values_LTP, 0.0)
    seen_LT = np.cumsum(seen_LTP.sum(-1), axis=1)
    rms_LT = np.sqrt(np.cumsum((values_LTP**2).sum(-1), axis=1) / np.maximum(seen_LT, 1))
    scaled_LTP = values_LTP / (rms_LT + TINY)[..., None]
    return Patches(scaled_LTP.astype(np.float32), rms_LT, seen_LTP.mean(-1) >= 0.5)


class WaveformEncoder(nn.Module):
    """Dilated causal layers over patches, and a head that predicts the next `AHEAD` of them; 0.16 M parameters.

    Args:
        front: turns the frames of one window into the patches of every line.
    """

    def __init__(self, front: Callable[[Sequence[SensorFrame]], list[Patches]]) -> None:
        super().__init__()
        self._front = front
        self.embed = nn.Linear(PATCH + 1, WIDTH)
        self.blocks = nn.ModuleList(CausalBlock(WIDTH, dilation) for dilation in DILATIONS)
        self.norm = nn.RMSNorm(WIDTH)
        self.ahead = nn.Linear(WIDTH, 2 * AHEAD * PATCH)

    def forward(self, values_LTP: Tensor) -> Tensor:
        """Context after each patch, (L, T, D), root mean square near 1; depends on no later patch."""
        level_LT1 = torch.log(values_LTP.square().mean(-1, keepdim=True).sqrt() + 0.01)
        x_LTD = self.embed(torch.cat([torch.asinh(values_LTP), level_LT1], -1))
        for block in self.blocks:
            x_LTD = block(x_LTD)
        context_LTD: Tensor = self.norm(x_LTD)
        return context_LTD

    def predict(self, context_LTD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the samples of the next patches, (L, T, H, P) each."""
        mean, spread = self.ahead(context_LTD).unflatten(-1, (2, AHEAD, PATCH)).unbind(-3)
        return mean, functional.softplus(spread) + LEAST_STD

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Negative log-likelihood of the samples of the next patches, nats a sample, units of the running deviation.

        One stretch of one line of each window, drawn by `seed`.
        """
        values_LTP, target_LTHP, known_LTH = self._segments(windows, seed)
        mean, std = self.predict(self(values_LTP))
        nats = 0.5 * (((target_LTHP - mean) / std).square() + LOG_2PI) + std.log()
        return nats[known_LTH].mean() if bool(known_LTH.any()) else nats.sum() * 0.0

    @torch.no_grad()
    def rival_losses(
        self, learnt: Sequence[Sequence[SensorFrame]], held_out: Sequence[Sequence[SensorFrame]], seed: int
    ) -> dict[str, float]:
        """What simple predictors lose on held-out windows, in nats a sample as above; fitted on the learnt ones.

        - `zero`: the mean, always. `repeat`: the patch that was. `linear`: least squares on the last 512 samples.
          Each with one deviation for every sample ahead, fitted too.
        """
        past_NC, future_NF = self._pairs(learnt, seed)
        past_MC, future_MF = self._pairs(held_out, seed + 1)
        gram_CC = past_NC.T @ past_NC + 1e-3 * len(past_NC) * torch.eye(past_NC.shape[1], dtype=past_NC.dtype)
        weights_CF = torch.linalg.solve(gram_CC, past_NC.T @ future_NF)
        guesses = {
            "zero": (torch.zeros_like(future_NF), torch.zeros_like(future_MF)),
            "repeat": (past_NC[:, -PATCH:].repeat(1, AHEAD), past_MC[:, -PATCH:].repeat(1, AHEAD)),
            "linear": (past_NC @ weights_CF, past_MC @ weights_CF),
        }
        losses = {}
        for name, (fitted, guessed) in guesses.items():
            var_F = (future_NF - fitted).square().mean(0)
            losses[name] = float(0.5 * (((future_MF - guessed).square() / var_F) + var_F.log() + LOG_2PI).mean())
        return losses

    def _segments(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (L, T, P), what follows each (L, T, H, P), and which of it was measured (L, T, H)."""
        rng = np.random.default_rng((seed, 1))
        length = SEGMENT + AHEAD
        values, scale = torch.zeros(len(windows), length, PATCH), torch.ones(len(windows), length)
        valid = torch.zeros(len(windows), length, dtype=torch.bool)
        for row, window in enumerate(windows):
            patches = _draw(self._front(window), rng)
            start = int(rng.integers(max(patches.values_LTP.shape[1] - length, 0) + 1))
            part = slice(start, start + length)
            size = patches.values_LTP[0, part].shape[0]
            values[row, :size] = torch.from_numpy(patches.values_LTP[0, part])
            scale[row, :size] = torch.from_numpy(patches.rms_LT[0, part]).float()
            valid[row, :size] = torch.from_numpy(patches.valid_LT[0, part])
        raw, now = values * scale[..., None], scale[:, :SEGMENT, None, None] + TINY
        ahead = torch.stack([raw[:, step : step + SEGMENT] for step in range(1, AHEAD + 1)], 2)
        known = torch.stack([valid[:, step : step + SEGMENT] for step in range(1, AHEAD + 1)], 2)
        known &= valid[:, :SEGMENT, None]
        return values[:, :SEGMENT], (ahead / now).clamp(-LIMIT, LIMIT), known

    def _pairs(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor]:
        """The last samples (N, C) and what follows them (N, F), from some places of every window."""
        values_LTP, target_LTHP, known_LTH = self._segments(windows, seed)
        padded = functional.pad(values_LTP.flatten(1), ((LINEAR_PATCHES - 1) * PATCH, 0))
        past = padded.unfold(1, LINEAR_PATCHES * PATCH, PATCH)[:, ::PAIRS_EVERY]
        known_LT = known_LTH[:, ::PAIRS_EVERY].all(-1)
        return past[known_LT].double(), target_LTHP[:, ::PAIRS_EVERY].flatten(2)[known_LT].double()


def _draw(sensors: list[Patches], rng: np.random.Generator) -> Patches:
    """One line of one sensor."""
    sensor = sensors[int(rng.integers(len(sensors)))]
    line = int(rng.integers(len(sensor.values_LTP)))
    only = slice(line, line + 1)
    return Patches(sensor.values_LTP[only], sensor.rms_LT[only], sensor.valid_LT[only])
