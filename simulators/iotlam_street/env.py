"""The junction as a Gymnasium environment, on lane state; sensors are read with `Junction`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from iotlam_street.junction import Junction, LaneTraffic, SignalRules
from iotlam_street.plan import read_plan
from iotlam_street.scenarios import Scenario

LOST_S_PER_REWARD = 100.0
"""Vehicle-seconds that cost one unit of reward."""

LANE_FEATURES = ("vehicles within 50 m", "halting within 200 m", "waiting seconds within 50 m", "mean speed m/s")


class StreetEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Choose a green phase every decision; observe the lanes; pay for the time vehicles lose.

    Observation: float32 (K * 4 + P,): `LANE_FEATURES` of each incoming lane, then the phase in force
    one-hot. Action: index of a green phase. Reward: minus the vehicle-seconds lost, over `LOST_S_PER_REWARD`.
    `info["allowed"]` marks the phases that the action rules allow.

    Args:
        scenario: net, demand and hour.
        rules: the action rules.
    """

    def __init__(self, scenario: Scenario, rules: SignalRules | None = None) -> None:
        self.scenario, self.rules, self.plan = scenario, rules, read_plan(scenario.net)
        self.junction: Junction | None = None
        phases, lanes = self.plan.serves_PK.shape
        self.action_space = gymnasium.spaces.Discrete(phases)
        size = lanes * len(LANE_FEATURES) + phases
        self.observation_space = gymnasium.spaces.Box(0.0, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; the seed is SUMO's, drawn from the environment's generator when None."""
        super().reset(seed=seed)
        self.close()
        sumo_seed = int(self.np_random.integers(1, 2**31 - 1)) if seed is None else seed
        self.junction = Junction(self.scenario, sumo_seed, self.rules, plan=self.plan)
        return self._observe(self.junction), {"allowed": self.junction.allowed_P}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Show the phase until the next decision; the last step's info carries `trips`."""
        if self.junction is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if not self.action_space.contains(np.int64(action)):
            raise gymnasium.error.InvalidAction(f"expected a phase of {self.action_space}, got {action}")
        lost_s = self.junction.advance(int(action))
        observation = self._observe(self.junction)
        info: dict[str, Any] = {"allowed": self.junction.allowed_P}
        truncated = self.junction.done
        if truncated:
            info["trips"] = self.junction.finish()
            self.close()
        return observation, -lost_s / LOST_S_PER_REWARD, False, truncated, info

    def close(self) -> None:
        """End a running episode."""
        if self.junction is not None:
            self.junction.close()
            self.junction = None

    def _observe(self, junction: Junction) -> NDArray[np.float32]:
        lanes = [_lane_features(traffic) for traffic in junction.traffic()]
        phase = np.eye(len(self.plan.green_states), dtype=np.float32)[junction.phase]
        return np.concatenate([*lanes, phase]).astype(np.float32)


def _lane_features(traffic: LaneTraffic) -> NDArray[np.float32]:
    near = (traffic.distance_N <= 50.0) & traffic.own_N
    speed = traffic.speed_N[traffic.own_N]
    mean_speed = float(speed.mean()) if len(speed) else 0.0
    waiting = float(traffic.waiting_N[near].sum())
    return np.array([near.sum(), traffic.halting(200.0), waiting, mean_speed], dtype=np.float32)
