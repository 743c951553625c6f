"""What vibration and current share: from frames to tokens.

Every token has a header of eight numbers that says what it is, and a body of 64:

- waveform tokens carry the encoder's context, averaged over a few patches; they are dated by their last sample and
  depend on nothing after it.
- order tokens, where the machine's cycle is known, carry 64 bins of a spectrum over orders; they look at the whole
  window and are dated by its end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.blocks.causal import DELAY_SAMPLES, common_rate_hz, resample
from iotlam.blocks.weights import trained
from iotlam.blocks.window import one_batch
from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec
from iotlam_waveform.encoder import PATCH, WIDTH, Patches, WaveformEncoder, cut
from iotlam_waveform.orders import BINS, STRETCHES, order_lines
from iotlam_waveform.window import Doubles, Stretch, stretches

HEADER = ("is_order", "low", "middle", "high", "second_signal", "third_signal", "level", "cycle")
"""Kind of token; which third of the orders; which of the modality's signals; half of log10 of its root mean square and,
in order tokens, of the cycle's hertz: that of a whole window is not known before its end."""

POOL = 8
MOST_WAVE_TOKENS = 64
MAX_TOKENS = 4096
WEIGHTS = "encoder.safetensors"


@dataclass(frozen=True, slots=True)
class Lines:
    """What the encoder sees of one sensor, at the modality's common rate.

    Attributes:
        values_LN: float32, L lines.
        valid_LN: bool, False where missing.
        signal_L: which of the modality's signals a line is.
    """

    values_LN: NDArray[np.float32]
    valid_LN: NDArray[np.bool_]
    signal_L: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one sensor, or of a part of it: (T, 8 + 64), whether they say anything, and their times in seconds."""

    tokens_TD: Doubles
    mask_T: NDArray[np.bool_]
    time_T: Doubles


class WaveformModality(ABC):
    """A modality of waveforms.

    Args:
        folder: of the modality, with its weights.
        weights: other weights of the encoder, as `iotlam pretrain` writes them.

    Raises:
        BadInput: if the weights are not there, or not of this encoder.
    """

    name: str
    rate_hz: float
    speed_key: str
    order_width: float

    def __init__(self, folder: Path, weights: Path | None = None) -> None:
        self.encoder = trained(lambda: WaveformEncoder(self.patches), weights or folder / WEIGHTS)

    @abstractmethod
    def lines(self, stretch: Stretch) -> Lines:
        """What the encoder sees of one sensor; causal."""

    @abstractmethod
    def cyclic(self, stretch: Stretch, lines: Lines) -> tuple[Doubles, NDArray[np.intp], Doubles] | None:
        """Signals whose orders matter (S, N) at the common rate, which signal each is, and hertz of the cycle (N,).

        None where the cycle is not known.
        """

    @abstractmethod
    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One simulated window."""

    def patches(self, frames: Sequence[SensorFrame]) -> list[Patches]:
        """The patches of every sensor of a window."""
        found = [self.lines(stretch) for stretch in stretches(frames, self.name, self.speed_key)]
        return [cut(lines.values_LN, lines.valid_LN) for lines in found]

    def token_spec(self) -> TokenSpec:
        """Tokens of width 72 without positions; 4096 serve some 19 sensors of three axes."""
        return TokenSpec(self.name, dim=len(HEADER) + WIDTH, max_tokens=MAX_TOKENS)

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window of any length; of more than four seconds the newest count.

        For each sensor and line up to 64 waveform tokens (one for every 256 samples at the common rate, in long
        windows more), then, where the cycle is known, the order tokens.

        Raises:
            BadInput: if a window is shorter than a patch, or frames do not fit together.
        """
        parts = [part for stretch in stretches(frames, self.name, self.speed_key) for part in self._encode(stretch)]
        return one_batch(
            self.token_spec(),
            np.concatenate([part.tokens_TD for part in parts]),
            np.concatenate([part.mask_T for part in parts]),
            np.concatenate([part.time_T for part in parts]),
        )

    def _encode(self, stretch: Stretch) -> list[Tokens]:
        lines = self.lines(stretch)
        if lines.values_LN.shape[1] < PATCH:
            raise BadInput(
                f"Modality '{self.name}', window",
                expected=f"at least {PATCH / self.rate_hz * 1e3:.3g} ms of samples",
                got=f"{stretch.values_CN.shape[1]} at {stretch.rate_hz:g} Hz",
                fix="collect more before encoding",
            )
        cyclic = self.cyclic(stretch, lines)
        waves = self._wave_tokens(stretch, lines)
        return waves if cyclic is None else [*waves, self._order_tokens(stretch, lines, cyclic)]

    @torch.no_grad()
    def _wave_tokens(self, stretch: Stretch, lines: Lines) -> list[Tokens]:
        patches = cut(lines.values_LN, lines.valid_LN)
        context_LTD = self.encoder(torch.from_numpy(patches.values_LTP)).numpy()
        count = context_LTD.shape[1]
        starts = np.arange(0, count, POOL * -(-count // (POOL * MOST_WAVE_TOKENS)))
        stops = np.append(starts[1:], count)
        body_LTD = np.add.reduceat(context_LTD, starts, axis=1) / (stops - starts)[:, None]
        valid_LT = np.add.reduceat(patches.valid_LT, starts, axis=1, dtype=np.intp) * 2 >= stops - starts
        tokens_LTD = np.zeros((*body_LTD.shape[:2], len(HEADER) + WIDTH))
        tokens_LTD[..., len(HEADER) :] = body_LTD
        _head(tokens_LTD, lines.signal_L[:, None], _half_log(patches.rms_LT[:, stops - 1]))
        time_T = self._time_s(stretch, stops * PATCH - 1)
        return [Tokens(tokens, valid, time_T) for tokens, valid in zip(tokens_LTD, valid_LT, strict=True)]

    def _order_tokens(
        self, stretch: Stretch, lines: Lines, cyclic: tuple[Doubles, NDArray[np.intp], Doubles]
    ) -> Tokens:
        values_SN, signal_S, speed_N = cyclic
        cycles_N = np.cumsum(speed_N) / common_rate_hz(stretch.rate_hz, self.rate_hz)
        found_SRI = order_lines(values_SN, cycles_N, self.order_width)
        tokens = np.zeros((len(values_SN), STRETCHES, len(HEADER) + BINS))
        tokens[..., len(HEADER) :] = found_SRI / 2.0
        level_S = _half_log(np.sqrt((values_SN**2).mean(-1)))
        _head(tokens, signal_S[:, None], level_S[:, None])
        tokens[..., HEADER.index("cycle")] = _half_log(speed_N.mean())
        tokens[..., 0] = 1.0
        tokens[..., 1 : 1 + STRETCHES] = np.eye(STRETCHES)
        seen = bool(found_SRI.any()) and lines.valid_LN.mean() >= 0.5
        flat_TD = tokens.reshape(-1, tokens.shape[-1])
        return Tokens(flat_TD, np.full(len(flat_TD), seen), np.full(len(flat_TD), stretch.end_s))

    def _time_s(self, stretch: Stretch, index_T: NDArray[np.intp]) -> Doubles:
        """Times of samples at the common rate, seconds after now."""
        start_s = stretch.end_s - (stretch.values_CN.shape[1] - 1) / stretch.rate_hz
        return np.asarray(start_s + index_T / common_rate_hz(stretch.rate_hz, self.rate_hz))

    def at_common_rate(self, values_CN: Doubles, stretch: Stretch) -> NDArray[np.float32]:
        """Signals of a stretch at the modality's common rate, low-passed alike whatever their own rate."""
        return resample(values_CN.astype(np.float32), stretch.rate_hz, self.rate_hz)

    def held(self, values_CN: NDArray[Any], stretch: Stretch, count: int) -> NDArray[Any]:
        """Flags or speeds for each of `count` resampled values, as late as `resample` is."""
        step = stretch.rate_hz / common_rate_hz(stretch.rate_hz, self.rate_hz)
        late = DELAY_SAMPLES * max(1.0, stretch.rate_hz / self.rate_hz)
        index = np.rint(np.arange(count) * step - late).astype(np.intp)
        return values_CN[..., np.clip(index, 0, values_CN.shape[-1] - 1)]


def _head(tokens: Doubles, signal: NDArray[np.intp], level: Doubles) -> None:
    tokens[..., HEADER.index("second_signal")] = signal == 1
    tokens[..., HEADER.index("third_signal")] = signal == 2
    tokens[..., HEADER.index("level")] = level


def _half_log(value: float | Doubles) -> Doubles:
    return np.asarray(np.log10(np.maximum(value, 1e-6)) / 2.0)
