"""The spectrum modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.weights import trained
from iotlam.blocks.window import age_s, latest_by_sensor, one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_spectrum.encoder import WIDTH, SpectrumEncoder
from iotlam_spectrum.patches import FEATURES, cut_patches
from iotlam_spectrum.synthetic import sample_bursts

MAX_TOKENS = 1024
WEIGHTS = Path(__file__).parent / "encoder.safetensors"


class SpectrumModality:
    """Spectrogram tokens of the latest window of every receiver of a site."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Load the learnt part of the tokens.

        Args:
            weights: of the encoder, as `iotlam pretrain` writes them.

        Raises:
            BadInput: if they are not there, or of another encoder.
        """
        self.encoder = trained(SpectrumEncoder, weights)

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: up to 32 time slots x 8 bands, 256 tokens, per receiver.

        Tokens carry no positions: a receiver hears a transmitter without seeing where it is, and its own place is
        not the transmitter's.

        Args:
            frames: data complex64 (N,), of any length N.

        Raises:
            BadInput: if there are no frames, a calibration is missing, or there are more than 1024 tokens.
        """
        parts = [self._encode(frame, age_s(frame, frames)) for (frame,) in latest_by_sensor(frames, 1, "spectrum")]
        tokens, valid, ages = map(np.concatenate, zip(*parts, strict=True))
        return one_batch(self.token_spec(), tokens, valid, ages)

    def token_spec(self) -> TokenSpec:
        """Tokens of width 73: 9 measured (`patches.FEATURES`) and 64 learnt; 1024 serve at least four receivers."""
        return TokenSpec("spectrum", dim=len(FEATURES) + WIDTH, max_tokens=MAX_TOKENS)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One window of 4096 samples with a few bursts of data in noise."""
        return [sample_bursts(seed)]

    def _encode(self, frame: SensorFrame, age: float) -> tuple[NDArray[Any], ...]:
        patches = cut_patches(frame)
        features_TF = np.where(patches.valid_T[:, None], patches.features_TF, 0.0)
        tokens_TD = np.concatenate([features_TF, self.encoder.encode(patches).numpy()], axis=1)
        return tokens_TD, patches.valid_T, age - patches.delay_T
