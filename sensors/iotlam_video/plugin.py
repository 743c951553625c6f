"""The video modality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotlam.blocks.window import age_s, latest_by_sensor, one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_video.projection import ground_patches
from iotlam_video.synthetic import sample_pair
from iotlam_video.tubelets import FEATURES, encode_tubelets

MAX_TOKENS = 4096


class VideoModality:
    """Tubelet tokens of the latest two pictures of every camera of a site."""

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: one token per patch of 4 x 8 pixels that sees the ground within 120 m.

        The number of tokens depends on the calibrations alone.

        Args:
            frames: data uint8 (H, W, 3), RGB, at least 8 x 8; any number of cameras.

        Raises:
            BadInput: if there are no frames, a picture is too small, a calibration is missing or shows no
                ground, two pictures of a camera differ in size, or there are more than 4096 tokens.
        """
        pairs = latest_by_sensor(frames, 2, "video")
        places = [ground_patches(pair[0]) for pair in pairs]
        features, valid = zip(*map(encode_tubelets, pairs, places), strict=True)
        ages = [np.full(place.index_T.size, age_s(pair[0], frames)) for pair, place in zip(pairs, places, strict=True)]
        positions = [place.position_TX for place in places]
        return one_batch(self.token_spec(), *map(np.concatenate, (features, valid, ages, positions)))

    def token_spec(self) -> TokenSpec:
        """Tokens of width 16 (`tubelets.FEATURES`), with positions; 4096 serve over forty 48 x 64 cameras."""
        return TokenSpec("video", dim=len(FEATURES), max_tokens=MAX_TOKENS, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """Two pictures, a second apart, of a street with moving boxes."""
        return sample_pair(seed)
