"""Improving the lane policy by looking ahead: what would each phase have cost?

At a state of the running simulation every phase that is allowed is tried in a fork of its own (`Street.what_if`), the
policy goes on from there, and the vehicle-seconds lost before the junction and its neighbours until the horizon are the
phase's cost: what happens further away is chance. All forks meet the same arrivals, so that their differences are the
phase's doing. The policy then learns to spend least on
average: it does not see the arrivals that the forks met, and cannot learn them by heart. It is policy iteration with
rollouts (Lagoudakis and Parr, "Reinforcement learning as classification", ICML 2003; Bertsekas, "Rollout", 2020), where
PPO has to find out from noisy returns which of many decisions was to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from iotlam.contracts import whole_file
from iotlam.training.loop import optimise
from iotlam.training.ppo import mean_entropy
from iotlam_street.env import LOST_S_PER_REWARD
from iotlam_street.street import Street
from iotlam_traffic.lane_ppo import Drive
from iotlam_traffic.lanes import LaneNet, LaneView, LaneViews, best_phases, fill, lane_view, phase_scores
from iotlam_traffic.together import Scores, agree, only

LEAST = np.float32(0.02)
"""Added to an episode's mean cost: where nothing matters much, chance shall not count as much as elsewhere."""


@dataclass(frozen=True, slots=True)
class ForesightConfig:
    """How to look ahead, and how to learn from it.

    Attributes:
        decisions: horizon.
        states: in how many states of an episode phases are tried, drawn from all its decisions and junctions.
        explore: share of decisions that take a random phase instead, so that other states are seen.
        keep: generations of labelled states to learn from.
        epochs: passes over them.
        batch: states a step.
        learning_rate: at the beginning of each generation; it falls to a tenth.
        weight_decay: of AdamW.
        entropy_weight: weight of the entropy bonus.
        most: costs beyond the best phase's are cut to this, in units of reward: a gridlock teaches no more than a jam.
    """

    decisions: int = 6
    states: int = 150
    explore: float = 0.05
    keep: int = 4
    epochs: int = 30
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    entropy_weight: float = 0.002
    most: float = 5.0


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One state, and what each phase costs beyond the best one, (P,), in units of reward; NaN where not allowed."""

    view: LaneView
    cost_P: NDArray[np.float32]


def label(job: Drive, config: ForesightConfig, folder: Path) -> Path:
    """Foresee an episode and write what was found into the folder; a file that exists is kept."""
    path = folder / f"{job.task.name}.safetensors"
    if not path.exists():
        save_states(*foresee(job, config), path)
    return path


def foresee(job: Drive, config: ForesightConfig) -> tuple[list[Foreseen], float]:
    """Drive an episode and label its states; returns them, and the mean delay of its vehicles."""
    net, rng = job.net(), np.random.default_rng(job.task.seed)
    found: list[Foreseen] = []
    scenario, from_s = job.scenario()
    with Street(scenario, job.task.seed) as street:
        fill(street, net, from_s)
        wanted_TJ, begun = _drawn(street, config, rng), len(street.decisions)
        while not street.done:
            seen = [lane_view(junction) for junction in street.junctions]
            scores = phase_scores(net, seen)
            turn = len(street.decisions) - begun
            for row in np.flatnonzero(wanted_TJ[turn]) if turn < len(wanted_TJ) else ():
                if seen[row].allowed_P.sum() > 1:
                    found.append(Foreseen(seen[row], _costs(street, net, scores, int(row), seen[row], config)))
            explored = [_explored(view, scores_P, rng, config) for view, scores_P in zip(seen, scores, strict=True)]
            street.advance(agree(street.junctions, explored))
        return found, street.finish().delay_s


def _drawn(street: Street, config: ForesightConfig, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where phases are tried, by decision and junction (T, J): only decisions that have a horizon."""
    decisions = int((street.scenario.end_s - street.time_s) // street.rules.decision_s) - config.decisions + 1
    wanted_N = np.zeros(max(decisions, 0) * len(street.junctions), dtype=bool)
    wanted_N[: config.states] = True
    return rng.permutation(wanted_N).reshape(-1, len(street.junctions))


def _costs(
    street: Street, net: LaneNet, scores: list[Scores], row: int, view: LaneView, config: ForesightConfig
) -> NDArray[np.float32]:
    tried, near_J = np.flatnonzero(view.allowed_P), street.near_JJ[row]
    ways = [[*scores[:row], only(scores[row], int(phase)), *scores[row + 1 :]] for phase in tried]
    futures = [_future(net, agree(street.junctions, way), near_J, config.decisions) for way in ways]
    cost_P = np.full(len(view.allowed_P), np.nan, np.float32)
    cost_P[tried] = np.array(street.what_if(futures)) / LOST_S_PER_REWARD
    return cost_P - np.float32(np.nanmin(cost_P))


def _future(net: LaneNet, phases: list[int], near_J: NDArray[np.bool_], decisions: int) -> Callable[[Street], float]:
    """These phases now, the policy's afterwards: vehicle-seconds lost before the junctions that are near."""

    def lost_s(street: Street) -> float:
        total = street.advance(phases)[near_J].sum()
        for _ in range(decisions - 1):
            total += street.advance(best_phases(net, street.junctions))[near_J].sum()
        return float(total)

    return lost_s


def _explored(view: LaneView, scores_P: Scores, rng: np.random.Generator, config: ForesightConfig) -> Scores:
    explores = rng.uniform() < config.explore
    return only(scores_P, int(rng.choice(np.flatnonzero(view.allowed_P)))) if explores else scores_P


def learn(
    net: LaneNet,
    episodes: Sequence[Sequence[Foreseen]],
    config: ForesightConfig,
    seed: Sequence[int],
    on_step: Callable[[float], None],
) -> dict[str, float]:
    """Make the policy's expected cost least, relative in each episode to what random choices would cost there.

    Large nets would otherwise outshout the small ones.

    Returns:
        What the policy's choices cost before and after, as shares of what random ones do.
    """
    views = LaneViews.of([one.view for episode in episodes for one in episode])
    costs = [one for episode in episodes for one in _relative([each.cost_P for each in episode], config.most)]
    cost_NP = torch.zeros(views.allowed_BP.shape)
    for row, cost_P in enumerate(costs):
        cost_NP[row, : len(cost_P)] = torch.from_numpy(cost_P)
    before = _cost(net, views, cost_NP)
    parts = -(-len(views) // config.batch)

    def loss_at(step: int) -> Tensor:
        order_N = np.random.default_rng((*seed, step // parts)).permutation(len(views))
        rows = torch.from_numpy(np.array_split(order_N, parts)[step % parts])
        log_prob_BP = net(views[rows])[0].log_softmax(-1)
        cost = (log_prob_BP.exp() * cost_NP[rows]).sum(-1).mean()
        loss: Tensor = cost - config.entropy_weight * mean_entropy(log_prob_BP)
        return loss

    optimise(
        net,
        loss_at,
        steps=config.epochs * parts,
        learning_rate=config.learning_rate,
        warmup=0,
        weight_decay=config.weight_decay,
        on_step=lambda _, loss: on_step(loss),
    )
    return {"cost_before": before, "cost_after": _cost(net, views, cost_NP)}


def _relative(costs: Sequence[NDArray[np.float32]], most: float) -> list[NDArray[np.float32]]:
    """The costs of one episode over their mean; 0 where a phase is not allowed."""
    cut = [np.minimum(cost_P, np.float32(most)) for cost_P in costs]
    mean = np.nanmean(np.concatenate(cut)) + LEAST
    return [np.nan_to_num(cost_P / mean) for cost_P in cut]


def save_states(states: Sequence[Foreseen], delay_s: float, path: Path) -> None:
    """Write the labelled states and the delay of an episode; the file appears whole or not at all."""
    views = LaneViews.of([one.view for one in states])
    cost_NP = np.full(tuple(views.allowed_BP.shape), np.nan, np.float32)
    for row, one in enumerate(states):
        cost_NP[row, : len(one.cost_P)] = one.cost_P
    tensors = {name: getattr(views, name) for name in views.__dataclass_fields__}
    with whole_file(path) as partial:
        save_file(tensors | {"cost_NP": torch.from_numpy(cost_NP), "delay_s": torch.tensor(delay_s)}, partial)


def load_states(path: Path) -> tuple[list[Foreseen], float]:
    """Read what `save_states` wrote."""
    tensors = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    lanes_N, phases_N = (tensors[name].sum(1).astype(int) for name in ("lane_mask_BK", "phase_mask_BP"))
    states = []
    for row, (k, p) in enumerate(zip(lanes_N, phases_N, strict=True)):
        view = LaneView(
            tensors["lanes_BKF"][row, :k],
            tensors["phases_BPF"][row, :p],
            tensors["serves_BPK"][row, :p, :k],
            tensors["allowed_BP"][row, :p],
        )
        states.append(Foreseen(view, tensors["cost_NP"][row, :p]))
    return states, float(tensors["delay_s"])


@torch.no_grad()
def _cost(net: LaneNet, views: LaneViews, cost_NP: Tensor) -> float:
    return float(cost_NP.gather(1, net(views)[0].argmax(-1, keepdim=True)).mean())
