"""The agents of Stable-Baselines3: what they see and are paid, how they train, and that a folder brings them back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam.contracts import BadInput
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_traffic.episode import run_episode
from iotlam_traffic.rivals.agent import (
    ALGORITHMS,
    DESCRIPTION,
    WEIGHTS,
    Description,
    load_agent,
    new_policy,
    save_agent,
)
from iotlam_traffic.rivals.signals import CAR_M, Sizes, WaitingReward, observe, phases
from iotlam_traffic.rivals.training import CURVE, AgentConfig, train_agent

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3: pip install 'iotlam[rivals]'")


@pytest.fixture
def three() -> Scenario:
    """Four minutes of cologne3."""
    scenario = find_scenario("cologne3")
    return replace(scenario, end_s=scenario.begin_s + 240)


def lanes_at(*lanes: dict[str, float]) -> Any:
    """A junction with lanes a, b, ... and what the vehicles on them have waited in all."""
    plan = SimpleNamespace(lanes=[SimpleNamespace(id=chr(ord("a") + row)) for row in range(len(lanes))])
    return SimpleNamespace(plan=plan, waited=lambda: lanes)


def test_agents_see_phase_and_lanes_padded_and_who_they_are(three: Scenario) -> None:
    with Street(three, 101) as street:
        sizes = Sizes.of([junction.plan for junction in street.junctions])
        for phase in (0, 0, 1, 1, 0, 2, 2, 2, 2, 2):
            street.advance([phase] * 3)
        seen, lane = observe(street.junctions, sizes), street.api.lane
        count, halting = lane.getLastStepVehicleNumber, lane.getLastStepHaltingNumber
        known = [
            [
                min(number(one.id) * CAR_M / one.length, 1.0)
                for number in (count, halting)
                for one in junction.plan.lanes
            ]
            for junction in street.junctions
        ]
    assert sizes == Sizes(3, 8, 4) and seen.shape == (3, 4 + 1 + 2 * 8 + 3)
    np.testing.assert_array_equal(seen[:, :4].argmax(axis=1), [2, 2, 2])
    assert (seen[:, :4].sum(axis=1) == 1).all() and (seen[:, 4] == 1).all() and seen.max() <= 1.0
    for row, shares in enumerate(known):
        lanes = len(shares) // 2
        taken, queued = seen[row, 5:13], seen[row, 13:21]
        np.testing.assert_allclose(taken[:lanes], shares[:lanes], rtol=1e-5)
        np.testing.assert_allclose(queued[:lanes], shares[lanes:], rtol=1e-5)
        assert not taken[lanes:].any() and not queued[lanes:].any()
    assert 0 < seen[:, 13:21].sum() < seen[:, 5:13].sum()
    np.testing.assert_array_equal(seen[:, 21:], np.eye(3))


def test_the_reward_is_the_fall_of_waiting_on_the_lanes_before_the_signal() -> None:
    reward = WaitingReward(2)
    steps = [
        (lanes_at({"car": 30.0}, {}), lanes_at({"bus": 5.0})),
        (lanes_at({"car": 50.0}, {"van": 10.0}), lanes_at({})),
        (lanes_at({}, {"car": 52.0, "van": 10.0}), lanes_at({})),  # what the car waited on the lane before is past
        (lanes_at({}, {}), lanes_at({"van": 12.0})),  # nor what it waited before another signal
    ]
    paid = [reward(step) for step in steps]
    np.testing.assert_allclose(paid, [[-0.3, -0.05], [-0.3, 0.05], [0.48, 0.0], [0.12, -0.02]], atol=1e-6)


def test_a_phase_that_a_junction_has_not_keeps_the_one_in_force() -> None:
    small, large = (SimpleNamespace(plan=SimpleNamespace(green_states=("G",) * size), phase=1) for size in (2, 4))
    assert phases(np.array([3, 3]), [small, large]) == [1, 3]  # type: ignore[list-item]
    assert phases(np.array([0, 1]), [small, large]) == [0, 1]  # type: ignore[list-item]


def test_a_street_is_an_environment_for_each_junction(three: Scenario) -> None:
    from iotlam_traffic.rivals.vec_env import StreetVecEnv

    begun: list[int] = []

    def episodes() -> Iterator[tuple[Scenario, int]]:
        for seed in itertools.count(100_000):
            begun.append(seed)
            yield replace(three, end_s=three.begin_s + 55), seed

    delays_s: list[float] = []
    env = StreetVecEnv(episodes(), delays_s.append)
    seen = env.reset()
    assert env.num_envs == 3 and all(env.observation_space.contains(row) for row in seen)
    paid, ends = np.zeros(3), []
    for turn in range(12):
        seen, reward_J, done_J, infos = env.step(np.array([turn % 4, 0, 3]))
        paid += reward_J
        ends.append(bool(done_J.all()))
        assert done_J.any() == done_J.all() and all(env.observation_space.contains(row) for row in seen)
        for row, info in enumerate(infos):
            assert done_J[row] == ("terminal_observation" in info) == info.get("TimeLimit.truncated", False)
            assert not done_J[row] or not np.array_equal(info["terminal_observation"], seen[row])
    env.close()
    assert ends == [turn in (5, 11) for turn in range(12)] and len(delays_s) == 2
    assert begun == [100_000, 100_001, 100_002] and (paid < 0).any()


def test_training_never_sees_a_seed_of_the_test_and_cuts_its_hours() -> None:
    lived = list(itertools.islice(AgentConfig("dqn", "cologne3", span_s=600.0, seed=2).lived(), 5))
    assert [seed for _, seed in lived] == list(range(300_000, 300_005))
    assert {scenario.duration_s for scenario, _ in lived} == {600.0}
    assert len({scenario.begin_s for scenario, _ in lived}) > 3
    whole = next(AgentConfig("ppo", "cologne3").lived())
    assert whole == (find_scenario("cologne3"), 100_000)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_agent_is_trained_kept_and_put_in_charge(algorithm: str, short_config: Path, tmp_path: Path) -> None:
    config, delays_s = AgentConfig(algorithm, str(short_config), episodes=2), []
    folder = train_agent(config, tmp_path / "agent", delays_s.append)
    assert sorted(path.name for path in folder.iterdir()) == sorted([DESCRIPTION, CURVE, WEIGHTS, "run.json"])
    curve = [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]
    assert [row["delay_s"] for row in curve] == [round(delay_s, 3) for delay_s in delays_s] and len(curve) == 2
    trained = (folder / WEIGHTS).read_bytes()

    def again(delay_s: float) -> None:
        pytest.fail("it is trained already")

    assert train_agent(config, folder, again) == folder and (folder / WEIGHTS).read_bytes() == trained
    with pytest.raises(BadInput, match="a run with other options"):
        train_agent(replace(config, episodes=3), folder, again)
    agent, fresh = load_agent(folder, algorithm), new_policy(Description(algorithm, Sizes(1, 8, 4)))
    assert agent.name == algorithm and agent.native is None
    moved = [not value.equal(agent.policy.state_dict()[name]) for name, value in fresh.state_dict().items()]
    assert sum(moved) > len(moved) / 2
    trips = run_episode(agent, find_scenario(str(short_config)), 101)
    assert trips.vehicles > 10


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_folder_brings_the_same_choices_back(algorithm: str, tmp_path: Path, three: Scenario) -> None:
    description = Description(algorithm, Sizes.of(read_plans(three.net)))
    policy = new_policy(description)
    save_agent(policy, description, tmp_path)
    agent = load_agent(tmp_path, algorithm)
    seen = np.random.default_rng(0).random((50, description.sizes.features)).astype(np.float32)
    first, same = (one.predict(seen, deterministic=True)[0] for one in (policy, agent.policy))
    np.testing.assert_array_equal(first, same)
    assert len(set(first.tolist())) > 1
    with Street(three, 101) as street:
        chosen = agent.choose(street.junctions)
        assert len(chosen) == 3 and all(phase < 4 for phase in chosen) and chosen[0] < 3


def test_what_is_no_agent_for_here_is_told_in_one_sentence(tmp_path: Path, three: Scenario) -> None:
    description = Description("dqn", Sizes(1, 8, 4))
    save_agent(new_policy(description), description, tmp_path)
    with pytest.raises(BadInput, match="Agent 'ppo': expected its folder, got one of 'dqn'; train one"):
        load_agent(tmp_path, "ppo")
    agent = load_agent(tmp_path, "dqn")
    with (
        Street(three, 101) as street,
        pytest.raises(BadInput, match="1 signals, at most 8 lanes.*got one of 3 signals"),
    ):
        agent.choose(street.junctions)
    save_agent(new_policy(description), replace(description, sizes=Sizes(1, 9, 4)), tmp_path)
    with pytest.raises(BadInput, match="Agent 'dqn': expected its folder, got Error"):
        load_agent(tmp_path, "dqn")
    (tmp_path / DESCRIPTION).write_text("{}")
    with pytest.raises(BadInput, match="Agent 'dqn'"):
        load_agent(tmp_path, "dqn")
    with pytest.raises(BadInput, match="none in"):
        load_agent(tmp_path / "absent", "dqn")
    with pytest.raises(BadInput, match="Algorithm: expected dqn or ppo, got 'a3c'"):
        train_agent(AgentConfig("a3c", "cologne1"), tmp_path / "new", lambda _: None)
    assert not (tmp_path / "new").exists()


def test_an_agent_is_trained_and_competes_by_command(short_config: Path, tmp_path: Path) -> None:
    runner, out = CliRunner(), tmp_path / "agent"
    trained = runner.invoke(
        app, ["traffic", "train-agent", "dqn", str(short_config), "--episodes", "1", "--out", str(out)]
    )
    assert trained.exit_code == 0 and str(out) in trained.stdout, trained.output
    who = ["--controllers", f"greedy,dqn={out}", "--seeds", "101", "--json"]
    result = runner.invoke(app, ["traffic", "evaluate", str(short_config), *who])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["episodes"]
    assert [row["controller"] for row in rows] == ["greedy", "dqn"] and len({row["vehicles"] for row in rows}) == 1
