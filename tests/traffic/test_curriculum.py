"""Which episodes are learnt from: maps and random junctions in turn, never a seed of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_street.plan import read_plan
from iotlam_traffic.curriculum import FIRST_TRAINING_SEED, RANDOM_DURATION_S, TEST_SEEDS, Task, default_maps, tasks


def test_maps_and_random_junctions_take_turns() -> None:
    names = [task.name for task in tasks(("cologne1", "ingolstadt1"), 2, 3, first_seed=50)]
    assert names == [
        "cologne1-50",
        "ingolstadt1-50",
        "random-50",
        "cologne1-51",
        "ingolstadt1-51",
        "random-51",
        "random-52",
    ]


def test_no_test_seed_is_learnt() -> None:
    learnt = {task.seed for task in tasks(default_maps(), 20, 20)}
    assert min(learnt) == FIRST_TRAINING_SEED and not learnt & set(TEST_SEEDS)
    with pytest.raises(BadInput, match="training seeds above 10, got 10"):
        tasks(("cologne1",), 1, 0, first_seed=10)


def test_nothing_wanted_is_nothing() -> None:
    assert tasks((), 3, 0) == [] and tasks(("cologne1",), 0, 0) == []


def test_a_random_task_draws_its_junction(tmp_path: Path) -> None:
    scenario = Task("random", 77).scenario(tmp_path)
    assert scenario.duration_s == RANDOM_DURATION_S
    assert scenario.net.is_relative_to(tmp_path / "random-77")
    assert read_plan(scenario.net).lanes


def test_a_task_takes_a_map_or_a_file(tmp_path: Path, short_config: Path) -> None:
    assert Task("cologne1", 1000).scenario(tmp_path).name == "cologne1"
    task = Task(str(short_config), 1000)
    assert task.name == "short-1000" and task.scenario(tmp_path).duration_s == 120.0
