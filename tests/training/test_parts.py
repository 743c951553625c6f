"""The gradient of a batch in parts: by hand, and the same bits however many processes find it."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from multiprocessing import Pipe, active_children, get_context
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iotlam.contracts import IotlamError
from iotlam.training.parts import PartedLoss


def squared_error(scale: float, module: nn.Module, part: tuple[Tensor, Tensor]) -> Tensor:
    x_BD, y_B = part
    return scale * (module(x_BD)[:, 0] - y_B).square().sum()


def die(module: nn.Module, part: Any) -> Tensor:
    os._exit(9)


def new_module() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    net[2].bias.requires_grad_(False)
    net.register_parameter("unused", nn.Parameter(torch.ones(2)))
    return net


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, generator=draw), torch.randn(6, generator=draw)


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def parted(workers: int, steps: int) -> tuple[list[float], list[Tensor]]:
    """Losses and last gradients of some steps of descent, by the parts of a batch."""
    module, losses = new_module(), []
    x_BD, y_B = batch()
    parts = [(x_BD[:2], y_B[:2]), (x_BD[2:], y_B[2:])]
    with PartedLoss(module, partial(squared_error, 0.5), workers) as loss:
        for _ in range(steps):
            module.zero_grad()
            value = loss(parts)
            value.backward()
            losses.append(float(value.detach()))
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.05 * parameter.grad
    return losses, gradients(module)


def test_the_sum_of_the_parts_has_the_gradient_of_the_whole() -> None:
    whole = new_module()
    loss = squared_error(0.5, whole, batch())
    loss.backward()
    losses, found = parted(workers=1, steps=1)
    assert losses == pytest.approx([float(loss.detach())])
    assert len(found) == 4  # what does not learn has none; what is not used has zeros
    for mine, other in zip(found[1:], gradients(whole), strict=True):
        torch.testing.assert_close(mine, other)
    assert found[0].tolist() == [0.0, 0.0]


def test_processes_follow_what_is_learnt_and_change_no_bit() -> None:
    alone, shared = parted(workers=1, steps=3), parted(workers=2, steps=3)
    assert alone[0] == shared[0] and alone[0][0] > alone[0][1] > alone[0][2]
    assert all(torch.equal(one, other) for one, other in zip(alone[1], shared[1], strict=True))


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def train_and_be_killed(told: Connection) -> None:
    """What a training does until the system kills it: its processes are told, and work."""
    with PartedLoss(new_module(), partial(squared_error, 0.5), 2) as loss:
        loss([batch(), batch()])
        told.send([child.pid for child in active_children()])
        os.kill(os.getpid(), signal.SIGKILL)


def test_processes_end_with_a_training_that_is_killed() -> None:
    mine, theirs = Pipe()
    training = get_context("spawn").Process(target=train_and_be_killed, args=(theirs,))
    training.start()
    assert mine.poll(60.0)
    left = set(mine.recv())
    training.join(30.0)
    assert training.exitcode == -signal.SIGKILL and len(left) == 2
    until_s = time.monotonic() + 30.0
    while (left := set(filter(runs, left))) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert not left


def test_a_process_that_dies_is_told() -> None:
    with PartedLoss(new_module(), die, 2) as loss, pytest.raises(IotlamError, match="expected a gradient"):
        loss([batch()])
