"""The learnt part: a patch and the one before it become a token, from which the next patch is predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iotlam.contracts import SensorFrame
from iotlam_newsensor.patches import PATCH, cut_patches

DIM = 32


class PatchEncoder(nn.Module):
    """Two layers over (previous patch, patch), values and validity; no token sees what comes after its patch."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # the same weights every time, and nobody else's random numbers
            torch.manual_seed(0)
            self.inner = nn.Linear(4 * PATCH, 64)
            self.outer = nn.Linear(64, DIM)
            self.predict = nn.Linear(DIM, PATCH)

    def forward(self, values_TP: Tensor, valid_TP: Tensor) -> Tensor:
        """Tokens (T, D) of T patches in order of time."""
        patch_TC = torch.cat([values_TP, valid_TP.float()], dim=1)
        previous_TC = torch.cat([torch.zeros_like(patch_TC[:1]), patch_TC[:-1]])
        tokens_TD: Tensor = self.outer(nn.functional.gelu(self.inner(torch.cat([previous_TC, patch_TC], dim=1))))
        return tokens_TD

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Mean square error of each patch predicted from the token before it, in scaled units.

        Raises:
            ValueError: if no reading has two patches.
        """
        errors = []
        for frames in windows:
            for frame in frames:
                values_TP, valid_TP, _ = cut_patches(frame, frames)
                predicted_TP = self.predict(self(values_TP, valid_TP))[:-1]
                errors.append((predicted_TP - values_TP[1:])[valid_TP[1:]].square())
        error_N = torch.cat(errors)
        if len(error_N) == 0:
            raise ValueError("no patch to predict")
        return error_N.mean()
