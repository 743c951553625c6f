"""Training the agents: published settings, seeds that no test uses, one network for each map."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from iotlam.contracts import BadInput
from iotlam.training.run_folder import claim
from iotlam_street.junction import SignalRules
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, stretch
from iotlam_traffic.rivals.agent import ALGORITHMS, WEIGHTS, Description, load_sb3, save_agent

SETTINGS: dict[str, dict[str, Any]] = {
    "dqn": {},
    "ppo": {
        "n_steps": 256,
        "batch_size": 256,
        "n_epochs": 5,
        "gamma": 0.95,
        "gae_lambda": 0.99,
        "learning_rate": 0.00062211,
        "ent_coef": 0.0905168,
        "vf_coef": 0.042202,
        "clip_range": 0.3,
        "max_grad_norm": 0.9,
    },
}
"""PPO's are those of sumo-rl's own example `experiments/sb3_grid4x4.py`; all else is Stable-Baselines3's default.

DQN as in its `experiments/dqn_big-intersection.py` had twice the delay on cologne1, and jammed on one seed of three.
"""

CURVE = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent to train.

    Attributes:
        algorithm: `dqn` or `ppo`.
        map: RESCO map or `.sumocfg` file.
        episodes: how many to learn from.
        span_s: length of an episode, cut from the map's hour at random; None for all of it.
        seed: seed of everything.
    """

    algorithm: str
    map: str
    episodes: int = 100
    span_s: float | None = None
    seed: int = 0

    def lived(self) -> Iterator[tuple[Scenario, int]]:
        """Scenarios and SUMO's seeds, without end: the last rollout may reach beyond the last episode."""
        whole, first = find_scenario(self.map), FIRST_TRAINING_SEED * (1 + self.seed)
        return ((stretch(whole, self.span_s, seed), seed) for seed in itertools.count(first))


def train_agent(config: AgentConfig, folder: Path, on_episode: Callable[[float], None]) -> Path:
    """Train one agent, if its folder has none yet; what is not finished begins anew.

    Args:
        config: what to train.
        folder: where its weights, description and curve go.
        on_episode: told the mean delay of each episode, seconds.

    Returns:
        The folder.

    Raises:
        BadInput: if there is no such algorithm or map, or the folder holds another agent.
        MissingExtra: if Stable-Baselines3 is not installed.
    """
    if config.algorithm not in ALGORITHMS:
        got, known = f"'{config.algorithm}'", " or ".join(ALGORITHMS)
        raise BadInput("Algorithm", expected=known, got=got, fix="name one of them")
    plans = read_plans(find_scenario(config.map).net)
    sb3 = load_sb3()
    claim(folder, json.dumps({**asdict(config), "settings": SETTINGS[config.algorithm]}, indent=2))
    if (folder / WEIGHTS).exists():
        return folder
    torch.set_num_threads(1)
    from iotlam_traffic.rivals.vec_env import StreetVecEnv

    delays_s: list[float] = []

    def finished(delay_s: float) -> None:
        if len(delays_s) < config.episodes:
            delays_s.append(delay_s)
            on_episode(delay_s)

    env = StreetVecEnv(config.lived(), finished)
    try:
        steps = config.episodes * _decisions(config) * len(plans)
        model = _model(sb3, config, env, steps)
        model.learn(steps)
    finally:
        env.close()
    lines = [json.dumps({"episode": n, "delay_s": round(each, 3)}) + "\n" for n, each in enumerate(delays_s, 1)]
    (folder / CURVE).write_text("".join(lines))
    save_agent(model.policy, Description(config.algorithm, env.sizes), folder)
    return folder


def _model(sb3: Any, config: AgentConfig, env: Any, steps: int) -> Any:
    """The untrained model of Stable-Baselines3."""
    settings = SETTINGS[config.algorithm]
    if config.algorithm == "dqn":  # as often for each transition, however many junctions share the network
        settings = {**settings, "gradient_steps": env.num_envs, "buffer_size": steps}
    kind = {"dqn": sb3.DQN, "ppo": sb3.PPO}[config.algorithm]
    return kind("MlpPolicy", env, seed=config.seed, device="cpu", **settings)


def _decisions(config: AgentConfig) -> int:
    """Decisions of one episode."""
    duration_s = stretch(find_scenario(config.map), config.span_s, 0).duration_s
    return math.ceil(duration_s / SignalRules().decision_s)
