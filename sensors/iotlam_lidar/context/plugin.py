"""Pillar tokens that also say what their surroundings make likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from iotlam.blocks.masked import CONTEXT, Grid, MaskedGridEncoder
from iotlam.blocks.weights import trained
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_lidar.context.synthetic import sample_street
from iotlam_lidar.pillars import CELL_MM, CELLS, FEATURES, cell_centres
from iotlam_lidar.plugin import LidarModality

NAME = "lidar_context"
WEIGHTS = Path(__file__).parent / "encoder.safetensors"
# Standard deviations over the cells of 256 samples; the last two are the centroid's offset from the cell's middle.
SCALE_F = (0.21, 0.12, 0.16, 0.36, 0.24, 0.19, 0.083, 0.066, 0.065, 0.11, 0.14, 0.059, 0.059)


class LidarContextModality:
    """The tokens of `LidarModality`, each followed by 16 numbers from a network over the grid.

    Args:
        weights: other weights of the network, as `iotlam pretrain` writes them.

    Raises:
        BadInput: if the weights are not there, or not of this network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._fixed = LidarModality()
        self.encoder = trained(lambda: MaskedGridEncoder(self._front, SCALE_F), weights or WEIGHTS)

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: always 9216 tokens of width 27, the first 11 those of `LidarModality`.

        Args:
            frames: data float32 (N, 4): x, y, z in metres, intensity 0 to 1.

        Raises:
            BadInput: if there are no frames or a pose is missing.
        """
        batch = self._fixed.tokenize(frames)
        context_TC = self.encoder.context(_grid(batch)).flatten(0, 1) * batch.mask_BT[0, :, None]
        tokens_BTD = torch.cat([batch.tokens_BTD, context_TC[None]], -1)
        return replace(batch, tokens_BTD=tokens_BTD, modality=NAME)

    def token_spec(self) -> TokenSpec:
        """9216 tokens of width 27, with positions."""
        return TokenSpec(NAME, dim=len(FEATURES) + CONTEXT, max_tokens=CELLS**2, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One sweep of a street between houses, from a pole or a vehicle."""
        return [sample_street(seed)]

    def _front(self, frames: Sequence[SensorFrame]) -> list[Grid]:
        return [_grid(self._fixed.tokenize(frames))]


def _grid(batch: TokenBatch) -> Grid:
    """Pillars and their centroids' offsets as a grid, rows from the south."""
    assert batch.position_BTX is not None
    offset_TX = (batch.position_BTX[0].numpy() - cell_centres()) / (CELL_MM / 1e3)
    values_TF = np.concatenate([batch.tokens_BTD[0].numpy(), offset_TX.astype(np.float32)], axis=1)
    return Grid(values_TF.reshape(CELLS, CELLS, -1), batch.mask_BT[0].numpy().reshape(CELLS, CELLS))
