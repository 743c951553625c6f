"""What each token and each modality contributed, in bits: read off the gates, or optimised for one sample.

Shapes: B windows, T tokens, D token width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from iotlam.contracts import BadInput
from iotlam.fusion.bottleneck import ALPHA_START, MAX_LAMBDA, BottleneckGate, Gated, pass_through
from iotlam.fusion.fusion import BottleneckFusion


def modality_bits(bits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bits that each modality was let carry, by modality (B,); `bits` is that of a Decision or a FusionOutput."""
    return {name: bits_BT.sum(-1) for name, bits_BT in bits.items()}


def modality_shares(bits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Share of each modality in all bits of a window, by modality (B,); zeros where no bit passed at all."""
    carried = modality_bits(bits)
    if not carried:
        return {}
    total_B = torch.stack(list(carried.values())).sum(0)
    return {name: bits_B / total_B.clamp_min(1e-12) for name, bits_B in carried.items()}


def optimise_bits(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    beta: float = 0.01,
    steps: int = 10,
    learning_rate: float = 1.0,
    draws: int = 5,
) -> dict[str, Tensor]:
    """Bits by modality (B, T) that this very sample needs: alpha is optimised for it, the readout is not asked.

    The Per-Sample Bottleneck of IBA (Schulz et al., 2020, section 3.2), which M2IB (Wang et al., 2023) uses between
    modalities, on our gate and its matched prior. It takes `steps` x `draws` passes where the readout takes one, and
    knows the whole window where the readout knows one token.

    Args:
        model: a BottleneckFusion, or a module that holds one; its parameters stay as they are.
        loss: runs `model` on the sample (any B) and returns a scalar, the sum over B of what should stay small: the
            cross-entropy of the choice to be explained, say. It must give a gradient (no inference mode).
        beta: price of a bit in units of the loss.
        steps: steps of Adam.
        learning_rate: of Adam, for alpha.
        draws: noise drawn anew this many times per step.

    Raises:
        BadInput: if `model` holds no gates, or `loss` does not run them.
    """
    gates = _gates(model)
    samplers = {name: SampleGate() for name in gates}
    with _replaced(gates, samplers), torch.enable_grad():
        loss()  # the first pass tells the shapes
        alphas = [sampler.alpha_BTD for sampler in samplers.values() if sampler.alpha_BTD is not None]
        if not alphas:
            raise BadInput("Loss", expected="a function that runs the model", got="no gate was passed", fix="run it")
        optimiser = torch.optim.Adam(alphas, lr=learning_rate)
        for _ in range(steps):
            total = torch.stack([loss() + beta * _sum(samplers) for _ in range(draws)]).mean()
            for alpha, gradient in zip(alphas, torch.autograd.grad(total, alphas), strict=True):
                alpha.grad = gradient
            optimiser.step()
    with _replaced(gates, samplers), torch.no_grad():
        loss()
    return {name: s.gated.bits_BT.detach() for name, s in samplers.items() if s.gated is not None}


class SampleGate:
    """Stands in for a gate's readout: lambda = sigmoid(alpha) with an alpha of its own for every element."""

    def __init__(self) -> None:
        self.alpha_BTD: Tensor | None = None
        self.gated: Gated | None = None

    def __call__(self, gate: nn.Module, inputs: tuple[Tensor, Tensor], _: Gated) -> Gated:
        """Forward hook of a BottleneckGate: what it would have let through with this alpha, noise on."""
        white_BTD, mask_BT = inputs
        if self.alpha_BTD is None:
            self.alpha_BTD = torch.full_like(white_BTD, ALPHA_START, requires_grad=True)
        lambda_BTD = torch.sigmoid(self.alpha_BTD).clamp_max(MAX_LAMBDA)
        self.gated = pass_through(white_BTD, lambda_BTD, mask_BT, noisy=True)
        return self.gated


def _gates(model: nn.Module) -> dict[str, BottleneckGate]:
    for part in model.modules():
        if isinstance(part, BottleneckFusion):
            return {name: gate for name, gate in part.gates.items() if isinstance(gate, BottleneckGate)}
    raise BadInput(
        "Model", expected="a BottleneckFusion in it", got=type(model).__name__, fix="pass the model that was trained"
    )


def _sum(samplers: Mapping[str, SampleGate]) -> Tensor:
    return torch.stack([s.gated.bits_BT.sum() for s in samplers.values() if s.gated is not None]).sum()


@contextmanager
def _replaced(gates: Mapping[str, BottleneckGate], samplers: Mapping[str, SampleGate]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, gate in gates.items():
            stack.enter_context(gate.register_forward_hook(samplers[name]))
        yield
