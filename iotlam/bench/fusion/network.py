"""The network under test, BottleneckFusion with a small head, and the one recipe that trains it and its rivals.

Shapes: B windows, T tokens, C answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.bench.fusion.data import Windows
from iotlam.contracts import TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig, RateSchedule
from iotlam.training.loop import optimise

CONFIG = FusionConfig(d_fusion=32, n_anchors=4)
BATCH, LEARNING_RATE, WARMUP = 128, 3e-3, 30

Batches = Mapping[str, TokenBatch]


class Answer(NamedTuple):
    """What a network says of B windows.

    Attributes:
        logits_BC: scores of C answers.
        rate_bits: scalar, mean bits per token, 0 for a network without gates.
        bits: by modality (B, T); empty for a network without gates.
    """

    logits_BC: Tensor
    rate_bits: Tensor
    bits: dict[str, Tensor]


class FusionNetwork(nn.Module):
    """BottleneckFusion asked about a single place, and a head of one hidden layer."""

    def __init__(self, specs: tuple[TokenSpec, ...], answers: int, config: FusionConfig = CONFIG) -> None:
        super().__init__()
        self.fusion = BottleneckFusion(specs, config)
        self.head = head(config.d_fusion, answers)

    def forward(self, batches: Batches) -> Answer:
        """Answer from any subset of the modalities."""
        fused = self.fusion(batches, *one_place(batches, self.fusion.n_anchors))
        return Answer(self.head(fused.latents_BKD[:, 0]), fused.rate_bits, fused.bits)

    def latent(self, batches: Batches) -> Tensor:
        """The fused latent (B, D)."""
        latents_BKD: Tensor = self.fusion(batches, *one_place(batches, self.fusion.n_anchors)).latents_BKD
        return latents_BKD[:, 0]


def head(width: int, answers: int) -> nn.Sequential:
    """The head that every network of this suite has."""
    return nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, answers))


def one_place(batches: Batches, n_anchors: int) -> tuple[Tensor, Tensor]:
    """Anchors and mask of a query with one place; tokens without positions do not look at it."""
    count = next(iter(batches.values())).mask_BT.shape[0]
    return torch.zeros(count, 1, n_anchors, 2), torch.ones(count, 1, dtype=torch.bool)


def task_loss(logits_BC: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over yes-or-no questions, for either form of `labels` (see Windows)."""
    if labels.dtype == torch.int64:
        return functional.cross_entropy(logits_BC, labels)
    return functional.binary_cross_entropy_with_logits(logits_BC, labels, reduction="none").mean(0).sum()


def right(logits_BC: Tensor, labels: Tensor) -> Tensor:
    """Which answers are right, float (B,) or (B, Q)."""
    return ((logits_BC.argmax(1) if labels.dtype == torch.int64 else (logits_BC > 0).float()) == labels).float()


Objective = Callable[[nn.Module, Windows], tuple[Tensor, Tensor]]


def supervised(network: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
    """Loss of the task, and the rate."""
    answer: Answer = network(windows.batches)
    return task_loss(answer.logits_BC, windows.labels), answer.rate_bits


def fit(
    network: nn.Module,
    train: Callable[[torch.Generator], Windows],
    steps: int,
    beta: float = 0.0,
    seed: int = 0,
    objective: Objective = supervised,
) -> None:
    """Train on batches that `train` draws; the price of bits follows RateSchedule."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    price = RateSchedule(beta, steps)

    def loss_at(step: int) -> Tensor:
        loss, rate_bits = objective(network, train(draw))
        return loss + price(step) * rate_bits

    optimise(
        network,
        loss_at,
        steps=steps,
        learning_rate=LEARNING_RATE,
        warmup=WARMUP,
        weight_decay=0.01,
    )
    network.eval()


def from_pool(pool: Windows, batch: int = BATCH) -> Callable[[torch.Generator], Windows]:
    """Batches drawn with replacement from a fixed set of training windows."""
    return lambda draw: pool.rows(torch.randint(len(pool.labels), (batch,), generator=draw))


@torch.no_grad()
def answer(network: nn.Module, batches: Batches, noisy: bool = False) -> Answer:
    """The answer in eval mode; `noisy` sends the tokens through the noisy channel that their bits are counted for."""
    network.eval()
    gates = network.fusion.gates.values() if isinstance(network, FusionNetwork) else ()
    for gate in gates:
        gate.train(noisy)
    said: Answer = network(batches)
    network.eval()
    return said
