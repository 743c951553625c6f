"""Whitening: features to zero mean and unit variance, so that bits mean the same for every modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_STD = 0.01  # as IBA (Schulz et al., ICLR 2020): a dead feature must not be blown up
LIMIT = 10.0  # an outlier beyond ten deviations says no more than ten


class Whitening(nn.Module):
    """Per-dimension running moments, merged batch by batch (Chan, Golub and LeVeque, 1979).

    The moments are buffers: saved with the model, learned in train mode only, until `freeze()`.
    """

    count: Tensor
    mean_D: Tensor
    var_D: Tensor
    frozen: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("var_D", torch.ones(dim))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    def freeze(self) -> None:
        """Keep the moments as they are from now on, in train mode too."""
        self.frozen.fill_(True)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Whitened tokens (B, T, D), clamped to +-10; exactly zero where `mask_BT` is False."""
        if self.training and not bool(self.frozen):
            self.merge(tokens_BTD[mask_BT])
        std_D = self.var_D.sqrt().clamp_min(MIN_STD)
        white_BTD = ((tokens_BTD - self.mean_D) / std_D).clamp(-LIMIT, LIMIT)
        # masked_fill, not a product: padding may hold anything, NaN included.
        return white_BTD.masked_fill(~mask_BT[..., None], 0.0)

    @torch.no_grad()
    def merge(self, valid_ND: Tensor) -> None:
        """Take N more tokens into the moments, frozen or not."""
        new = valid_ND.shape[0]
        if new == 0:
            return
        seen = int(self.count)
        total = seen + new
        var_D, mean_D = torch.var_mean(valid_ND, dim=0, correction=0)
        delta_D = mean_D - self.mean_D
        shift_D = delta_D.square() * (seen * new / total**2)
        self.var_D.copy_(self.var_D * (seen / total) + var_D * (new / total) + shift_D)
        self.mean_D.add_(delta_D * (new / total))
        self.count.fill_(total)
