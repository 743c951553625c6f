"""The Gymnasium environment: it keeps the rules of the interface, and its numbers are the junction's."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from iotlam_street.env import LANE_FEATURES, StreetEnv, observe
from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street


@pytest.fixture
def short() -> Scenario:
    scenario = find_scenario("cologne1")
    return Scenario(scenario.name, scenario.net, scenario.routes, scenario.begin_s, scenario.begin_s + 120)


def test_gymnasium_accepts_it(short: Scenario) -> None:
    env = StreetEnv(short)
    check_env(env, skip_render_check=True)
    env.close()


def test_an_episode(short: Scenario) -> None:
    env = StreetEnv(short)
    observation, info = env.reset(seed=1)
    assert observation.shape == (8 * len(LANE_FEATURES) + 4,) and observation.dtype == np.float32
    assert observation.tolist() == [0.0] * 32 + [1.0, 0.0, 0.0, 0.0]  # an empty road, the first phase
    rewards, phases, lost = [], [], False
    for step in range(12):
        observation, reward, terminated, lost, info = env.step(np.int64(step % 4))
        assert env.observation_space.contains(observation) and not terminated
        assert lost == (step == 11)
        rewards.append(reward)
        phases.append(int(observation[32:].argmax()))
    assert phases == [step % 4 for step in range(12)]
    assert observation[0:32:4].sum() > 0 and observation[2:32:4].sum() > 0  # vehicles, and they wait
    trips = info["trips"]
    assert all(reward <= 0.0 for reward in rewards)
    assert sum(rewards) == pytest.approx(-trips.delay_s * trips.vehicles / 100.0, rel=0.1)


def test_what_is_observed_is_what_is_there(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        for phase in (0, 0, 0, 2, 2, 0):
            street.advance([phase])
        rows, traffic = observe(junction)[:32].reshape(8, 4), junction.traffic()
    assert rows[:, 0].sum() >= 5
    for row, lane in zip(rows, traffic, strict=True):
        near = (lane.distance_N <= 50.0) & lane.own_N
        speed = lane.speed_N[lane.own_N].mean() if lane.own_N.any() else 0.0
        want = [lane.within(50.0), lane.halting(200.0), lane.waiting_N[near].sum(), speed]
        np.testing.assert_allclose(row, want, rtol=1e-5)


def test_better_control_is_paid_better(short: Scenario) -> None:
    env = StreetEnv(short)
    totals = {}
    for name in ("alternate", "one phase for ever"):
        env.reset(seed=1)
        steps = [env.step(np.int64(2 * (i // 2 % 2) if name == "alternate" else 3))[1] for i in range(12)]
        totals[name] = sum(steps)
    assert totals["alternate"] > totals["one phase for ever"]
    env.close()


def test_allowed_phases_are_told_and_kept(short: Scenario) -> None:
    env = StreetEnv(short, SignalRules(decision_s=5))
    _, info = env.reset(seed=1)
    assert info["allowed"].all()
    *_, info = env.step(np.int64(2))
    assert info["allowed"].tolist() == [False, False, True, False]
    observation, *_ = env.step(np.int64(0))
    assert observation[32:].argmax() == 2
    env.close()


def test_seeds_decide_and_no_seed_goes_on_drawing(short: Scenario) -> None:
    env = StreetEnv(short)

    def after(seed: int | None) -> list[float]:
        env.reset(seed=seed)
        for _ in range(8):
            observation, *_ = env.step(np.int64(0))
        return [float(value) for value in observation]

    first, drawn = after(5), after(None)
    assert after(5) == first and after(None) == drawn
    assert drawn != first
    env.close()


def test_no_step_outside_an_episode(short: Scenario) -> None:
    env = StreetEnv(short)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.int64(0))
    env.reset(seed=1)
    while not env.step(np.int64(0))[3]:
        pass
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.int64(0))
    env.close()
    env.close()


@pytest.mark.parametrize("action", [-1, 4])
def test_a_phase_that_is_none_is_refused(short: Scenario, action: int) -> None:
    env = StreetEnv(short)
    env.reset(seed=1)
    with pytest.raises(gymnasium.error.InvalidAction, match=f"got {action}"):
        env.step(np.int64(action))
    env.close()
