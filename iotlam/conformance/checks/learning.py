"""The learnt part, where there is one."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iotlam.conformance.catalog import STEADY, Facts, Failed, NotApplicable, check
from iotlam.conformance.state import changed, random_state, seed_all
from iotlam.conformance.subject import Subject
from iotlam.contracts import SelfSupervised
from iotlam.plugins.registry import LoadedModality, guarded

if TYPE_CHECKING:
    from torch import Tensor, nn

AREA = "learning"
LEARNS = (*STEADY, "encoder-is-module", "sample-is-reproducible")
STEPS = (1e-2, 1e-3, 1e-4)
"""Lengths of a trial step, as a share of the length of all weights."""


@check(AREA, "platinum", needs=STEADY)
def encoder_is_module(subject: Subject) -> Facts:
    """The attribute `encoder` is a torch.nn.Module with float32 parameters."""
    from torch import nn

    encoder = subject.encoder
    if not isinstance(encoder, nn.Module):
        raise Failed("encoder", expected="a torch.nn.Module", got=f"a {type(encoder).__name__}", fix="make it a module")
    dtypes = {str(parameter.dtype) for parameter in encoder.parameters()}
    if dtypes != {"torch.float32"}:
        raise Failed(
            "encoder",
            expected="float32 parameters",
            got=", ".join(sorted(dtypes)) or "no parameter",
            fix="register the weights as float32 parameters",
        )
    return {"encoder_parameters": sum(parameter.numel() for parameter in encoder.parameters())}


@check(AREA, "platinum", needs=(*LEARNS, "tokens-vary"))
def encoder_is_used(subject: Subject) -> None:
    """Other weights give other tokens."""
    frames, other = subject.sample(0), disturbed(subject)
    if bool((subject.tokenize(frames).tokens_BTD == other.tokenize(frames).tokens_BTD).all()):
        raise Failed(
            "encoder",
            expected="tokens that depend on its weights",
            got="the same tokens for others",
            fix="encode with self.encoder in tokenize",
        )


@check(AREA, "platinum", needs=LEARNS)
def loss_is_scalar(subject: Subject) -> None:
    """self_supervised_loss gives one finite number with a gradient."""
    loss = _loss(subject, _trainable(subject))
    if loss.shape or not loss.requires_grad or not bool(loss.isfinite()):
        got = f"shape {tuple(loss.shape)}, {'with' if loss.requires_grad else 'without'} gradient, {loss.detach()}"
        raise Failed("self_supervised_loss", expected="one finite number with a gradient", got=got, fix="return a mean")


@check(AREA, "platinum", needs=("loss-is-scalar",))
def loss_follows_seed(subject: Subject) -> None:
    """The loss draws from its seed alone: the same seed gives the same loss, and shared generators are left alone."""
    encoder = _trainable(subject).eval()
    losses = []
    for shared in (1, 2):
        seed_all(shared)
        before = random_state()
        losses.append(float(_loss(subject, encoder)))
        if names := changed(before, random_state()):
            raise Failed(
                "self_supervised_loss",
                expected="draws from its own seed",
                got=f"draws from {', '.join(names)}",
                fix="use torch.Generator().manual_seed(seed)",
            )
    if losses[0] != losses[1]:
        raise Failed(
            "self_supervised_loss",
            expected="one loss for one seed",
            got=f"{losses[0]:g} and {losses[1]:g}",
            fix="draw everything from the seed",
        )


@check(AREA, "platinum", needs=("loss-is-scalar",))
def gradient_reaches_all(subject: Subject) -> None:
    """The loss of a few windows moves every parameter, by a finite amount."""
    encoder = _trainable(subject)
    _loss(subject, encoder).backward()  # type: ignore[no-untyped-call]
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        if gradient is None or not bool(gradient.isfinite().all()) or not bool(gradient.any()):
            got = (
                "none" if gradient is None else "0" if bool(gradient.isfinite().all()) else "a value that is not finite"
            )
            raise Failed(f"encoder.{name}", expected="a gradient", got=got, fix="use the parameter, or remove it")


@check(AREA, "platinum", needs=("gradient-reaches-all", "loss-follows-seed"))
def training_lowers_loss(subject: Subject) -> Facts:
    """A step against the gradient lowers the loss of the windows that it was taken from, if it is small enough."""
    import torch

    encoder = _trainable(subject)
    before = _loss(subject, encoder)
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(before, parameters)
    start = float(before)
    for share in STEPS:
        size = share * _norm(parameters) / _norm(gradients)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(size * gradient)
            after = float(_loss(subject, encoder))
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(size * gradient)
        if after < start:
            return {"loss_start": start, "loss_after_step": after}
    raise Failed(
        "self_supervised_loss",
        expected=f"less than {start:g} after a small step against the gradient",
        got=f"{after:g}",
        fix="look at the sign of the loss",
    )


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.detach().square().sum()) for tensor in tensors))


def disturbed(subject: Subject) -> LoadedModality:
    """Another object of the plugin, every weight and buffer of floating point changed a little.

    Raises:
        NotApplicable: if it learns nothing.
    """
    import torch

    subject.encoder  # noqa: B018
    other = subject.another()
    with torch.no_grad():
        encoder = module_of(other)
        for value in (*encoder.parameters(), *encoder.buffers()):
            if value.is_floating_point():
                value.mul_(1.25).add_(0.01)
    return other


def module_of(modality: LoadedModality) -> nn.Module:
    """The encoder of another object of the plugin."""
    from torch import nn

    assert isinstance(modality.encoder, nn.Module)
    return modality.encoder


def _trainable(subject: Subject) -> nn.Module:
    encoder = copy.deepcopy(subject.encoder).train()
    if not isinstance(encoder, SelfSupervised):
        raise NotApplicable("the encoder has no method 'self_supervised_loss'")
    return encoder


def _loss(subject: Subject, encoder: Any) -> Tensor:
    windows = [subject.sample(seed) for seed in range(3)]
    loss: Tensor = guarded(subject.name, "self_supervised_loss", lambda: encoder.self_supervised_loss(windows, 0))
    return loss
