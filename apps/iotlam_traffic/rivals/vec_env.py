"""The junctions of a street as the environments that Stable-Baselines3 trains on, all of one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_traffic.rivals.signals import Sizes, WaitingReward, observe, phases

Episodes = Iterator[tuple[Scenario, int]]


def spaces(sizes: Sizes) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Discrete]:
    """Observations and actions of an agent."""
    return gymnasium.spaces.Box(0.0, 1.0, (sizes.features,), np.float32), gymnasium.spaces.Discrete(sizes.phases)


class StreetVecEnv(VecEnv):
    """One environment for each of the J junctions of a street; all begin and end together.

    What the action rules forbid is replaced by the street.

    Args:
        episodes: scenarios of one net and SUMO's seeds, as many as are asked for.
        on_episode: told the mean delay of each finished episode, seconds.
    """

    render_mode: str | None = None

    def __init__(self, episodes: Episodes, on_episode: Callable[[float], None]) -> None:
        self._episodes, self._on_episode = episodes, on_episode
        self._first: tuple[Scenario, int] | None = next(episodes)
        self.sizes = Sizes.of(read_plans(self._first[0].net))
        super().__init__(self.sizes.junctions, *spaces(self.sizes))
        self._street: Street | None = None
        self._actions_J = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Begin the next episode; what the agents see, (J, F)."""
        self.close()
        scenario, seed = self._first or next(self._episodes)
        self._first = None
        self._street = Street(scenario, seed)
        self._reward = WaitingReward(self.num_envs)
        return observe(self._street.junctions, self.sizes)

    def step_async(self, actions: NDArray[np.integer]) -> None:
        """Take the phases that the agents ask for, (J,)."""
        self._actions_J = np.asarray(actions)

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Show them until the next decision; at the end of an episode the next one begins."""
        street = self._street
        assert street is not None, "call reset() before step()"
        street.advance(phases(self._actions_J, street.junctions))
        seen, reward_J = observe(street.junctions, self.sizes), self._reward(street.junctions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done_J = np.full(self.num_envs, street.done)
        if street.done:
            infos = [{"terminal_observation": row, "TimeLimit.truncated": True} for row in seen]
            self._on_episode(street.finish().delay_s)
            seen = self.reset()
        return seen, reward_J, done_J, infos

    def close(self) -> None:
        """End a running episode."""
        if self._street is not None:
            self._street.close()
            self._street = None

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, the same for all agents."""
        return [getattr(self, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Agents have no attributes of their own."""
        raise NotImplementedError

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Agents have no methods of their own."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * len(self._rows(indices))

    def _rows(self, indices: Any) -> Sequence[int]:
        rows: Sequence[int] = list(self._get_indices(indices))
        return rows
