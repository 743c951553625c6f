"""Checkpoints: to go on from one is the same as never to have stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import AdamW

from iotlam.contracts import BadInput
from iotlam.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint

RECIPE = "lr 0.05, batches of 8"


class Net(nn.Module):
    """A frozen part, a trained part with dropout, and a buffer that counts."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, width).requires_grad_(False)
        self.trained = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.5), nn.Linear(width, 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.trained(self.frozen(x))


def build(width: int = 4) -> tuple[Net, AdamW]:
    torch.manual_seed(3)
    net = Net(width)
    return net, AdamW([p for p in net.parameters() if p.requires_grad], lr=0.05)


def train(net: Net, optimizer: AdamW, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()


def test_going_on_is_never_having_stopped(tmp_path: Path, same_state: Callable[..., None]) -> None:
    whole, optimizer = build()
    train(whole, optimizer, 7)
    first, optimizer = build()
    train(first, optimizer, 4)
    save_checkpoint(tmp_path / "new", first, optimizer, 4, RECIPE)
    second, optimizer = build()
    torch.manual_seed(99)  # what was drawn in between must not matter
    assert load_checkpoint(tmp_path / "new", second, optimizer, RECIPE) == 4
    train(second, optimizer, 3)
    same_state(whole, second)
    assert second.seen == 7 and [path.name for path in (tmp_path / "new").iterdir()] == [CHECKPOINT]


def test_frozen_weights_are_not_written(tmp_path: Path) -> None:
    from safetensors import safe_open

    net, optimizer = build()
    train(net, optimizer, 1)
    save_checkpoint(tmp_path, net, optimizer, 1, RECIPE)
    with safe_open(tmp_path / CHECKPOINT, "pt") as file:
        names = set(file.keys())
    assert "weight/trained.0.weight" in names and "weight/seen" in names
    assert not any("frozen" in name for name in names)


def test_without_a_checkpoint_one_starts_at_nought(tmp_path: Path) -> None:
    net, optimizer = build()
    assert load_checkpoint(tmp_path, net, optimizer, RECIPE) == 0


def test_broken_and_foreign_checkpoints_are_refused(tmp_path: Path, broken: Callable[[Path], None]) -> None:
    net, optimizer = build()
    train(net, optimizer, 1)
    save_checkpoint(tmp_path / "cut", net, optimizer, 1, RECIPE)
    broken(tmp_path / "cut" / CHECKPOINT)
    wider, its_optimizer = build(width=5)
    save_checkpoint(tmp_path / "wider", wider, its_optimizer, 1, RECIPE)
    narrow, its_optimizer = build(width=1)  # its tensors could be broadcast into ours
    save_checkpoint(tmp_path / "narrow", narrow, its_optimizer, 1, RECIPE)
    for name in ("no facts", "folder"):
        (tmp_path / name).mkdir()
    save_file({"weight/seen": torch.zeros(())}, tmp_path / "no facts" / CHECKPOINT)
    (tmp_path / "folder" / CHECKPOINT).mkdir()
    for name in ("cut", "wider", "narrow", "no facts", "folder"):
        net, optimizer = build()
        with pytest.raises(BadInput, match="a checkpoint of this model") as caught:
            load_checkpoint(tmp_path / name, net, optimizer, RECIPE)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_refused_checkpoint_changes_nothing(tmp_path: Path, same_state: Callable[..., None]) -> None:
    wider, optimizer = build(width=5)
    save_checkpoint(tmp_path, wider, optimizer, 1, RECIPE)
    net, optimizer = build()
    with pytest.raises(BadInput):
        load_checkpoint(tmp_path, net, optimizer, RECIPE)
    same_state(net, build()[0])


def test_a_checkpoint_of_another_recipe_is_refused_and_changes_nothing(
    tmp_path: Path, same_state: Callable[..., None]
) -> None:
    other, optimizer = build()
    train(other, optimizer, 2)
    save_checkpoint(tmp_path, other, optimizer, 2, "lr 0.01")
    net, optimizer = build()
    with pytest.raises(BadInput, match=f"{RECIPE}, got one made with lr 0.01; delete it"):
        load_checkpoint(tmp_path, net, optimizer, RECIPE)
    same_state(net, build()[0])
    assert not optimizer.state and load_checkpoint(tmp_path, net, optimizer, "lr 0.01") == 2
