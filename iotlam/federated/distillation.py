"""Mutual distillation: a device's own module and the shared one teach each other on the device's own examples.

A module is an adapter and the weights outside the decoder. Own: `L = CE + l w KL(shared || own)`; shared:
`L = CE + m w KL(own || shared)`. The teacher's side has no gradient. Both ways by KL is deep mutual learning (Zhang et
al., CVPR 2018) between what is averaged and what stays (FML, Shen et al., arXiv 2006.16765); `w` is 1 where the
teacher's error on the example is less than the pupil's, else 0 (DualMinCE of FedMKT, Fan et al., COLING 2025).

FedMKT compares on public examples. A device has only those that its own module learns by heart, so that no other would
ever be better: some are set aside, and each module's errors are held to be as much greater as they are there. Unless
the own module is clearly better on those, it begins anew as a copy of the shared: what is learnt by heart is not
forgotten again, and a few examples do not carry all that others know.

Shapes: B decisions, P candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from iotlam.contracts import BadInput, Record
from iotlam.model import Decision, IotlamModel, ModelInput
from iotlam.training.imitation import ImitationConfig, Loss, Part, errors
from iotlam.training.shards import Sample

PEER = "peer_P"
"""Target that a sample gets: the other module's logits of its candidates."""

BATCH = 64
"""Decisions that a teacher answers at a time."""


