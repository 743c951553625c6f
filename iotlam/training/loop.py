"""The loop of all training but reinforcement: warm-up, cosine, clipping, gates faster than the rest, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from iotlam.fusion import parameter_groups
from iotlam.training.checkpoint import load_checkpoint, save_checkpoint

CHECKPOINT_EVERY = 25


def optimise(
    module: nn.Module,
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    warmup: int = 0,
    weight_decay: float = 0.0,
    folder: Path | None = None,
    recipe: str = "",
    on_step: Callable[[int, float], object] = lambda *_: None,
) -> int:
    """Take what is left of `steps` AdamW steps on the parameters that learn; Ctrl-C loses at most the last few.

    Args:
        module: what is trained; put in training mode.
        loss_at: loss of a step; where there is a `folder`, it must depend on nothing but its number and the module.
        steps: steps in all, those before a resume included.
        learning_rate: peak, reached after `warmup` steps, then cosine to a tenth; gates have five times as much.
        warmup: steps of linear warm-up.
        weight_decay: AdamW's.
        folder: where the checkpoint is; None for runs that are not resumed.
        recipe: everything else that decides the result; a checkpoint of another recipe is refused.
        on_step: told the number of each finished step and its loss.

    Returns:
        How many steps were taken now; 0 where all had been.

    Raises:
        BadInput: if the checkpoint is broken, or of another model or recipe.
    """
    optimizer = AdamW(parameter_groups(module, learning_rate), weight_decay=weight_decay)
    peaks = [group["lr"] for group in optimizer.param_groups]
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first = load_checkpoint(folder, module, optimizer, recipe) if folder else 0
    module.train()
    for step in range(first, steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * schedule(step, steps, warmup)
        loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))
        if folder and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps):
            save_checkpoint(folder, module, optimizer, step + 1, recipe)
    return max(steps - first, 0)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine to a tenth."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * done))
