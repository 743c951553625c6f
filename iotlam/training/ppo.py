"""Proximal policy optimisation on recorded episodes (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from iotlam.fusion import parameter_groups
from iotlam.model import IotlamModel, collate
from iotlam.training.shards import ACTION, LOG_PROB, RETURN, REWARD, VALUE, Sample, Shard

ADVANTAGE = "advantage"


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """The knobs of PPO.

    Attributes:
        gamma: discount per decision.
        lam: lambda of the generalised advantage estimate.
        clip: clip range of the probability ratio.
        epochs: passes over the recorded decisions.
        batch: decisions a step.
        learning_rate: constant.
        value_weight: weight of the value loss.
        entropy_weight: weight of the entropy bonus.
        max_kl: no further pass once the mean KL to the recording policy exceeds this, nats.
    """

    gamma: float = 0.92
    lam: float = 0.9
    clip: float = 0.2
    epochs: int = 2
    batch: int = 48
    learning_rate: float = 1e-4
    value_weight: float = 0.05
    entropy_weight: float = 0.001
    max_kl: float = 0.03


def policy_optimizer(model: IotlamModel, config: PpoConfig) -> AdamW:
    """Optimiser of what reinforcement changes: all that learns but the gates.

    A gate's bits mean something only against the noise that it is trained with, and a policy acts without noise.
    """
    rest, _ = parameter_groups(model, config.learning_rate)
    return AdamW([rest])


def discounted(reward_N: NDArray[np.float32], gamma: float, bootstrap: float = 0.0) -> NDArray[np.float32]:
    """Discounted return from each decision on, (N,)."""
    returns, ahead = np.empty_like(reward_N), bootstrap
    for index in range(len(reward_N) - 1, -1, -1):
        ahead = float(reward_N[index]) + gamma * ahead
        returns[index] = ahead
    return returns


def with_advantages(shard: Shard, config: PpoConfig) -> Shard:
    """The shard with generalised advantages and value targets.

    The episode is cut by the clock, not ended by what was done, so the last value stands for the rest. Advantages are
    standardised within the episode: a crowded junction must not outshout the quiet ones.
    """
    reward_N, value_N = (shard.target(name) for name in (REWARD, VALUE))
    next_N = np.r_[value_N[1:], value_N[-1:]]
    advantage_N = discounted(reward_N + config.gamma * next_N - value_N, config.gamma * config.lam)
    standard_N = (advantage_N - advantage_N.mean()) / (advantage_N.std() + 1e-6)
    return shard.with_targets({ADVANTAGE: standard_N, RETURN: advantage_N + value_N})


def improve(
    model: IotlamModel,
    optimizer: AdamW,
    shards: Sequence[Shard],
    config: PpoConfig,
    seed: Sequence[int],
    on_step: Callable[[float], None],
) -> dict[str, float]:
    """One round of PPO on the episodes that the current policy recorded.

    Returns:
        Mean KL to the recording policy, clip share, value loss and entropy of the last pass.
    """
    ready = [with_advantages(shard, config) for shard in shards]
    where = [(shard, index) for shard in ready for index in range(len(shard))]
    rng = np.random.default_rng(seed)
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    facts: dict[str, float] = {}
    for _ in range(config.epochs):
        rows = []
        for part in np.array_split(rng.permutation(len(where)), max(len(where) // config.batch, 1)):
            samples = [where[i][0][where[i][1]] for i in part]
            loss, row = _loss(model, samples, config)
            model.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(learning, 0.5)
            optimizer.step()
            on_step(float(loss.detach()))
            rows.append(row)
        facts = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if facts["kl"] > config.max_kl:
            break
    return facts


def _loss(model: IotlamModel, samples: Sequence[Sample], config: PpoConfig) -> tuple[Tensor, dict[str, float]]:
    # In eval mode the gates add no noise: the policy that is improved is the policy that acts.
    decision = model.eval()(collate([(dict(sample.tokens), sample.query) for sample in samples]))
    targets = {
        name: torch.tensor([float(sample.targets[name]) for sample in samples])
        for name in (ACTION, LOG_PROB, ADVANTAGE, RETURN)
    }
    log_BP = decision.logits_BP.log_softmax(dim=1)
    log_B = log_BP.gather(1, targets[ACTION].long()[:, None])[:, 0]
    ratio_B = (log_B - targets[LOG_PROB]).exp()
    clipped_B = ratio_B.clamp(1 - config.clip, 1 + config.clip)
    surrogate = torch.minimum(ratio_B * targets[ADVANTAGE], clipped_B * targets[ADVANTAGE]).mean()
    entropy = -(log_BP.exp() * log_BP.masked_fill(log_BP.isneginf(), 0.0)).sum(dim=1).mean()
    value = functional.huber_loss(decision.value_B, targets[RETURN])
    loss = config.value_weight * value - surrogate - config.entropy_weight * entropy
    kl = (ratio_B - 1 - ratio_B.log()).mean()
    clip_share = (clipped_B != ratio_B).float().mean()
    facts = {"kl": kl, "clip_share": clip_share, "value_loss": value, "entropy": entropy}
    return loss, {name: float(figure.detach()) for name, figure in facts.items()}
