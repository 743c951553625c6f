"""Tuning a classifier on a few labelled examples; the same few lines for a decoder, its head and its small rivals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.training.device import half_precision
from iotlam.training.loop import optimise

PART = 64
WARMUP = 10
CPU = torch.device("cpu")


def tune(
    model: nn.Module, x_N: Tensor, label_N: Tensor, *, steps: int, batch: int, learning_rate: float, seed: int
) -> None:
    """Take `steps` AdamW steps of cross-entropy, on examples drawn from `seed` epoch by epoch.

    Args:
        model: maps a batch of x to scores (B, C); what requires a gradient is tuned.
        x_N: examples, first dimension N.
        label_N: index of each one's class, int64.
        steps: optimiser steps.
        batch: examples a step.
        learning_rate: peak.
        seed: order of the examples.
    """
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // len(label_N))
    order = torch.from_numpy(np.concatenate([rng.permutation(len(label_N)) for _ in range(epochs)]))

    def loss_at(step: int) -> Tensor:
        chosen_B = order[step * batch : (step + 1) * batch]
        with half_precision(CPU):
            scores_BC = model(x_N[chosen_B])
        return functional.cross_entropy(scores_BC.float(), label_N[chosen_B])

    optimise(
        model,
        loss_at,
        steps=steps,
        learning_rate=learning_rate,
        warmup=WARMUP,
        weight_decay=0.01,
    )


@torch.no_grad()
def predict(model: nn.Module, x_N: Tensor) -> Tensor:
    """Index (N,) of the best class of each example."""
    model.eval()
    with half_precision(CPU):
        return torch.cat([model(part).float().argmax(1) for part in torch.split(x_N, PART)])
