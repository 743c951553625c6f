"""The PettingZoo environment: the interface's own test, and that each agent's numbers are its junction's."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from iotlam_street.env import StreetEnv, StreetParallelEnv
from iotlam_street.scenarios import Scenario, find_scenario

Actions = dict[str, np.int64]


@pytest.fixture
def three() -> Scenario:
    scenario = find_scenario("cologne3")
    return replace(scenario, end_s=scenario.begin_s + 120)


def test_pettingzoo_accepts_it(three: Scenario) -> None:
    env = StreetParallelEnv(three)
    parallel_api_test(env, num_cycles=30)
    env.close()


def test_an_episode(three: Scenario) -> None:
    env = StreetParallelEnv(three)
    observations, infos = env.reset(seed=1)
    assert list(observations) == list(infos) == env.agents == env.possible_agents
    rewards: dict[str, float] = dict.fromkeys(env.agents, 0.0)
    for turn in range(12):
        actions: Actions = {name: np.int64(turn % env.action_space(name).n) for name in env.agents}  # type: ignore[attr-defined]
        observations, paid, ended, cut, infos = env.step(actions)
        rewards = {name: rewards[name] + paid[name] for name in paid}
        assert all(env.observation_space(name).contains(seen) for name, seen in observations.items())
        assert set(ended.values()) == {False} and set(cut.values()) == {turn == 11}
    assert env.agents == [] and all(info["trips"].vehicles > 30 for info in infos.values())
    assert all(reward < 0.0 for reward in rewards.values())


def test_with_one_junction_it_is_the_gymnasium_environment() -> None:
    scenario = find_scenario("cologne1")
    scenario = replace(scenario, end_s=scenario.begin_s + 100)
    alone, env = StreetEnv(scenario), StreetParallelEnv(scenario)
    seen, _ = alone.reset(seed=4)
    (name,) = env.possible_agents
    together, _ = env.reset(seed=4) if alone.close() is None else ({}, {})
    np.testing.assert_array_equal(together[name], seen)
    env.close()


def test_an_action_that_is_missing_or_none_is_refused(three: Scenario) -> None:
    env = StreetParallelEnv(three)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step({})
    env.reset(seed=1)
    first = env.agents[0]
    with pytest.raises(gymnasium.error.InvalidAction, match=f"for '{first}', got None"):
        env.step({})
    with pytest.raises(gymnasium.error.InvalidAction, match="got 9"):
        env.step({name: np.int64(9) for name in env.agents})
    env.close()
