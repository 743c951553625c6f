"""Frames to tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec
from iotlam_newsensor.encoder import DIM, PatchEncoder
from iotlam_newsensor.patches import PATCH, cut_patches, newest_frames
from iotlam_newsensor.synthetic import sample_frame

MAX_TOKENS = 256


class NewSensorModality:
    """Tokens of the newest reading of every sensor, one for each patch of 16 samples."""

    def __init__(self) -> None:
        self.encoder = PatchEncoder().eval()

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window; incomplete patches at the beginning of a reading are left out.

        Args:
            frames: data float32 (samples, 1), degrees Celsius.

        Raises:
            BadInput: if there are fewer than 16 or too many samples.
        """
        cuts = [cut_patches(frame, frames) for frame in newest_frames(frames)]
        count = sum(len(cut.time_T) for cut in cuts)
        if not 0 < count <= MAX_TOKENS:
            raise BadInput(
                "Window of modality 'newsensor'",
                expected=f"{PATCH} to {MAX_TOKENS * PATCH} samples in all",
                got=f"{count} patches of {PATCH}",
                fix="give longer, shorter or fewer readings",
            )
        with torch.no_grad():
            tokens_TD = torch.cat([self.encoder(cut.values_TP, cut.valid_TP) for cut in cuts])
        return TokenBatch(
            tokens_BTD=tokens_TD[None],
            mask_BT=torch.cat([cut.valid_TP.any(1) for cut in cuts])[None],
            time_BT=torch.from_numpy(np.concatenate([cut.time_T for cut in cuts]))[None],
            modality="newsensor",
        )

    def token_spec(self) -> TokenSpec:
        """Tokens of width 32, without positions."""
        return TokenSpec("newsensor", dim=DIM, max_tokens=MAX_TOKENS)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """A slow wave with noise, 256 samples."""
        return [sample_frame(seed)]
