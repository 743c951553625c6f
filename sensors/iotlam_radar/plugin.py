"""The radar modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.window import age_s, latest_by_sensor, one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_radar.features import FEATURES, encode_ranges, token_places
from iotlam_radar.fmcw import range_doppler
from iotlam_radar.synthetic import sample_cube

MAX_TOKENS = 4096


class RadarModality:
    """Range tokens of the latest cube of every radar of a site."""

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: one token per two range bins up to 160 m, per radar, nearest first.

        The number of tokens depends on the radars' settings alone.

        Args:
            frames: data complex64 (receivers, chirps, samples), at least 1 x 4 x 8.

        Raises:
            BadInput: if there are no frames, a cube is too small, a calibration is missing or not
                positive, or there are more than 4096 tokens.
        """
        parts = [self._encode(cube, age_s(cube, frames)) for (cube,) in latest_by_sensor(frames, 1, "radar")]
        features, valid, ages, positions = map(np.concatenate, zip(*parts, strict=True))
        return one_batch(self.token_spec(), features, valid, ages, positions)

    def token_spec(self) -> TokenSpec:
        """Tokens of width 14 (`features.FEATURES`), with positions; 4096 serve over fifty radars of 1 m bins."""
        return TokenSpec("radar", dim=len(FEATURES), max_tokens=MAX_TOKENS, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One cube of a street with a few moving targets and clutter."""
        return [sample_cube(seed)]

    def _encode(self, cube: SensorFrame, age: float) -> tuple[NDArray[Any], ...]:
        seen = range_doppler(cube)
        features_TD = encode_ranges(seen)
        count = len(features_TD)
        return features_TD, np.full(count, seen.present), np.full(count, age), token_places(cube, seen)
