"""Imitation: the model's choice among candidates follows a teacher's scores, or its labels what is known to hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from iotlam.contracts import DecisionQuery
from iotlam.decoder import choose
from iotlam.fusion import RateSchedule
from iotlam.model import Decision, IotlamModel, ModelInput, collate
from iotlam.training.loop import optimise
from iotlam.training.parts import PartedLoss
from iotlam.training.shards import FACTS, PRESENT, RETURN, TEACHER, Sample, Shard

PARTS = 2
"""Parts of a batch that are worked out apart; in more and smaller ones, the decoder's many small steps take over."""

WHITENED = 1000
"""Decisions that the moments of tokens and facts are taken from."""

LEAST_STD = 0.05
"""A fact that hardly ever differs must not be blown up."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class ImitationConfig:
    """How long, how fast and how faithfully.

    Attributes:
        steps: optimiser steps.
        batch: decisions a step.
        learning_rate: peak, reached after `warmup` steps, then cosine to a tenth.
        warmup: steps of linear warm-up.
        temperature: the teacher's scores are divided by this before the softmax.
        value_weight: weight of the value head's loss.
        facts_weight: weight of the error in what is told of the places, for a model that tells.
        drop: probability that a decision loses each modality (one always stays).
        free, ramp: shares of the steps during which bits cost nothing, and then come to their price.
        seed: order of the decisions and of the drops.
    """

    steps: int = 1500
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 30
    temperature: float = 0.3
    value_weight: float = 0.05
    facts_weight: float = 1.0
    drop: float = 0.15
    free: float = 0.3
    ramp: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the decisions of a step.

    Attributes:
        samples: the decisions.
        share: how many of the step's they are, 0 to 1.
        price: of bits at this step.
        seed: of the gates' noise.
    """

    samples: Sequence[Sample]
    share: float
    price: float
    seed: int


