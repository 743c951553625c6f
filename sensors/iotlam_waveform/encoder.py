"""The learnt part: an autoregressive, strictly causal network over patches of 32 samples.

Trained without labels to say what comes next, given all patches so far: a Gaussian for every sample of the next patch,
and for the energy in eight bands of patches up to sixteen ahead. Samples teach it tones and the colour of noise,
energies the impacts and their rhythm. Its context is what a token carries.

Shapes: L lines (axes or phases) of N samples, T patches of P = 32 samples, K = 8 bands, F numbers that are predicted,
D width.
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

from iotlam.blocks.causal import CausalBlock, delayed
from iotlam.contracts import SensorFrame

PATCH = 32
BANDS = 8
WIDTH = 64
DILATIONS = (1, 2, 4, 8, 16)
CONTEXT_PATCHES = 1 + 2 * sum(DILATIONS)
"""How far back the context reaches, the present patch included."""

AHEAD = (1, 2, 4, 8, 16)
"""How many patches ahead energies are predicted; samples, of the next patch."""

PREDICTED = PATCH + BANDS * len(AHEAD)
LIMIT = 10.0  # running deviations; an impact beyond says no more
LEAST_STD = 0.05
QUIET = 1e-4  # of the running power: what is below is silence
TINY = 1e-9
SEGMENT = 240  # patches of one line that one window gives to a training step, at most
LINEAR_PATCHES = 16
PAIRS_EVERY = 7
RIDGES = (1e-3, 1e-1, 10.0)
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


def log_energies(values_LTP: Tensor) -> Tensor:
    """Logarithm of the power of each patch in eight even bands, (L, T, K); about 0 for white noise of unit power."""
    power_LTF = torch.fft.rfft(values_LTP).abs().square()[..., 1:] / PATCH
    power_LTK: Tensor = power_LTF.unflatten(-1, (BANDS, -1)).mean(-1)
    return (power_LTK + QUIET).log()


class WaveformEncoder(nn.Module):
    """Dilated causal layers over patches, and a head that predicts what comes next; 0.16 M parameters.

    Args:
        front: turns the frames of one window into the patches of every line.
    """

    def __init__(self, front: Callable[[Sequence[SensorFrame]], list[Patches]]) -> None:
        super().__init__()
        self._front = front
        self.embed = nn.Linear(PATCH + BANDS, WIDTH)
        self.blocks = nn.ModuleList(CausalBlock(WIDTH, dilation) for dilation in DILATIONS)
        self.norm = nn.RMSNorm(WIDTH)
        self.ahead = nn.Linear(WIDTH, 2 * PREDICTED)

    def forward(self, values_LTP: Tensor) -> Tensor:
        """Context after each patch, (L, T, D), root mean square near 1; depends on no later patch."""
        x_LTD = self.embed(torch.cat([torch.asinh(values_LTP), log_energies(values_LTP)], -1))
        for block in self.blocks:
            x_LTD = block(x_LTD)
        context_LTD: Tensor = self.norm(x_LTD)
        return context_LTD

    def predict(self, context_LTD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what comes next, (L, T, F) each."""
        mean_LTF, spread_LTF = self.ahead(context_LTD).chunk(2, -1)
        return mean_LTF, functional.softplus(spread_LTF) + LEAST_STD

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Negative log-likelihood of what comes next, nats a number.

        Of one stretch of one line of each window, drawn by `seed`. Samples are in units of the deviation so far,
        energies logarithms of power in units of its square.
        """
        values_LTP, target_LTF, known_LTF = self._segments(windows, seed)
        mean_LTF, std_LTF = self.predict(self(values_LTP))
        nats_LTF = 0.5 * (((target_LTF - mean_LTF) / std_LTF).square() + LOG_2PI) + std_LTF.log()
        return (nats_LTF * known_LTF).sum() / known_LTF.sum().clamp_min(1)

    @torch.no_grad()
    def rival_losses(
        self, learnt: Sequence[Sequence[SensorFrame]], held_out: Sequence[Sequence[SensorFrame]], seed: int
    ) -> dict[str, float]:
        """What simple predictors lose on held-out windows, in nats a number as above; fitted on the learnt ones.

        - `mean`: always the mean. `repeat`: the patch that was. `linear`: least squares on the samples and energies of
          the last 16 patches, its ridge the best on the held-out windows.

        Each has one deviation for every number, fitted too.
        """
        past_NC, last_NF, next_NF = self._pairs(learnt, seed)
        past_MC, last_MF, next_MF = self._pairs(held_out, seed + 1)

        def loss(fitted_NF: Tensor, guessed_MF: Tensor) -> float:
            var_F = (next_NF - fitted_NF).square().mean(0)
            return float(0.5 * ((next_MF - guessed_MF).square() / var_F + var_F.log() + LOG_2PI).mean())

        mean_F = next_NF.mean(0, keepdim=True)
        gram_CC, cross_CF = past_NC.T @ past_NC / len(past_NC), past_NC.T @ next_NF / len(past_NC)
        ridges = [ridge * torch.eye(len(gram_CC), dtype=gram_CC.dtype) for ridge in RIDGES]
        weights = [torch.linalg.solve(gram_CC + ridge_CC, cross_CF) for ridge_CC in ridges]
        return {
            "mean": loss(mean_F, mean_F),
            "repeat": loss(last_NF, last_MF),
            "linear": min(loss(past_NC @ weights_CF, past_MC @ weights_CF) for weights_CF in weights),
        }

    def _segments(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (L, T, P), what comes next of each (L, T, F), and what of that was measured."""
        rng = np.random.default_rng((seed, 1))
        drawn = [_draw(self._front(window), rng) for window in windows]
        reach = min(SEGMENT, max(patches.values_LTP.shape[1] for patches in drawn))
        length = reach + max(AHEAD)
        values, scale = torch.zeros(len(windows), length, PATCH), torch.ones(len(windows), length)
        valid = torch.zeros(len(windows), length, dtype=torch.bool)
        for row, patches in enumerate(drawn):
            start = int(rng.integers(max(patches.values_LTP.shape[1] - length, 0) + 1))
            part = slice(start, start + length)
            size = patches.values_LTP[0, part].shape[0]
            values[row, :size] = torch.from_numpy(patches.values_LTP[0, part])
            scale[row, :size] = torch.from_numpy(patches.rms_LT[0, part]).float()
            valid[row, :size] = torch.from_numpy(patches.valid_LT[0, part])
        target_LTF = _what_follows(values, scale, reach)
        known = torch.stack([valid[:, step : step + reach] for step in AHEAD], -1) & valid[:, :reach, None]
        widths = torch.tensor([PATCH + BANDS] + [BANDS] * (len(AHEAD) - 1))
        return values[:, :reach], target_LTF, known.repeat_interleave(widths, -1)

    def _pairs(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """What was (N, C), what repeating it would say (N, F) and what comes next (N, F), at some places."""
        values_LTP, target_LTF, known_LTF = self._segments(windows, seed)
        energies_LTK = log_energies(values_LTP)
        seen = torch.cat([values_LTP, energies_LTK], -1)
        past = torch.cat([torch.ones_like(seen[..., :1]), *(delayed(seen, step) for step in range(LINEAR_PATCHES))], -1)
        last = torch.cat([values_LTP, energies_LTK.repeat(1, 1, len(AHEAD))], -1)
        known_LT = known_LTF.all(-1)
        known_LT[:, torch.arange(known_LT.shape[1]) % PAIRS_EVERY > 0] = False
        return past[known_LT].double(), last[known_LT].double(), target_LTF[known_LT].double()


def _what_follows(values: Tensor, scale: Tensor, reach: int) -> Tensor:
    """Samples of the next patch and energies of some later ones, by the deviation up to now, (L, reach, F)."""
    raw, now = values * scale[..., None], scale[:, :reach, None] + TINY
    later = [(raw[:, step : step + reach] / now).clamp(-LIMIT, LIMIT) for step in AHEAD]
    return torch.cat([later[0], *map(log_energies, later)], -1)


def _draw(sensors: list[Patches], rng: np.random.Generator) -> Patches:
    """One line of one sensor."""
    sensor = sensors[int(rng.integers(len(sensors)))]
    line = int(rng.integers(len(sensor.values_LTP)))
    only = slice(line, line + 1)
    return Patches(sensor.values_LTP[only], sensor.rms_LT[only], sensor.valid_LT[only])
