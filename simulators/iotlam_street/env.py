"""Streets as environments, on lane state: Gymnasium for one junction, PettingZoo for any number.

Sensors are read with `Street.junctions`, in the same loop that these run.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from iotlam.contracts import BadInput
from iotlam_street.junction import HALTING_MPS, Junction, SignalRules
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street

LOST_S_PER_REWARD = 100.0
"""Vehicle-seconds that cost one unit of reward."""

LANE_FEATURES = ("vehicles within 50 m", "halting within 200 m", "waiting seconds within 50 m", "mean speed m/s")
MAX_SEED = 2**31 - 1


def observation_space(plan: SignalPlan) -> gymnasium.spaces.Space[NDArray[np.float32]]:
    """Float32 (K * 4 + P,): `LANE_FEATURES` of each incoming lane, then the phase in force one-hot."""
    phases, lanes = plan.serves_PK.shape
    return gymnasium.spaces.Box(0.0, np.inf, (lanes * len(LANE_FEATURES) + phases,), np.float32)


def observe(junction: Junction) -> NDArray[np.float32]:
    """What a junction's agent sees; see `observation_space`."""
    plan, width = junction.plan, len(LANE_FEATURES)
    seen = [0.0] * (len(plan.lanes) * width + len(plan.green_states))
    seen[len(plan.lanes) * width + junction.phase] = 1.0
    for lane, vehicles in junction.on_lanes():
        near_s = [waiting_s for distance_m, _, waiting_s in vehicles if distance_m <= 50.0]
        halting = [speed_mps < HALTING_MPS for distance_m, speed_mps, _ in vehicles if distance_m <= 200.0]
        speeds = [speed_mps for _, speed_mps, _ in vehicles]
        seen[lane * width : (lane + 1) * width] = len(near_s), sum(halting), sum(near_s), sum(speeds) / len(speeds)
    return np.array(seen, dtype=np.float32)


class StreetEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Choose one junction's green phase every decision; observe its lanes; pay for the time vehicles lose.

    Observation: see `observation_space`. Action: index of a green phase. Reward: minus the vehicle-seconds lost, over
    `LOST_S_PER_REWARD`. `info["allowed"]` marks the phases that the action rules allow.

    Args:
        scenario: net, demand and hour.
        rules: the action rules.

    Raises:
        BadInput: if the net has several signals with a choice.
    """

    def __init__(self, scenario: Scenario, rules: SignalRules | None = None) -> None:
        self.scenario, self.rules, plans = scenario, rules, read_plans(scenario.net)
        if len(plans) != 1:
            raise BadInput(
                str(scenario.net),
                expected="one traffic light with a choice",
                got=f"{len(plans)} of them",
                fix="use StreetParallelEnv",
            )
        self.plan = plans[0]
        self.street: Street | None = None
        self.action_space = gymnasium.spaces.Discrete(len(self.plan.green_states))
        self.observation_space: gymnasium.spaces.Space[NDArray[np.float32]] = observation_space(self.plan)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; the seed is SUMO's, drawn from the environment's generator when None."""
        super().reset(seed=seed)
        self.close()
        sumo_seed = int(self.np_random.integers(1, MAX_SEED)) if seed is None else seed
        self.street = Street(self.scenario, sumo_seed, self.rules, plans=[self.plan])
        junction = self.street.junctions[0]
        return observe(junction), {"allowed": junction.allowed_P}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Show the phase until the next decision; the last step's info carries `trips`."""
        if self.street is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if not self.action_space.contains(np.int64(action)):
            raise gymnasium.error.InvalidAction(f"expected a phase of {self.action_space}, got {action}")
        lost_s, junction = float(self.street.advance([int(action)])[0]), self.street.junctions[0]
        observation = observe(junction)
        info: dict[str, Any] = {"allowed": junction.allowed_P}
        truncated = self.street.done
        if truncated:
            info["trips"] = self.street.finish()
            self.close()
        return observation, -lost_s / LOST_S_PER_REWARD, False, truncated, info

    def close(self) -> None:
        """End a running episode."""
        if self.street is not None:
            self.street.close()
            self.street = None


class StreetParallelEnv(ParallelEnv[str, NDArray[np.float32], np.int64]):  # type: ignore[misc]  # it is untyped
    """One agent per signal that has a choice; all decide at the same time.

    Observations, actions and `infos[agent]["allowed"]` as in `StreetEnv`; an agent pays for the time lost on the roads
    whose traffic comes to its signal first. At the end `infos[agent]["trips"]` has the trips of the whole net.

    Args:
        scenario: net, demand and hour.
        rules: the action rules.
    """

    metadata: dict[str, Any] = {"name": "iotlam_street_v0", "render_modes": []}

    def __init__(self, scenario: Scenario, rules: SignalRules | None = None) -> None:
        self.scenario, self.rules = scenario, rules
        self.plans = {plan.signal: plan for plan in read_plans(scenario.net)}
        self.possible_agents = list(self.plans)
        self.agents: list[str] = []
        self.street: Street | None = None
        self._observations = {name: observation_space(plan) for name, plan in self.plans.items()}
        self._actions = {name: gymnasium.spaces.Discrete(len(plan.green_states)) for name, plan in self.plans.items()}
        self._rng = np.random.default_rng()

    def observation_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """The agent's observations."""
        return self._observations[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space[Any]:
        """The agent's phases."""
        return self._actions[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Start an episode; the seed is SUMO's, drawn from the environment's generator when None."""
        self.close()
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        sumo_seed = int(self._rng.integers(1, MAX_SEED)) if seed is None else seed
        self.street = Street(self.scenario, sumo_seed, self.rules, plans=list(self.plans.values()))
        self.agents = list(self.possible_agents)
        return self._observe(self.street), self._infos(self.street)

    def step(
        self, actions: dict[str, np.int64]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Show the phases until the next decision."""
        if self.street is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        for agent in self.agents:
            if not 0 <= actions.get(agent, -1) < len(self.plans[agent].green_states):
                expected = f"a phase of {self._actions[agent]} for '{agent}'"
                raise gymnasium.error.InvalidAction(f"expected {expected}, got {actions.get(agent)}")
        names, street = self.possible_agents, self.street
        lost_s_J = street.advance([int(actions[name]) for name in names])
        observations, infos, truncated = self._observe(street), self._infos(street), street.done
        rewards = {name: -float(lost_s) / LOST_S_PER_REWARD for name, lost_s in zip(names, lost_s_J, strict=True)}
        if truncated:
            trips = street.finish()
            for info in infos.values():
                info["trips"] = trips
            self.close()
        return observations, rewards, dict.fromkeys(names, False), dict.fromkeys(names, truncated), infos

    def close(self) -> None:
        """End a running episode."""
        self.agents = []
        if self.street is not None:
            self.street.close()
            self.street = None

    def _observe(self, street: Street) -> dict[str, NDArray[np.float32]]:
        return {junction.plan.signal: observe(junction) for junction in street.junctions}

    def _infos(self, street: Street) -> dict[str, dict[str, Any]]:
        return {junction.plan.signal: {"allowed": junction.allowed_P} for junction in street.junctions}
