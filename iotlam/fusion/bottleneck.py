"""The information bottleneck: noise that a token must be worth to be let through, counted in bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

ALPHA_START = 5.0  # sigmoid(5) = 0.993: the gate starts open (IBA)
MAX_LAMBDA = 1.0 - 1e-4  # keeps the capacity finite: 13.3 bits per dimension


class Gated(NamedTuple):
    """What leaves a gate; all of it zero for masked tokens.

    Attributes:
        z_BTD: the bottlenecked tokens.
        bits_BT: bits that each token carries.
        signal_BT: share of z's variance that is signal, lambda^2 / s^2, averaged over the dimensions; 0 to 1.
    """

    z_BTD: Tensor
    bits_BT: Tensor
    signal_BT: Tensor


def gate_kl_nats(lambda_: Tensor, r: Tensor) -> Tensor:
    """KL( N(lambda r, (1-lambda)^2) || N(0, s^2) ) in nats, elementwise, with s^2 = lambda^2 + (1-lambda)^2.

    IBA (Schulz et al., 2020, eq. 5) and M2IB (Wang et al., 2023) take N(0, 1) as the prior; N(0, s^2) is
    the exact marginal of z for whitened Gaussian r. Over r of unit variance the expectation is therefore
    I(Z; R) itself, 1/2 log(1 + lambda^2 / (1-lambda)^2), which is the value at r = 1.
    """
    noise_var = (1.0 - lambda_).square()
    prior_var = lambda_.square() + noise_var
    return 0.5 * ((lambda_.square() * r.square() + noise_var) / prior_var - 1.0 + torch.log(prior_var / noise_var))


def pass_through(white_BTD: Tensor, lambda_BTD: Tensor, mask_BT: Tensor, noisy: bool) -> Gated:
    """Send whitened tokens through the channel z = lambda r + (1 - lambda) eps; `noisy` False gives its mean."""
    bits_BT = gate_kl_nats(lambda_BTD, white_BTD).sum(-1) / math.log(2.0)
    z_BTD = lambda_BTD * white_BTD
    if noisy:
        z_BTD = z_BTD + (1.0 - lambda_BTD) * torch.randn_like(white_BTD)
    signal_BTD = lambda_BTD.square() / (lambda_BTD.square() + (1.0 - lambda_BTD).square())
    hidden_BT = ~mask_BT
    return Gated(
        z_BTD.masked_fill(hidden_BT[..., None], 0.0),
        bits_BT.masked_fill(hidden_BT, 0.0),
        signal_BTD.mean(-1).masked_fill(hidden_BT, 0.0),
    )


class BottleneckGate(nn.Module):
    """z = lambda r + (1 - lambda) eps, lambda = sigmoid(readout(r)) per token and dimension, eps ~ N(0, 1).

    The readout predicts alpha from the token in one pass (the Readout Bottleneck of IBA). The bits are
    conditional on lambda: what the choice of lambda itself gives away is not counted.
    In eval mode z is its mean, lambda r, so that decisions are deterministic.
    """

    def __init__(self, dim: int, hidden: int = 16) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, dim)
        nn.init.normal_(self.outer.weight, std=0.01)
        nn.init.constant_(self.outer.bias, ALPHA_START)

    def openness(self, white_BTD: Tensor) -> Tensor:
        """Lambda (B, T, D), 0 (shut) to 1 - 1e-4 (open)."""
        alpha_BTD: Tensor = self.outer(nn.functional.gelu(self.inner(white_BTD)))
        return torch.sigmoid(alpha_BTD).clamp_max(MAX_LAMBDA)

    def forward(self, white_BTD: Tensor, mask_BT: Tensor) -> Gated:
        """Bottleneck whitened tokens; tokens with mask False become zero and carry zero bits."""
        return pass_through(white_BTD, self.openness(white_BTD), mask_BT, noisy=self.training)
