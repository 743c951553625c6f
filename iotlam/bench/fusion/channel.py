"""The gate's arithmetic: its KL against closed form and Monte Carlo, under other units, and as a bound."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from iotlam.fusion import BottleneckGate, Whitening, gate_kl_nats

LAMBDAS = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


class Extreme(NamedTuple):
    """The worst value found, and over how many."""

    value: float
    tried: int


def closed_form_error() -> Extreme:
    """Largest |KL in float32 - KL of torch.distributions in float64|, nats, lambda .01 to .99, features -4 to 4."""
    lambda_NR, r_NR = torch.meshgrid(LAMBDAS.float(), torch.linspace(-4.0, 4.0, 81), indexing="ij")
    want_NR = kl_divergence(_posterior(lambda_NR.double(), r_NR.double()), _prior(lambda_NR.double()))
    return Extreme(float((gate_kl_nats(lambda_NR, r_NR) - want_NR).abs().max()), want_NR.numel())


def monte_carlo_errors(samples: int, seed: int = 0) -> list[float]:
    """Of 12 pairs of lambda and feature: |KL - its Monte Carlo estimate| in standard errors of the estimate."""
    draw = torch.Generator().manual_seed(seed)
    errors = []
    for value in (0.05, 0.3, 0.7, 0.95):
        for feature in (0.0, 0.8, 2.5):
            lambda_, r = torch.tensor(value, dtype=torch.float64), torch.tensor(feature, dtype=torch.float64)
            z_S = lambda_ * r + (1.0 - lambda_) * torch.randn(samples, generator=draw, dtype=torch.float64)
            ratio_S = _log_density(_posterior(lambda_, r), z_S) - _log_density(_prior(lambda_), z_S)
            error = float(ratio_S.mean() - gate_kl_nats(lambda_, r))
            errors.append(abs(error) / (float(ratio_S.std()) / math.sqrt(samples)))
    return errors


def rescaling_change(seed: int = 0) -> tuple[Extreme, float]:
    """Largest relative change of the mean bits when raw features change their unit and offset and are whitened anew.

    Returns:
        That of the gate; and that of the capacity in M2IB's reference code, which takes the features as they come,
        when they are multiplied by ten.
    """
    draw = torch.Generator().manual_seed(seed)
    raw_BTD = 2.0 + 3.0 * torch.randn(64, 32, 8, generator=draw)
    torch.manual_seed(seed)
    gate = BottleneckGate(8)
    torch.nn.init.normal_(gate.outer.weight)
    torch.nn.init.zeros_(gate.outer.bias)
    before = _mean_bits(gate, raw_BTD)
    changes = []
    for _ in range(20):
        scale_D = 10.0 ** (4.0 * torch.rand(8, generator=draw) - 1.0)  # 0.1 to 1000
        offset_D = 100.0 * torch.randn(8, generator=draw)
        changes.append(abs(_mean_bits(gate, raw_BTD * scale_D + offset_D) / before - 1.0))
    return Extreme(max(changes), len(changes)), _unwhitened_capacity(10.0 * raw_BTD) / _unwhitened_capacity(raw_BTD)


def bound_gaps() -> tuple[Extreme, float]:
    """Gap between E KL and I(Z; R) on a Gaussian channel, nats per dimension, for our prior and for IBA's N(0, 1).

    E KL is integrated over r ~ N(0, 1) by Gauss-Hermite quadrature, not read off the formula that is to be checked.

    Returns:
        The largest of ours over lambda .01 to .99; and IBA's at lambda = .5.
    """
    node_K, weight_K = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(40))
    weight_K = weight_K / weight_K.sum()
    mean_N = (gate_kl_nats(LAMBDAS[:, None], node_K) * weight_K).sum(1)
    exact_N = 0.5 * torch.log1p((LAMBDAS / (1.0 - LAMBDAS)).square())
    half_K = torch.full_like(node_K, 0.5)
    iba = (kl_divergence(_posterior(half_K, node_K), Normal(torch.zeros_like(half_K), 1.0)) * weight_K).sum()
    return Extreme(float((mean_N - exact_N).abs().max()), len(LAMBDAS)), float(iba - exact_N[49])


def _mean_bits(gate: BottleneckGate, raw_BTD: Tensor) -> float:
    whitening = Whitening(raw_BTD.shape[-1]).train()
    mask_BT = torch.ones(raw_BTD.shape[:2], dtype=torch.bool)
    return float(gate.eval()(whitening(raw_BTD, mask_BT), mask_BT).bits_BT.detach().mean())


def _unwhitened_capacity(raw_BTD: Tensor, lambda_: float = 0.5) -> float:
    """M2IB's: KL(N(lambda x, (1-lambda)^2) || N(0, 1)), nats, mean over elements."""
    variance = (1.0 - lambda_) ** 2
    return float(0.5 * ((lambda_ * raw_BTD).square() + variance - 1.0 - math.log(variance)).mean())


def _log_density(normal: Normal, z_S: Tensor) -> Tensor:
    log_S: Tensor = normal.log_prob(z_S)  # type: ignore[no-untyped-call]
    return log_S


def _posterior(lambda_: Tensor, r: Tensor) -> Normal:
    return Normal(lambda_ * r, (1.0 - lambda_).expand_as(r))


def _prior(lambda_: Tensor) -> Normal:
    return Normal(torch.zeros_like(lambda_), (lambda_.square() + (1.0 - lambda_).square()).sqrt())
