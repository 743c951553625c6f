"""Which episodes are learnt from: maps and random junctions in turn, never a seed of the test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, LEARNT_MAPS, RANDOM, RANDOM_S, TEST_SEEDS, Task, tasks
from iotlam_traffic.train import REINFORCE, REVISIT, ROUND, TrainConfig


def test_every_episode_of_a_round_has_a_seed_of_its_own() -> None:
    names = [task.name for task in tasks(("cologne1", "cologne1", RANDOM), 2, first_seed=50)]
    assert names == ["cologne1-50", "cologne1-51", "random-52", "cologne1-53", "cologne1-54", "random-55"]


def test_no_test_seed_is_learnt() -> None:
    learnt = {task.seed for task in tasks(LEARNT_MAPS, 20)}
    assert min(learnt) == FIRST_TRAINING_SEED == 100_000 and not learnt & set(TEST_SEEDS)
    with pytest.raises(BadInput, match="training seeds above 10, got 10"):
        tasks(("cologne1",), 1, first_seed=10)


def test_nothing_wanted_is_nothing() -> None:
    assert tasks((), 3) == [] and tasks(("cologne1",), 0) == []


def test_a_stretch_is_cut_from_the_hour(tmp_path: Path) -> None:
    whole = find_scenario("cologne1")
    stretches = [Task("cologne1", seed, 600.0).scenario(tmp_path) for seed in range(8)]
    assert {one.end_s - from_s for one, from_s in stretches} == {600.0} and len({from_s for _, from_s in stretches}) > 4
    assert all(one.begin_s == whole.begin_s and one.end_s <= whole.end_s for one, _ in stretches)  # streets fill first
    for span_s in (9000.0, None):
        assert Task("cologne1", 1, span_s).scenario(tmp_path) == (whole, whole.begin_s)


def test_a_random_task_draws_its_junction(tmp_path: Path) -> None:
    scenario, from_s = Task("random", 77).scenario(tmp_path)
    assert from_s == scenario.begin_s
    assert scenario.duration_s == RANDOM_S
    assert scenario.net.is_relative_to(tmp_path / "random-77")
    assert read_plans(scenario.net)[0].lanes


def test_a_task_takes_a_map_or_a_file(tmp_path: Path, short_config: Path) -> None:
    assert Task("cologne1", 1000).scenario(tmp_path)[0].name == "cologne1"
    task = Task(str(short_config), 1000)
    assert task.scenario(tmp_path)[0].duration_s == 120.0
    assert re.fullmatch("short-[0-9a-f]{8}-1000", task.name)


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    one, other = Task(str(tmp_path / "a" / "x.sumocfg"), 1), Task(str(tmp_path / "b" / "x.sumocfg"), 1)
    assert one.name != other.name
    monkeypatch.chdir(tmp_path)
    for same in ("a/x.sumocfg", "./a/x.sumocfg", "b/../a/x.sumocfg"):
        assert Task(same, 1).name == one.name


def test_runs_and_stages_never_share_a_seed() -> None:
    """However many episodes the stages have, each keeps to its own range, and each run to its own."""
    later = [(stage + ROUND * turn, 1) for stage in (REVISIT, REINFORCE) for turn in range(12)]
    stages = [(0, 12), *later]
    met: set[int] = set()
    for run in range(3):
        config = TrainConfig(seed=run)
        for offset, turns in stages:
            seeds = {task.seed for task in config.tasks(turns, offset)}
            assert not met & seeds
            met |= seeds
    assert min(met) >= FIRST_TRAINING_SEED and max(met) < 2**31
