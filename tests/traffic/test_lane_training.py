"""Learning on lane state: estimates against sums written out, labels against lived futures, and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.training.ppo import PpoConfig, advantages
from iotlam_street.env import LOST_S_PER_REWARD
from iotlam_street.street import Street
from iotlam_traffic import train_lanes
from iotlam_traffic.curriculum import Task
from iotlam_traffic.foresight import Foreseen, ForesightConfig, foresee, learn, load_states, save_states
from iotlam_traffic.lane_ppo import LANE_PPO, Drive, drive
from iotlam_traffic.lanes import (
    EDGES_M,
    LANE_FEATURES,
    PHASE_FEATURES,
    LaneNet,
    LaneView,
    best_phases,
    lane_view,
    phase_scores,
)
from iotlam_traffic.train_lanes import LaneRun, LaneRunConfig


@pytest.fixture
def job(short_config: Path, tmp_path: Path) -> Drive:
    """Two minutes of cologne1 under a policy that knows nothing."""
    torch.manual_seed(0)
    return Drive(Task(str(short_config), 100_000), tmp_path, LaneNet().state_dict())


def made_up(count: int) -> list[Foreseen]:
    """States whose cheapest phase is the one that serves the fuller of two lanes."""
    rng, states = np.random.default_rng(0), []
    for _ in range(count):
        lanes_KF = np.zeros((2, LANE_FEATURES), np.float32)
        lanes_KF[:, 0] = rng.integers(0, 5, 2)
        phases_PF = np.zeros((2, PHASE_FEATURES), np.float32)
        view = LaneView(lanes_KF, phases_PF, np.eye(2, dtype=np.float32), np.ones(2, dtype=bool))
        states.append(Foreseen(view, (lanes_KF[:, 0].max() - lanes_KF[:, 0]).astype(np.float32)))
    return states


def test_advantages_are_discounted_surprises() -> None:
    reward = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    value = np.array([[0.5, 0.1], [0.4, 0.2], [0.3, 0.3]])
    config = PpoConfig(gamma=0.9, lam=0.8)
    surprise = reward + 0.9 * np.vstack([value[1:], value[-1:]]) - value
    want = [surprise[t:].T @ (0.72 ** np.arange(3 - t)) for t in range(3)]
    np.testing.assert_allclose(advantages(reward, value, config), want)


def test_a_drive_is_recorded_as_it_was(job: Drive) -> None:
    driven = drive(job, LANE_PPO)
    assert len(driven.views) == len(driven.actions) == len(driven.returns) == 12
    assert len(set(driven.actions.tolist())) > 1
    chosen = [view.phases_PF[:, 0].argmax() for view in driven.views[1:]]
    assert chosen == driven.actions[:-1].tolist()  # each is in force at the next decision
    np.testing.assert_allclose(driven.log_probs, np.log(1 / 4), rtol=1e-5)  # at first every phase is as good as any
    assert abs(driven.advantages.mean()) < 1e-5 and driven.advantages.std() == pytest.approx(1.0, abs=1e-3)


def test_what_fills_the_street_is_not_learnt_from(tmp_path: Path) -> None:
    driven = drive(Drive(Task("cologne1", 1000, 60.0), tmp_path, LaneNet().state_dict()), LANE_PPO)
    assert len(driven.views) in (5, 6) and driven.views[0].lanes_KF[:, : len(EDGES_M)].sum() > 3.0


def test_labels_are_what_each_phase_would_have_cost(job: Drive) -> None:
    states, _ = foresee(job, ForesightConfig(decisions=3, explore=0.0))
    assert len(states) == 10  # the last two of twelve decisions have no horizon
    net, (scenario, _) = job.net(), job.scenario()
    lost_s = []
    for phase in range(4):  # live the futures of the sixth decision
        with Street(scenario, job.task.seed) as street:
            for _ in range(5):
                street.advance(best_phases(net, street.junctions))
            np.testing.assert_array_equal(lane_view(street.junctions[0]).lanes_KF, states[5].view.lanes_KF)
            lost = street.advance([phase]).sum()
            for _ in range(2):
                lost += street.advance(best_phases(net, street.junctions)).sum()
            lost_s.append(lost)
    want = (np.array(lost_s) - min(lost_s)) / LOST_S_PER_REWARD
    np.testing.assert_allclose(states[5].cost_P, want, atol=1e-5)
    assert want.max() > 0.0


def test_it_learns_which_phase_costs_least() -> None:
    torch.manual_seed(0)
    net, states = LaneNet(), made_up(300)
    facts = learn(net, [states], ForesightConfig(epochs=40), (0,), lambda _: None)
    assert facts["cost_before"] > 0.8 and facts["cost_after"] < 0.05
    fresh = made_up(400)[300:]
    right = [one.cost_P[phase_scores(net, [one.view])[0].argmax()] == 0.0 for one in fresh]
    assert np.mean(right) > 0.95


def test_an_episode_where_everything_costs_more_is_not_heard_more() -> None:
    facts = []
    for times in (1.0, 50.0):
        torch.manual_seed(0)
        net, quiet = LaneNet(), made_up(64)
        loud = [Foreseen(one.view, np.float32(times) * one.cost_P) for one in quiet]
        facts.append(learn(net, [quiet, loud], ForesightConfig(epochs=1, most=1e3), (0,), lambda _: None))
    assert facts[0] == pytest.approx(facts[1], rel=0.02)


def test_states_survive_a_file(tmp_path: Path, job: Drive) -> None:
    states = [*foresee(job, ForesightConfig(decisions=2))[0], *made_up(3)]  # of different size
    save_states(states, 12.5, tmp_path / "states.safetensors")
    loaded, delay_s = load_states(tmp_path / "states.safetensors")
    assert delay_s == 12.5
    for one, again in zip(states, loaded, strict=True):
        np.testing.assert_array_equal(one.cost_P, again.cost_P)
        for name in ("lanes_KF", "phases_PF", "serves_PK", "allowed_P"):
            np.testing.assert_array_equal(getattr(one.view, name), getattr(again.view, name))


# --- the run


def brief(map_file: Path) -> LaneRunConfig:
    foresight = ForesightConfig(decisions=2, states=4, epochs=4)
    return LaneRunConfig((str(map_file),), 2, 2, per_map=1, span_s=None, foresight=foresight, workers=1)


@pytest.fixture
def config(short_config: Path) -> LaneRunConfig:
    return brief(short_config)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, config_in: Callable[[Path], Path]) -> Path:
    """Folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    LaneRun(folder / "run", brief(config_in(folder))).go()
    return folder / "run"