def choice_loss(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
    """The loss of some decisions, bits included, times their share."""
    inputs, decision = _answers(model, part)
    loss = imitation_loss(decision, inputs, part.samples, config) + model.information_loss(decision, part.price)
    if decision.facts_BKF is not None:
        loss = loss + config.facts_weight * _facts_error(model, decision.facts_BKF, inputs, part)
    return part.share * loss


def label_loss(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
    """The loss of a model that classifies, bits included, times the share: each candidate holds, or does not."""
    inputs, decision = _answers(model, part)
    present_BP, asked_BP = _present(part.samples), inputs.allowed_BP
    loss = functional.binary_cross_entropy_with_logits(decision.logits_BP[asked_BP], present_BP[asked_BP])
    loss = loss + model.information_loss(decision, part.price)
    if decision.facts_BKF is not None:
        loss = loss + config.facts_weight * _facts_error(model, decision.facts_BKF, inputs, part)
    return part.share * loss


def told_loss(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
    """The error of what is told of the places, bits included, times the decisions' share; the decoder is not run."""
    inputs, told = _answers(model.tell, part)
    return part.share * (_facts_error(model, told.facts_BKF, inputs, part) + model.information_loss(told, part.price))


def _answers(ask: Callable[[ModelInput], Answer], part: Part) -> tuple[ModelInput, Answer]:
    """What is asked about some decisions, and the answer; the noise of the gates is the part's own."""
    inputs = collate([(dict(sample.tokens), sample.query) for sample in part.samples])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(part.seed)
        return inputs, ask(inputs)


def _facts_error(model: IotlamModel, told_BKF: Tensor, inputs: ModelInput, part: Part) -> Tensor:
    facts_BKF = pad_sequence([torch.from_numpy(sample.targets[FACTS]) for sample in part.samples], batch_first=True)
    assert model.facts is not None
    return model.facts.error(told_BKF, facts_BKF, inputs.place_mask_BK)


def imitation_loss(
    decision: Decision, inputs: ModelInput, samples: Sequence[Sample], config: ImitationConfig
) -> Tensor:
    """KL(teacher || model) in nats over the allowed candidates, plus the weighted Huber loss of the value."""
    kl = _choice_errors(decision.logits_BP, inputs.allowed_BP, samples, config).mean()
    return_B = torch.tensor([float(sample.targets[RETURN]) for sample in samples])
    loss: Tensor = kl + config.value_weight * functional.huber_loss(decision.value_B, return_B)
    return loss


def errors(
    head: str, logits_BP: Tensor, allowed_BP: Tensor, samples: Sequence[Sample], config: ImitationConfig
) -> Tensor:
    """How far logits are from what is known of each decision (B,), nats, without gradient.

    Of a head to `classify` the mean binary cross-entropy of the allowed candidates, else KL(teacher || logits).
    """
    logits_BP = logits_BP.detach()
    if head != "classify":
        return _choice_errors(logits_BP, allowed_BP, samples, config)
    known_BP = logits_BP.masked_fill(~allowed_BP, 0.0)
    nats_BP = functional.binary_cross_entropy_with_logits(known_BP, _present(samples), reduction="none")
    return nats_BP.masked_fill(~allowed_BP, 0.0).sum(1) / allowed_BP.sum(1)


def _present(samples: Sequence[Sample]) -> Tensor:
    return pad_sequence([torch.from_numpy(sample.targets[PRESENT]) for sample in samples], batch_first=True)


def _choice_errors(logits_BP: Tensor, allowed_BP: Tensor, samples: Sequence[Sample], config: ImitationConfig) -> Tensor:
    teacher_BP = torch.full_like(logits_BP, -torch.inf)
    for row, sample in enumerate(samples):
        scores_P = torch.as_tensor(sample.targets[TEACHER], dtype=torch.float32)
        teacher_BP[row, : len(scores_P)] = scores_P / config.temperature
    teacher_BP = teacher_BP.masked_fill(~allowed_BP, -torch.inf).softmax(dim=1)
    log_BP = logits_BP.log_softmax(dim=1).masked_fill(~allowed_BP, 0.0)
    kl_B: Tensor = (torch.special.xlogy(teacher_BP, teacher_BP) - teacher_BP * log_BP).sum(dim=1)
    return kl_B


Loss = Callable[[ImitationConfig, IotlamModel, Part], Tensor]
"""What is made least over the parts of a batch."""


def imitate(
    model: IotlamModel,
    shards: Sequence[Shard],
    config: ImitationConfig,
    folder: Path,
    on_step: Callable[[int, float], None],
    workers: int = 1,
    loss: Loss = choice_loss,
) -> int:
    """Train LoRA, fusion, projector and heads on the teacher's choices; resumes from `folder`.

    Places and candidates come in another order each time, since nothing depends on their order. A model that has seen
    nothing yet takes the moments that whiten its tokens and facts from decisions drawn at random, and keeps them.

    Args:
        model: what is trained.
        shards: what the teacher chose.
        config: how.
        folder: where the checkpoint is.
        on_step: told the number of each finished step and its loss.
        workers: processes; their number changes nothing but the time.
        loss: `choice_loss`; `label_loss` for a model that classifies; or `told_loss` to train fusion and facts alone
            first: a choice says too little of what was there to learn to look from it (docs/adr/0010).

    Returns:
        How many steps were taken now; 0 where all had been.
    """
    where = [(shard, index) for shard in shards for index in range(len(shard))]
    price = RateSchedule(1.0, config.steps, config.free, config.ramp)
    _whiten(model, where, config)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((config.seed, step))
        chosen = [where[i] for i in rng.integers(len(where), size=config.batch)]
        samples = [shuffle(drop_modalities(shard[index], config.drop, rng), rng) for shard, index in chosen]
        samples.sort(key=_size)
        parts = [samples[first::PARTS] for first in range(min(PARTS, config.batch))]  # as large as each other
        return whole([Part(part, len(part) / config.batch, price(step), int(rng.integers(2**62))) for part in parts])

    with PartedLoss(model, partial(loss, config), workers) as whole:
        return optimise(
            model,
            loss_at,
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            weight_decay=0.01,
            folder=folder,
            recipe=f"{config}, {len(where)} decisions, decoder {model.base_sha256[:12]}",
            on_step=on_step,
        )


def _whiten(model: IotlamModel, where: Sequence[tuple[Shard, int]], config: ImitationConfig) -> None:
    if model.fusion.whitening_frozen:
        return
    drawn = np.random.default_rng(config.seed).integers(len(where), size=WHITENED)
    samples = [shard[decision] for shard, decision in (where[index] for index in drawn)]
    for sample in samples:
        model.fusion.learn_moments(sample.tokens)
    model.fusion.freeze_whitening()
    if model.facts:
        facts_NF = torch.from_numpy(np.concatenate([sample.targets[FACTS] for sample in samples]))
        model.facts.mean_F.copy_(facts_NF.mean(0))
        model.facts.std_F.copy_(facts_NF.std(0).clamp_min(LEAST_STD))


def _size(sample: Sample) -> int:
    """What a decision costs: places times tokens."""
    return int(sample.query.serves_PK.shape[1] * sum(batch.mask_BT.shape[1] for batch in sample.tokens.values()))


def drop_modalities(sample: Sample, probability: float, rng: np.random.Generator) -> Sample:
    """The sample without some of its modalities; at least one stays."""
    names = list(sample.tokens)
    kept = [name for name in names if rng.uniform() >= probability] or [names[rng.integers(len(names))]]
    return Sample({name: sample.tokens[name] for name in kept}, sample.query, sample.targets)


def shuffle(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with its places and its candidates in another order."""
    query = sample.query
    candidates, places = (rng.permutation(size) for size in query.serves_PK.shape)
    mixed = DecisionQuery(
        query.anchors_KHX[places],
        query.serves_PK[candidates][:, places],
        query.features_PF[candidates],
        query.allowed_P[candidates],
    )
    order = {"_P": candidates, "_K": places}
    targets = {name: value[order[name[-2:]]] if name[-2:] in order else value for name, value in sample.targets.items()}
    return Sample(sample.tokens, mixed, targets)


def agreement(model: IotlamModel, shards: Sequence[Shard], modalities: Sequence[str], limit: int = 400) -> float:
    """Share of decisions on which the model, seeing only `modalities`, chooses one of the teacher's best."""
    where = [(shard, index) for shard in shards for index in range(len(shard))]
    right = []
    for shard, index in where[:: max(len(where) // limit, 1)]:
        sample = shard[index]
        tokens = {name: batch for name, batch in sample.tokens.items() if name in modalities}
        choice = int(choose(model.answer(tokens, sample.query).logits_BP))
        scores_P = np.where(sample.query.allowed_P, sample.targets[TEACHER], -np.inf)
        right.append(scores_P[choice] >= scores_P.max() - 1e-6)
    return float(np.mean(right))
