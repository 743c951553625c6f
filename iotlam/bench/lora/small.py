"""Small rivals of a tuned decoder on a few labelled examples: a small network, nearest neighbours, ridge regression.

Shapes: N labelled examples, M examples to label, F features, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def small_mlp(features: int, classes: int, seed: int, width: int = 64) -> nn.Module:
    """One hidden layer with dropout, weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Dropout(0.2), nn.Linear(width, classes))


def nearest_neighbours(x_NF: Tensor, label_N: Tensor, x_MF: Tensor, neighbours: int) -> Tensor:
    """The most frequent class (M,) among the nearest labelled examples."""
    near_MK = torch.cdist(x_MF, x_NF).topk(neighbours, largest=False).indices
    return torch.nn.functional.one_hot(label_N[near_MK]).sum(1).argmax(1)


def ridge(x_NF: Tensor, label_N: Tensor, x_MF: Tensor, penalty: float) -> Tensor:
    """The class (M,) whose indicator a ridge regression predicts highest; solved in its dual, N being small."""
    target_NC = torch.nn.functional.one_hot(label_N).float()
    mean_C, mean_F = target_NC.mean(0), x_NF.mean(0)
    centred_NF = x_NF - mean_F
    kernel_NN = centred_NF @ centred_NF.T + penalty * torch.eye(len(x_NF))
    weight_NC = torch.linalg.solve(kernel_NN, target_NC - mean_C)
    score_MC: Tensor = (x_MF - mean_F) @ centred_NF.T @ weight_NC + mean_C
    return score_MC.argmax(1)