def curve(folder: Path) -> list[dict[str, object]]:
    """What a run has measured; without times, and without the names of its maps, in which their path is."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    nameless = [{**row, "delay_s": list(row["delay_s"].values())} if "delay_s" in row else row for row in rows]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in nameless]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["improve", "load_states", "learn"])
def test_a_run_that_is_stopped_resumes_to_the_same_curve(
    config: LaneRunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    working, calls = getattr(train_lanes, stage), []

    def stopped_once(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return working(*arguments)

    monkeypatch.setattr(train_lanes, stage, stopped_once)
    with pytest.raises(KeyboardInterrupt):
        LaneRun(tmp_path / "stopped", config).go()
    resumed = LaneRun(tmp_path / "stopped", config).go()
    assert resumed.read_bytes() == (whole / resumed.name).read_bytes()
    assert curve(tmp_path / "stopped") == curve(whole) and len(curve(whole)) == 4
    with pytest.raises(BadInput, match="a run with other options"):
        LaneRun(tmp_path / "stopped", replace(config, seed=1))


@pytest.mark.slow
def test_generations_may_be_asked_for_later(config: LaneRunConfig, whole: Path, tmp_path: Path) -> None:
    first = LaneRun(tmp_path / "later", replace(config, generations=1)).go().read_bytes()
    later = LaneRun(tmp_path / "later", config).go()
    assert later.read_bytes() == (whole / later.name).read_bytes() != first


def test_a_map_that_is_none_leaves_no_folder(tmp_path: Path, config: LaneRunConfig) -> None:
    with pytest.raises(BadInput, match="Map 'cologn1'"):
        LaneRun(tmp_path / "run", replace(config, maps=("random", "cologn1")))
    assert not (tmp_path / "run").exists()
