"""Whether an attribution means anything: tests that work on any model and any score per token.

A model is a function from batches of tokens, by modality, to scores (B, C) over C choices: of a BottleneckFusion with a
head, of an IotlamModel, of anything. An attribution is a score per token, by modality (B, T).
Shapes: B windows, T tokens, D token width, C choices, N fractions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iotlam.contracts import TokenBatch
from iotlam.fusion.bottleneck import BottleneckGate, Gated

Batches = Mapping[str, TokenBatch]
Scores = Mapping[str, Tensor]
Predict = Callable[[Batches], Tensor]
Attribute = Callable[[Batches], Scores]
M = TypeVar("M", bound=nn.Module)
Prune = Callable[[Batches], dict[str, TokenBatch]]

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)


class Curve(NamedTuple):
    """A model's answer as a growing share of its tokens goes, or comes.

    Attributes:
        fraction_N: share of the valid tokens that are gone (deletion) or back (insertion).
        value_N: mean probability of the choice made on the whole window, or accuracy after retraining.
    """

    fraction_N: NDArray[np.float64]
    value_N: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids; a good attribution deletes to a small and inserts to a large one."""
        return float(np.trapezoid(self.value_N, self.fraction_N))


def remove(batches: Batches, chosen: Scores) -> dict[str, TokenBatch]:
    """The batches with the chosen tokens (by modality, bool (B, T)) masked, as if never measured."""
    return {
        name: TokenBatch(b.tokens_BTD, b.mask_BT & ~chosen[name], b.time_BT, b.modality, b.position_BTX)
        for name, b in batches.items()
    }


def replace_by_noise(batches: Batches, chosen: Scores, seed: int = 0) -> dict[str, TokenBatch]:
    """The batches with the chosen tokens drawn anew, Gaussian with each dimension's mean and variance in the batch."""
    draw = torch.Generator().manual_seed(seed)
    noisy = {}
    for name, b in batches.items():
        valid_ND = b.tokens_BTD[b.mask_BT]
        std_D, mean_D = torch.std_mean(valid_ND, dim=0, correction=0) if len(valid_ND) else (torch.zeros(()),) * 2
        noise_BTD = mean_D + std_D * torch.randn(b.tokens_BTD.shape, generator=draw)
        tokens_BTD = torch.where(chosen[name][..., None], noise_BTD, b.tokens_BTD)
        noisy[name] = TokenBatch(tokens_BTD, b.mask_BT, b.time_BT, b.modality, b.position_BTX)
    return noisy


def top_fraction(batches: Batches, scores: Scores, fraction: float, largest: bool = True) -> dict[str, Tensor]:
    """The `fraction` of each window's valid tokens with the highest (or lowest) scores, over all its modalities.

    Returns:
        By modality, bool (B, T).
    """
    names = list(batches)
    mask_BN = torch.cat([batches[name].mask_BT for name in names], dim=1)
    score_BN = torch.cat([scores[name] for name in names], dim=1).double()
    score_BN = (score_BN if largest else -score_BN).masked_fill(~mask_BN, -torch.inf)
    rank_BN = score_BN.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen_BN = (rank_BN < (fraction * mask_BN.sum(1, keepdim=True)).round()) & mask_BN
    return dict(zip(names, torch.split(chosen_BN, [batches[name].mask_BT.shape[1] for name in names], 1), strict=True))


@torch.no_grad()
def deletion(predict: Predict, batches: Batches, scores: Scores, fractions: Sequence[float] = FRACTIONS) -> Curve:
    """Mask the tokens with the highest scores first (MoRF; Samek et al., 2017): the sooner it falls, the better."""
    return _curve(predict, batches, fractions, lambda share: top_fraction(batches, scores, share))


@torch.no_grad()
def insertion(predict: Predict, batches: Batches, scores: Scores, fractions: Sequence[float] = FRACTIONS) -> Curve:
    """Bring the tokens with the highest scores back first, from nothing: the sooner it rises, the better."""
    return _curve(predict, batches, fractions, lambda share: top_fraction(batches, scores, 1.0 - share, False))


def _curve(predict: Predict, batches: Batches, fractions: Sequence[float], choose: Callable[[float], Scores]) -> Curve:
    choice_B1 = predict(batches).argmax(-1, keepdim=True)
    value = [
        float(predict(remove(batches, choose(share))).softmax(-1).gather(-1, choice_B1).mean()) for share in fractions
    ]
    return Curve(np.asarray(fractions, np.float64), np.asarray(value, np.float64))


