"""The LiDAR modality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotlam.blocks.window import one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_lidar.cloud import merge_sweeps
from iotlam_lidar.pillars import CELLS, FEATURES, cell_centres, encode_pillars
from iotlam_lidar.synthetic import sample_sweep


class LidarModality:
    """Pillar tokens of the latest sweep of every LiDAR of a site."""

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: always 9216 tokens, one per 2.5 m cell within +-120 m of the site's origin.

        Args:
            frames: data float32 (N, 4): x, y, z in metres, intensity 0 to 1.

        Raises:
            BadInput: if there are no frames or a pose is missing.
        """
        cloud = merge_sweeps(frames)
        spec = self.token_spec()
        if cloud is None:
            nothing_TD, everywhere_T = np.zeros((spec.max_tokens, spec.dim)), np.zeros(spec.max_tokens)
            return one_batch(spec, nothing_TD, everywhere_T > 0, everywhere_T, cell_centres())
        pillars = encode_pillars(cloud)
        valid_T = np.ones(spec.max_tokens, dtype=np.bool_)
        return one_batch(spec, pillars.features_TD, valid_T, -pillars.delay_T, pillars.position_TX)

    def token_spec(self) -> TokenSpec:
        """9216 tokens of width 11 (`pillars.FEATURES`), with positions."""
        return TokenSpec("lidar", dim=len(FEATURES), max_tokens=CELLS**2, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One sweep of a street with a few parked boxes."""
        return [sample_sweep(seed)]
