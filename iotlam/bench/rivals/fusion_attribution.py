"""Other ways to say which tokens mattered: integrated gradients, M2IB, NIB; attention and chance lie elsewhere.

Each explains an ordinary network, and gives a score per token by modality (B, T). The path methods start at the mean of
each feature, which is zero after whitening. Shapes: B windows, T tokens, D token width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from iotlam.contracts import TokenBatch

Batches = Mapping[str, TokenBatch]
Encode = Callable[[Batches], Tensor]


def integrated_gradients(value: Encode, batches: Batches, steps: int = 16) -> dict[str, Tensor]:
    """Sundararajan et al. (2017): (x - mean) times the mean gradient of `value` (B,) on the way from mean to x."""
    mean = {name: b.tokens_BTD[b.mask_BT].mean(0) for name, b in batches.items()}
    away = {name: b.tokens_BTD - mean[name] for name, b in batches.items()}
    score = {name: torch.zeros(b.mask_BT.shape) for name, b in batches.items()}
    for step in range(1, steps + 1):
        x = {name: (mean[name] + away[name] * (step / steps)).requires_grad_() for name in batches}
        total = value({name: _with(b, x[name]) for name, b in batches.items()}).sum()
        for name, gradient_BTD in zip(x, torch.autograd.grad(total, list(x.values())), strict=True):
            score[name] += (gradient_BTD * away[name]).sum(-1) / steps
    return score


def nib(encode: Encode, batches: Batches, steps: int = 10) -> dict[str, Tensor]:
    """NIB (ICLR 2025, LMBTough/NIB): the path gradients of the cosine between a modality's and the others' latents."""
    score: dict[str, Tensor] = {}
    for name, target_BD in _targets(encode, batches).items():

        def cosine(own: Batches, target_BD: Tensor = target_BD) -> Tensor:
            return functional.cosine_similarity(encode(own), target_BD)

        score |= integrated_gradients(cosine, {name: batches[name]}, steps)
    return score


def m2ib(
    encode: Encode, batches: Batches, beta: float = 0.1, steps: int = 10, draws: int = 10, seed: int = 0
) -> dict[str, Tensor]:
    """M2IB (Wang et al., 2023): nats that the cosine between a modality's and the others' latents is worth, per token.

    lambda = sigmoid(alpha) per element, alpha by Adam at rate 1 from 5, prior N(0, 1), as its reference code; but on
    whitened features, since on raw ones its capacity depends on the unit that a sensor happens to have.
    """
    return {
        name: _m2ib_one(encode, batches[name], target_BD, beta, steps, draws, seed)
        for name, target_BD in _targets(encode, batches).items()
    }


def _m2ib_one(
    encode: Encode, batch: TokenBatch, target_BD: Tensor, beta: float, steps: int, draws: int, seed: int
) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    std_D, mean_D = torch.std_mean(batch.tokens_BTD[batch.mask_BT], dim=0, correction=0)
    white_BTD = (batch.tokens_BTD - mean_D) / std_D
    alpha_BTD = torch.full_like(white_BTD, 5.0, requires_grad=True)
    optimiser = torch.optim.Adam([alpha_BTD], lr=1.0)
    nats_BTD = torch.zeros(())
    for _ in range(steps):
        lambda_BTD = torch.sigmoid(alpha_BTD).clamp_max(1.0 - 1e-4)
        noise = (1.0 - lambda_BTD) * torch.randn(draws, *white_BTD.shape, generator=draw)
        z_NTD = ((lambda_BTD * white_BTD + noise) * std_D + mean_D).flatten(0, 1)
        latent_NC = encode({batch.modality: _with(_repeat(batch, draws), z_NTD)})
        fit = functional.cosine_similarity(latent_NC, target_BD.repeat(draws, 1)).view(draws, -1)
        variance_BTD = (1.0 - lambda_BTD).square()
        nats_BTD = 0.5 * ((lambda_BTD * white_BTD).square() + variance_BTD - 1.0 - variance_BTD.log())
        loss = beta * nats_BTD.flatten(1).mean(1) - fit.mean(0)
        (alpha_BTD.grad,) = torch.autograd.grad(loss.sum(), [alpha_BTD])
        optimiser.step()
    return nats_BTD.detach().sum(-1)


def _targets(encode: Encode, batches: Batches) -> dict[str, Tensor]:
    """Of each modality what it should agree with: the mean of the latents of the others."""
    with torch.no_grad():
        latent = {name: functional.normalize(encode({name: batch}), dim=-1) for name, batch in batches.items()}
    return {name: torch.stack([latent[other] for other in batches if other != name]).mean(0) for name in batches}


def _repeat(batch: TokenBatch, times: int) -> TokenBatch:
    parts = (batch.tokens_BTD, batch.mask_BT, batch.time_BT)
    tokens_BTD, mask_BT, time_BT = (t.repeat(times, *[1] * (t.ndim - 1)) for t in parts)
    return TokenBatch(tokens_BTD, mask_BT, time_BT, batch.modality)


def _with(batch: TokenBatch, tokens_BTD: Tensor) -> TokenBatch:
    return TokenBatch(tokens_BTD, batch.mask_BT, batch.time_BT, batch.modality)
