"""Proximal policy optimisation on recorded episodes (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
MAX_NORM = 0.5
"""Gradients are clipped to this norm."""

Real = TypeVar("Real", bound=np.floating[Any])


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """The knobs of PPO.

    Attributes:
        gamma: discount per decision.
        lam: lambda of the generalised advantage estimate.
        clip: clip range of the probability ratio.
        epochs: passes over the recorded decisions.
        batch: decisions a step.
        learning_rate: constant, or where it begins if the caller lowers it.
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


def discounted(reward_N: NDArray[Real], gamma: float, bootstrap: float = 0.0) -> NDArray[Real]:
    """Discounted return from each decision on, (N,), or of several actors at once, (N, J)."""
    returns, exact_N = np.empty_like(reward_N), reward_N.astype(np.float64)
    ahead: NDArray[np.float64] | float = bootstrap
    for index in range(len(reward_N) - 1, -1, -1):
        ahead = exact_N[index] + gamma * ahead
        returns[index] = ahead
    return returns


def advantages(reward_N: NDArray[Real], value_N: NDArray[Real], config: PpoConfig) -> NDArray[Real]:
    """Generalised advantage estimates (Schulman et al. 2016), (N,) or (N, J).

    The episode is cut by the clock, not ended by what was done, so the last value stands for the rest.
    """
    next_N = np.concatenate([value_N[1:], value_N[-1:]])
    return discounted(reward_N + config.gamma * next_N - value_N, config.gamma * config.lam)


def standardised(advantage_N: NDArray[Real]) -> NDArray[Real]:
    """Of mean 0 and deviation 1 within the episode: a crowded junction must not outshout the quiet ones."""
    standard_N: NDArray[Real] = (advantage_N - advantage_N.mean()) / (advantage_N.std() + 1e-6)
    return standard_N


def with_advantages(shard: Shard, config: PpoConfig) -> Shard:
    """The shard with standardised advantages and value targets."""
    reward_N, value_N = (shard.target(name) for name in (REWARD, VALUE))
    advantage_N = advantages(reward_N, value_N, config)
    return shard.with_targets({ADVANTAGE: standardised(advantage_N), RETURN: advantage_N + value_N})


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
            torch.nn.utils.clip_grad_norm_(learning, MAX_NORM)
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
    surrogate, kl, clip_share = clipped_surrogate(log_B, targets[LOG_PROB], targets[ADVANTAGE], config.clip)
    entropy = mean_entropy(log_BP)
    value = functional.huber_loss(decision.value_B, targets[RETURN])
    loss = config.value_weight * value - surrogate - config.entropy_weight * entropy
    facts = {"kl": kl, "clip_share": clip_share, "value_loss": value, "entropy": entropy}
    return loss, {name: float(figure.detach()) for name, figure in facts.items()}


def clipped_surrogate(
    log_B: Tensor, recorded_log_B: Tensor, advantage_B: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What PPO makes greatest, the mean KL to the recording policy (nats), and the share of clipped ratios.

    Args:
        log_B: log-probability of what was done, now.
        recorded_log_B: and when it was done.
        advantage_B: its advantage.
        clip: clip range of the ratio.
    """
    ratio_B = (log_B - recorded_log_B).exp()
    clipped_B = ratio_B.clamp(1 - clip, 1 + clip)
    surrogate = torch.minimum(ratio_B * advantage_B, clipped_B * advantage_B).mean()
    return surrogate, (ratio_B - 1 - ratio_B.log()).mean(), (clipped_B != ratio_B).float().mean()


def mean_entropy(log_BP: Tensor) -> Tensor:
    """Mean entropy, nats, of log-probabilities (B, P), -inf where a candidate is not allowed."""
    return -(log_BP.exp() * log_BP.masked_fill(log_BP.isneginf(), 0.0)).sum(dim=1).mean()
