"""Tubelet tokens that also say what their surroundings make likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from iotlam.blocks.masked import CONTEXT, Grid, MaskedGridEncoder
from iotlam.blocks.weights import trained
from iotlam.blocks.window import latest_by_sensor
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_video.context.synthetic import sample_street
from iotlam_video.plugin import MAX_TOKENS, VideoModality
from iotlam_video.projection import PATCH_COLUMNS, PATCH_ROWS, GroundPatches, ground_patches
from iotlam_video.tubelets import FEATURES

NAME = "video_context"
WEIGHTS = Path(__file__).parent / "encoder.safetensors"
# Standard deviations over the patches of 200 samples; of what is given, none is needed.
SCALE_F = (0.64, 0.094, 0.067, 0.04, 0.032, 0.058, 0.18, 0.05, 0.038, 0.39, 0.38, 0.18, 0.078, 0.079, 1.0, 1.0)
GIVEN = (FEATURES.index("has_pair"), FEATURES.index("log_range"))


class VideoContextModality:
    """The tokens of `VideoModality`, each followed by 16 numbers from a network over its camera's patches.

    Args:
        weights: other weights of the network, as `iotlam pretrain` writes them.

    Raises:
        BadInput: if the weights are not there, or not of this network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._fixed = VideoModality()
        self.encoder = trained(lambda: MaskedGridEncoder(self._front, SCALE_F, GIVEN), weights or WEIGHTS)

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: tokens of width 32, the first 16 those of `VideoModality`.

        Args:
            frames: data uint8 (H, W, 3), RGB, at least 8 x 8; any number of cameras.

        Raises:
            BadInput: as `VideoModality.tokenize`.
        """
        batch = self._fixed.tokenize(frames)
        parts = [self.encoder.context(grid).flatten(0, 1)[place.index_T] for grid, place in _grids(batch, frames)]
        context_TC = torch.cat(parts) * batch.mask_BT[0, :, None]
        return replace(batch, tokens_BTD=torch.cat([batch.tokens_BTD, context_TC[None]], -1), modality=NAME)

    def token_spec(self) -> TokenSpec:
        """Tokens of width 32, with positions; as many as `VideoModality` has."""
        return TokenSpec(NAME, dim=len(FEATURES) + CONTEXT, max_tokens=MAX_TOKENS, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """Two pictures of a street with traffic, from a camera on a mast."""
        return sample_street(seed)

    def _front(self, frames: Sequence[SensorFrame]) -> list[Grid]:
        return [grid for grid, _ in _grids(self._fixed.tokenize(frames), frames)]


def _grids(batch: TokenBatch, frames: Sequence[SensorFrame]) -> Iterator[tuple[Grid, GroundPatches]]:
    """The tokens of each camera at their places in its picture."""
    tokens_TD, mask_T, start = batch.tokens_BTD[0].numpy(), batch.mask_BT[0].numpy(), 0
    for newest, *_ in latest_by_sensor(frames, 1, NAME):
        place = ground_patches(newest)
        rows, columns = newest.data.shape[0] // PATCH_ROWS, newest.data.shape[1] // PATCH_COLUMNS
        values_PF, seen_P = np.zeros((rows * columns, len(FEATURES)), np.float32), np.zeros(rows * columns, np.bool_)
        part = slice(start, start := start + place.index_T.size)
        values_PF[place.index_T], seen_P[place.index_T] = tokens_TD[part], mask_T[part]
        yield Grid(values_PF.reshape(rows, columns, -1), seen_P.reshape(rows, columns)), place
