"""The paper's fusion term: how likely one modality is, given the features of another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-3


class CrossModalLikelihood(nn.Module):
    """-log q(target | source) with a Gaussian q of learned mean and variance, in nats per place.

    The Barber-Agakov bound I(Z_m; R_m') >= H(R_m') + E log q(r_m' | z_m) makes its minimum the features
    of one modality that explain another (the paper's section IV-A). The variance is softplus plus a
    floor: a bounded log-variance biases the estimate. The target is not trained through, otherwise a
    constant would be the easiest thing to predict.
    """

    def __init__(self, dim: int, hidden: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, 2 * dim))

    def forward(self, source_BKD: Tensor, target_BKD: Tensor) -> Tensor:
        """Negative log-likelihood (B, K), summed over D, nats; below zero for a confident, right q."""
        mean_BKD, spread_BKD = self.net(source_BKD).chunk(2, dim=-1)
        variance_BKD = nn.functional.softplus(spread_BKD) + VARIANCE_FLOOR
        error_BKD = (target_BKD.detach() - mean_BKD).square()
        nats_BKD = 0.5 * (error_BKD / variance_BKD + torch.log(2.0 * math.pi * variance_BKD))
        nats_BK: Tensor = nats_BKD.sum(-1)
        return nats_BK
