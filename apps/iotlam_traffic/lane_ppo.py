"""Proximal policy optimisation of the lane policy (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iotlam.training.ppo import MAX_NORM, PpoConfig, advantages, clipped_surrogate, mean_entropy, standardised
from iotlam_street.env import LOST_S_PER_REWARD
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_traffic.curriculum import Task
from iotlam_traffic.lanes import LaneNet, LaneView, LaneViews, lane_view

Weights = dict[str, Tensor]


LANE_PPO = PpoConfig(
    gamma=0.97, lam=0.9, epochs=4, batch=1024, learning_rate=1e-3, value_weight=0.5, entropy_weight=0.01
)
"""The knobs; rate and entropy bonus fall over the run, and the value loss is relative to the returns' variance."""


@dataclass(frozen=True, slots=True)
class Drive:
    """One episode to drive.

    Attributes:
        task: the scenario and its seed.
        folder: where random nets are drawn.
        weights: of the `LaneNet` that acts.
    """

    task: Task
    folder: Path
    weights: Weights

    def scenario(self) -> tuple[Scenario, float]:
        """What is driven, and from when on it is learnt from."""
        return self.task.scenario(self.folder)

    def net(self) -> LaneNet:
        """The policy that acts."""
        return net_of(self.weights)


@dataclass(frozen=True, slots=True)
class Driven:
    """What was decided in one episode: T decisions of J junctions, one after the other, (T * J).

    Attributes:
        views: what was known.
        actions: phases chosen.
        log_probs: of those choices then.
        advantages: generalised advantage estimates, standardised within the episode.
        returns: value targets.
        delay_s: mean delay of the episode's vehicles, those before it among them.
    """

    views: list[LaneView]
    actions: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    advantages: NDArray[np.float32]
    returns: NDArray[np.float32]
    delay_s: float


def net_of(weights: Weights) -> LaneNet:
    """A network with these weights, to act."""
    torch.set_num_threads(1)
    net = LaneNet()
    net.load_state_dict(weights)
    return net.eval()


@torch.no_grad()
def drive(job: Drive, config: PpoConfig) -> Driven:
    """Act by drawing from the policy's probabilities."""
    net, generator = job.net(), torch.Generator().manual_seed(job.task.seed)
    views: list[LaneView] = []
    steps = []
    scenario, from_s = job.scenario()
    with Street(scenario, job.task.seed) as street:
        while not street.done:
            learnt = street.time_s >= from_s
            seen = [lane_view(junction) for junction in street.junctions]
            scores_JP, values_J = net(LaneViews.of(seen))
            log_prob_JP = scores_JP.log_softmax(-1)
            action_J = torch.multinomial(log_prob_JP.exp(), 1, generator=generator)
            lost_s_J = street.advance(action_J[:, 0].tolist())
            if learnt:
                views += seen
                chosen_J = log_prob_JP.gather(1, action_J)[:, 0]
                reward_J = -lost_s_J / LOST_S_PER_REWARD
                steps.append((action_J[:, 0].numpy(), chosen_J.numpy(), values_J.numpy(), reward_J))
        delay_s = street.finish().delay_s
    action_TJ, log_prob_TJ, value_TJ, reward_TJ = (np.stack(each) for each in zip(*steps, strict=True))
    advantage_TJ = advantages(reward_TJ, value_TJ, config)
    standard_TJ = standardised(advantage_TJ)
    return_TJ = advantage_TJ + value_TJ
    log_prob_N, standard_N, return_N = (
        each.astype(np.float32).ravel() for each in (log_prob_TJ, standard_TJ, return_TJ)
    )
    return Driven(views, action_TJ.ravel(), log_prob_N, standard_N, return_N, delay_s)


def improve(
    net: LaneNet,
    optimizer: torch.optim.Optimizer,
    driven: Sequence[Driven],
    config: PpoConfig,
    left: float,
    on_step: Callable[[float], None],
) -> dict[str, float]:
    """A few passes over what was driven.

    Args:
        net: changed.
        optimizer: of its parameters.
        driven: episodes of this very policy.
        config: the knobs.
        left: share of the run that is left, 1 to 0: rate and entropy bonus fall with it.
        on_step: told each step's loss.

    Returns:
        Mean KL of the last pass, and the entropy of the policy, nats.
    """
    views = LaneViews.of([view for one in driven for view in one.views])
    action_N, log_prob_N, advantage_N, return_N = (
        torch.from_numpy(np.concatenate([getattr(one, name) for one in driven]))
        for name in ("actions", "log_probs", "advantages", "returns")
    )
    spread = return_N.std() + 1e-3
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * (0.1 + 0.9 * left)
    for _ in range(config.epochs):
        kls, entropies = [], []
        for rows in torch.split(torch.randperm(len(views)), config.batch):
            scores_BP, value_B = net(views[rows])
            log_prob_BP = scores_BP.log_softmax(-1)
            log_prob_B = log_prob_BP.gather(1, action_N[rows, None])[:, 0]
            surrogate, kl, _ = clipped_surrogate(log_prob_B, log_prob_N[rows], advantage_N[rows], config.clip)
            value_loss = ((value_B - return_N[rows]) / spread).square().mean()
            entropy = mean_entropy(log_prob_BP)
            loss = config.value_weight * value_loss - surrogate - config.entropy_weight * left * entropy
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM)
            optimizer.step()
            kls.append(float(kl.detach()))
            entropies.append(float(entropy.detach()))
            on_step(float(loss.detach()))
        if np.mean(kls) > config.max_kl:
            break
    return {"kl": float(np.mean(kls)), "entropy": float(np.mean(entropies))}
