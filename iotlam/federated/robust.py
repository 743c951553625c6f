"""Weights that attackers cannot bend, found from how products of unequal rank lie to each other.

Rules of the literature compare vectors of equal shape. Updates of unequal rank are compared as the matrices that they
add: distances between them follow from inner products, which their factors give without forming them. Each rule
returns a weight for each device. Only modes that use nothing but the products are safe with them: factors can be huge
while their product is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from iotlam.federated.factors import Factors, total

STEPS, SETTLED = 100, 1e-9
MANY = 512
"""Factors of all devices that are multiplied with all at a time."""

NEAR = 1e-6
"""Share of the changes' size below which two are the same: rounding of inner products is about the root of that."""


def gram(changes: Sequence[Mapping[str, Factors]], others: Sequence[Tensor] | None = None) -> Tensor:
    """Inner products of the devices' changes, summed over layers.

    Args:
        changes: of each device, by layer; the devices' ranks may differ, the layers of one are of one rank.
        others: all that each changed besides, as one vector; None where nothing.

    Returns:
        Symmetric, devices x devices, double precision.
    """
    ranks_N = torch.tensor([next(iter(change.values())).rank for change in changes])
    device_NR = torch.repeat_interleave(torch.eye(len(changes), dtype=torch.float64), ranks_N, 1)
    products_NN = torch.zeros(len(changes), len(changes), dtype=torch.float64)
    for layer in changes[0]:
        together = total([change[layer].double() for change in changes])
        for start in range(0, together.rank, MANY):  # of many devices not all at once
            columns = range(start, min(start + MANY, together.rank))
            some = together.columns(columns)
            inner_CR = (some.b_OR.T @ together.b_OR) * (some.a_RI @ together.a_RI.T)
            products_NN += device_NR[:, columns] @ inner_CR @ device_NR.T
    if others is not None:
        others_NX = torch.stack([one.double() for one in others])
        products_NN += others_NX @ others_NX.T
    return products_NN


def median(products_NN: Tensor, attackers: int) -> Tensor:
    """The geometric median (Weiszfeld's steps, as in RFA, Pillutla et al., 2022).

    It stands wherever less than half of the devices are moved to, however many `attackers` are named. Steps begin from
    the half and one that lie closest around one of them: from all of them they end far off, where one is huge.
    """
    half = len(products_NN) // 2 + 1
    near_NH = _apart(products_NN).sqrt().sort(1)
    middle = int(near_NH.values[:, :half].sum(1).argmin())
    share_N = torch.zeros_like(products_NN[0])
    share_N[near_NH.indices[middle, :half]] = 1 / half
    scale = products_NN.diagonal().clamp_min(0).median().sqrt()  # of a mean, attackers make what they like
    for _ in range(STEPS):
        closer_N = 1 / _distances(products_NN, share_N).clamp_min(float(scale) * NEAR + 1e-300)
        new_N = closer_N / closer_N.sum()
        settled = float((new_N - share_N).abs().max()) < SETTLED
        share_N = new_N
        if settled:
            break
    return share_N


def trimmed_mean(products_NN: Tensor, attackers: int) -> Tensor:
    """The mean without the `attackers` that are farthest from the geometric median."""
    distance_N = _distances(products_NN, median(products_NN, attackers))
    return _only(distance_N, len(products_NN) - attackers)


def multi_krum(products_NN: Tensor, attackers: int) -> Tensor:
    """The mean of the n - f that have the nearest n - f - 2 others (Blanchard et al., NeurIPS 2017).

    Where n is less than `least`, f that agree among themselves would be the nearest.
    """
    count = len(products_NN)
    near = count - attackers - 2
    score_N = _apart(products_NN).sort(1).values[:, 1 : near + 1].sum(1)  # the first is the device itself
    return _only(score_N, count - attackers)


Rule = Callable[[Tensor, int], Tensor]

RULES: Mapping[str, Rule] = {"median": median, "trimmed_mean": trimmed_mean, "multi_krum": multi_krum}
"""By name; each takes inner products and how many attackers to stand, and returns shares."""

LEAVING_OUT = ("trimmed_mean", "multi_krum")
"""Rules that leave out as many as attackers are named."""


def least(rule: str, attackers: int) -> int:
    """Answers without which a rule cannot stand that many attackers among them.

    A median or a trimmed mean needs more sound answers than others; Krum two more besides (Blanchard et al., 2017).
    """
    return 2 * attackers + (3 if rule == "multi_krum" else 1)


def _apart(products_NN: Tensor) -> Tensor:
    """Squared distances of changes from each other."""
    square_N = products_NN.diagonal()
    return (square_N[:, None] + square_N[None] - 2 * products_NN).clamp_min(0)


def _distances(products_NN: Tensor, share_N: Tensor) -> Tensor:
    """Of each change from the weighted mean of all."""
    with_mean_N = products_NN @ share_N
    return (products_NN.diagonal() - 2 * with_mean_N + share_N @ with_mean_N).clamp_min(0).sqrt()


def _only(score_N: Tensor, count: int) -> Tensor:
    """Equal shares of the `count` devices with the least score."""
    share_N = torch.zeros_like(score_N)
    share_N[score_N.sort(stable=True).indices[:count]] = 1 / count
    return share_N