def remove_and_retrain(
    train: Callable[[Prune], float], attribute: Attribute, fractions: Sequence[float] = (0.0, 0.3, 0.6, 0.9)
) -> Curve:
    """ROAR (Hooker et al., 2019): what a model trained without the tokens that were called important still can do.

    Deletion shows a model inputs that it has never seen; a fall may only mean that they are strange. Retraining does
    away with that. Compare with `random_scores`: an attribution that does not make it worse knows nothing.

    Args:
        train: trains a fresh model, passing every batch of training and test through the function that it is given,
            and returns the accuracy on the test set.
        attribute: scores by modality (B, T).
        fractions: shares of the tokens to remove.
    """

    def without(share: float) -> Prune:
        return lambda batches: remove(batches, top_fraction(batches, attribute(batches), share))

    return Curve(np.asarray(fractions, np.float64), np.asarray([train(without(share)) for share in fractions]))


def random_scores(batches: Batches, seed: int = 0) -> dict[str, Tensor]:
    """The attribution that knows nothing: uniform numbers."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(batch.mask_BT.shape, generator=draw) for name, batch in batches.items()}


def randomisation_correlation(
    model: M, attribute: Callable[[M, Batches], Scores], batches: Batches, seed: int = 0
) -> float:
    """Spearman correlation of a model's scores with those after all its parameters are randomised, -1 to 1.

    Near 0 is right: an attribution that survives the loss of everything learnt shows the input, not the model
    (Adebayo et al., 2018). Buffers, the moments of the whitening among them, stay.
    """
    before = attribute(model, batches)
    after = attribute(randomised(model, seed), batches)
    valid = {name: batch.mask_BT for name, batch in batches.items()}
    flat = [torch.cat([scores[n][valid[n]] for n in batches]).detach().double() for scores in (before, after)]
    return spearman(flat[0].numpy(), flat[1].numpy())


def randomised(model: M, seed: int = 0) -> M:
    """A copy of a model with every parameter drawn from a Gaussian of the mean and variance that its values have."""
    twin = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in twin.parameters():
            std, mean = torch.std_mean(parameter, correction=0)
            parameter.copy_(mean + std * torch.randn(parameter.shape, generator=draw))
    return twin


def spearman(a_N: NDArray[np.float64], b_N: NDArray[np.float64]) -> float:
    """Rank correlation, ties at their mean rank; 0 where one of the two is constant."""
    rank_a_N, rank_b_N = _ranks(a_N), _ranks(b_N)
    if not (rank_a_N.std() and rank_b_N.std()):
        return 0.0
    return float(np.corrcoef(rank_a_N, rank_b_N)[0, 1])


@torch.no_grad()
def zero_bit_change(
    model: nn.Module, predict: Predict, batches: Batches, threshold_bits: float = 0.01, seed: int = 0
) -> float:
    """Relative change of the output, |after - before| / |before|, when tokens with about no bits become noise.

    IBA's promise, that what scores zero is not needed (Schulz et al., 2020), as a test: behind the gates of `model`,
    each token below `threshold_bits` is replaced by unit noise, which is what a shut gate sends. The norm is Euclidean,
    over the whole batch. For noise in front of the gates, compare `predict` before and after `replace_by_noise`.
    """
    draw = torch.Generator().manual_seed(seed)

    def drown(_: nn.Module, inputs: tuple[Tensor, Tensor], gated: Gated) -> Gated:
        silent_BT1 = ((gated.bits_BT < threshold_bits) & inputs[1])[..., None]
        noise_BTD = torch.randn(gated.z_BTD.shape, generator=draw)
        return gated._replace(z_BTD=torch.where(silent_BT1, noise_BTD, gated.z_BTD))

    before = predict(batches)
    with ExitStack() as stack:
        for part in model.modules():
            if isinstance(part, BottleneckGate):
                stack.enter_context(part.register_forward_hook(drown))
        after = predict(batches)
    return float((after - before).norm() / before.norm())


def auroc(score_N: NDArray[np.float64], truth_N: NDArray[np.bool_]) -> float:
    """Chance that a true item scores above a false one, ties counted half; NaN without both kinds."""
    positives, negatives = int(truth_N.sum()), int((~truth_N).sum())
    if not positives or not negatives:
        return float("nan")
    above = _ranks(score_N)[truth_N].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def _ranks(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, equal values at the mean of theirs."""
    _, index_N, count_U = np.unique(values_N, return_inverse=True, return_counts=True)
    last_U = np.cumsum(count_U)
    ranks_N: NDArray[np.float64] = (last_U - (count_U - 1) / 2)[index_N]
    return ranks_N
