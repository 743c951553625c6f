"""Tuning on a few labelled examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from iotlam.decoder import StreamClassifier, add_lora
from iotlam.training.tuning import predict, tune


def problem(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The class is the entry that stands twice."""
    draw = torch.Generator().manual_seed(seed)
    label_N = torch.randint(0, 3, (count,), generator=draw)
    rest_NL = torch.randint(4, 16, (count, 3), generator=draw)
    return torch.cat([label_N[:, None], rest_NL, label_N[:, None]], dim=1), label_N


def test_an_adapted_decoder_learns_and_only_its_adapter_and_head_move(tiny_decoder: Callable[..., Any]) -> None:
    torch.set_num_threads(1)
    x_NL, label_N = problem(60, 0)
    model = StreamClassifier(add_lora(tiny_decoder(), 4, 8.0, 0), 3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert not model(x_NL).any()  # nothing said at the start
    tune(model, x_NL, label_N, steps=60, batch=12, learning_rate=1e-2, seed=0)
    moved = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
    assert moved == {name for name in before if "lora_" in name or name.startswith("head")}
    unseen_NL, truth_N = problem(60, 1)
    assert (predict(model, unseen_NL) == truth_N).float().mean() > 0.9


def test_its_seed_decides(tiny_decoder: Callable[..., Any]) -> None:
    x_NL, label_N = problem(24, 0)
    heads = []
    for seed in (0, 0, 1):
        model = StreamClassifier(add_lora(tiny_decoder(), 2, 4.0, 0), 3)
        tune(model, x_NL, label_N, steps=5, batch=8, learning_rate=1e-2, seed=seed)
        heads.append(model.head.weight.detach().clone())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