class Distillation(Record, frozen=True):
    """How strongly modules teach each other.

    Attributes:
        own: weight of what the shared module teaches a device's own (l).
        shared: weight of what a device's own module teaches the shared (m).
        temperature: logits are divided by this before they are compared; the divergence counts its square times
            (Hinton et al., 2015), so that gradients keep their size.
        selective: whether a prediction is taken only where it is better than the pupil's; else always.
        rate: of a device's own module, as a share of the rounds' learning rate: no mean over devices steadies it.
    """

    own: float = 1.0
    shared: float = 1.0
    temperature: float = 2.0
    selective: bool = True
    rate: float = 0.1

    def __post_init__(self) -> None:
        for name in ("own", "shared"):
            if not 0 <= getattr(self, name) < math.inf:
                got = str(getattr(self, name))
                raise BadInput(f"distil.{name}", expected="a weight from 0", got=got, fix="correct it")
        for name in ("temperature", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                got = str(getattr(self, name))
                raise BadInput(f"distil.{name}", expected="a positive number", got=got, fix="correct it")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a module says of a device's examples.

    Attributes:
        said: the examples that modules learn from with its logits as target `PEER`, by row.
        known_N: errors on those, nats.
        judged_M: errors on those that are set aside, nats.
    """

    said: Mapping[int, Sample]
    known_N: Tensor
    judged_M: Tensor

    @property
    def flattery(self) -> float:
        """By how much the mean error is less where modules learn; 0 where nothing is set aside."""
        return float(self.judged_M.mean() - self.known_N.mean()) if len(self.judged_M) and len(self.known_N) else 0.0

    def clearly_better(self, other: Opinion) -> bool:
        """Whether the errors are less by more than their difference's standard error; of fewer than two: no."""
        ahead_M = other.judged_M - self.judged_M
        return len(ahead_M) > 1 and bool(ahead_M.mean() > ahead_M.std() / math.sqrt(len(ahead_M)))

    @classmethod
    def of(
        cls, model: IotlamModel, learnt: Mapping[int, Sample], judged: Sequence[Sample], config: ImitationConfig
    ) -> Opinion:
        """Ask a model, without noise, whatever its mode.

        Args:
            model: the module.
            learnt: examples that modules learn from, by row.
            judged: those that are set aside.
            config: of the task's loss.
        """
        said, known_N = _ask(model, list(learnt.values()), config)
        return cls(dict(zip(learnt, said, strict=True)), known_N, _ask(model, judged, config)[1])


def _ask(model: IotlamModel, samples: Sequence[Sample], config: ImitationConfig) -> tuple[list[Sample], Tensor]:
    """Samples with a model's logits, and its errors (N,)."""
    found: list[Sample] = []
    wrong = [torch.zeros(0)]
    for start in range(0, len(samples), BATCH):
        some = samples[start : start + BATCH]
        logits_BP = model.answer_all([(dict(sample.tokens), sample.query) for sample in some]).logits_BP.clone()
        wrong.append(errors(model.config.head, logits_BP, ~logits_BP.isneginf(), some, config))
        for sample, logits_P in zip(some, logits_BP.numpy(), strict=True):
            said_P = logits_P[: len(sample.query.allowed_P)]
            found.append(replace(sample, targets={**sample.targets, PEER: said_P}))
    return found, torch.cat(wrong)


def taught(loss: Loss, weight: float, how: Distillation, ahead: float) -> Loss:
    """A task's loss, and what the peer's predictions add to it; its samples are those of the peer's `Opinion`.

    Args:
        loss: of the task; it asks the model once for a decision.
        weight: of the divergence.
        how: temperature, and which predictions are taken.
        ahead: how much more the pupil's errors are flattered than the peer's.
    """

    def whole(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
        with _overheard(model) as answers:
            task = loss(config, model, part)
        if not answers:
            fix = "train without 'distil'"
            raise BadInput("distil", expected="a model that chooses or classifies", got="another", fix=fix)
        head, (inputs, decision) = model.config.head, answers[-1]
        allowed_BP = inputs.allowed_BP
        peer_BP = together([sample.targets[PEER] for sample in part.samples])
        apart_B = divergence(peer_BP, decision.logits_BP, allowed_BP, how.temperature, head)
        if how.selective:
            peers_B, own_B = (
                errors(head, logits_BP, allowed_BP, part.samples, config) for logits_BP in (peer_BP, decision.logits_BP)
            )
            apart_B = torch.where(peers_B < own_B + ahead, apart_B, 0.0)
        return task + part.share * weight * apart_B.mean()

    return whole


def together(logits: Sequence[NDArray[np.float32]]) -> Tensor:
    """Logits of decisions (B, P) of unequal numbers of candidates: what is not there is as what is not allowed."""
    return pad_sequence([torch.from_numpy(one_P) for one_P in logits], batch_first=True, padding_value=-torch.inf)


def divergence(teacher_BP: Tensor, pupil_BP: Tensor, allowed_BP: Tensor, temperature: float, head: str) -> Tensor:
    """Temperature squared times KL(teacher || pupil), nats, of each decision (B,); no gradient to the teacher.

    Args:
        teacher_BP: logits; those of candidates that are not allowed are not looked at.
        pupil_BP: logits.
        allowed_BP: bool.
        temperature: both are divided by it.
        head: `classify`, where each candidate is a Bernoulli variable and their mean is taken, or `choose`, where all
            are one categorical variable.
    """
    forbidden_BP = ~allowed_BP
    if head == "classify":
        teacher_BP, pupil_BP = (
            x_BP.masked_fill(forbidden_BP, 0.0) / temperature for x_BP in (teacher_BP.detach(), pupil_BP)
        )
        kl_BP = torch.zeros_like(pupil_BP)
        for sign in (1.0, -1.0):
            log_BP = functional.logsigmoid(sign * teacher_BP)
            kl_BP = kl_BP + log_BP.exp() * (log_BP - functional.logsigmoid(sign * pupil_BP))
        return temperature**2 * kl_BP.masked_fill(forbidden_BP, 0.0).sum(1) / allowed_BP.sum(1)
    log_BP, other_BP = (
        (x_BP.masked_fill(forbidden_BP, -torch.inf) / temperature).log_softmax(1).masked_fill(forbidden_BP, 0.0)
        for x_BP in (teacher_BP.detach(), pupil_BP)
    )
    return temperature**2 * (log_BP.exp() * (log_BP - other_BP)).masked_fill(forbidden_BP, 0.0).sum(1)


@contextmanager
def _overheard(model: IotlamModel) -> Iterator[list[tuple[ModelInput, Decision]]]:
    """What the model is asked within, and what it answers."""
    said: list[tuple[ModelInput, Decision]] = []

    def hear(_: object, asked: tuple[ModelInput], answer: Decision) -> None:
        said.append((asked[0], answer))

    handle = model.register_forward_hook(hear)
    try:
        yield said
    finally:
        handle.remove()
