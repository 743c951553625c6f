"""The gradient of a batch, its parts worked out at once in several processes."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from iotlam.contracts import IotlamError

PartLoss = Callable[[nn.Module, Any], Tensor]
"""Loss of a part of a batch, in proportion to its share, and of nothing but the module and the part."""


class PartedLoss:
    """The sum of a loss over the parts of a batch; how many processes work on them changes no bit of its gradient.

    The module goes to the processes at the first call; what it learns follows at each.

    Args:
        module: what is trained.
        loss: of a part; it goes to the processes by its name, so that it must not be a closure.
        workers: processes; with one, all is done here.
    """

    def __init__(self, module: nn.Module, loss: PartLoss, workers: int) -> None:
        self._module, self._loss, self._workers = module, loss, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> PartedLoss:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, parts: Sequence[Any]) -> Tensor:
        """The loss of the whole batch, with a gradient."""
        learning = _learning(self._module)
        if self._workers == 1:
            found = [gradient(self._module, self._loss, part) for part in parts]
        else:
            found = self._elsewhere(parts, parameters_to_vector(learning).detach())
        known: Tensor = _Known.apply(sum(loss for loss, _ in found), sum(g for _, g in found), *learning)  # type: ignore[no-untyped-call]
        return known

    def _elsewhere(self, parts: Sequence[Any], weights: Tensor) -> list[tuple[float, Tensor]]:
        if self._pool is None:
            start = pickle.dumps((self._module, self._loss))
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _begin, (start,))
        # Bytes, since tensors as such would each travel through a file of shared memory.
        try:
            answers = list(self._pool.map(_work, [pickle.dumps((weights, part)) for part in parts]))
        except BrokenProcessPool as error:
            got = "its end: the system may have stopped it for want of memory"
            raise IotlamError(f"A training process: expected a gradient, got {got}; resume the run.") from error
        return [pickle.loads(answer) for answer in answers]


def gradient(module: nn.Module, loss: PartLoss, part: Any) -> tuple[float, Tensor]:
    """The loss of a part, and its gradient by all that learns, as one vector."""
    learning = _learning(module)
    value = loss(module, part)
    by_parameter = torch.autograd.grad(value, learning, allow_unused=True, materialize_grads=True)
    return float(value.detach()), parameters_to_vector(by_parameter)


def _learning(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


class _Known(torch.autograd.Function):
    """A number whose gradient has been found already."""

    @staticmethod
    def forward(ctx: Any, loss: float, gradient_N: Tensor, *learning: Tensor) -> Tensor:
        ctx.gradient_N, ctx.shapes = gradient_N, [parameter.shape for parameter in learning]
        return gradient_N.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        pieces = torch.split(ctx.gradient_N * outer[0], [shape.numel() for shape in ctx.shapes])
        return None, None, *(piece.view(shape) for piece, shape in zip(pieces, ctx.shapes, strict=True))


_here: tuple[nn.Module, PartLoss]
"""In a process of the pool: what it works with."""


def _begin(start: bytes) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _here = pickle.loads(start)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for work for ever."""
    if parent := parent_process():
        parent.join()
    os._exit(1)


def _work(request: bytes) -> bytes:
    module, loss = _here
    weights, part = pickle.loads(request)
    vector_to_parameters(weights, _learning(module))
    return pickle.dumps(gradient(module, loss, part))
