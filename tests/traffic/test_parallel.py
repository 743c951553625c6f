"""Episodes in processes of their own: repeatable, errors as they were raised, and nothing left after one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from iotlam.contracts import BadInput, IotlamError
from iotlam.training.parallel import run_parallel
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_traffic.evaluate import Outcome, Trial, run_trial

WORK = """
import os, tempfile, time
from pathlib import Path
from iotlam_traffic.evaluate import run_trial

def work(item):
    folder, trial, patient = item
    tempfile.tempdir = str(folder / "temporary")
    (folder / f"{trial.seed}.begun").write_text(str(os.getpid()))
    while patient and not list((folder / "temporary").glob("iotlam-sumo-*/errors.txt")):
        time.sleep(0.01)  # until the other one is well on its way
    outcome = run_trial(trial)
    (folder / f"{trial.seed}.done").touch()
    return outcome
"""
Item = tuple[Path, Trial, bool]


@pytest.fixture
def hour() -> Trial:
    """An episode that takes much longer than a test may."""
    scenario = find_scenario("cologne1")
    return Trial("greedy", replace(scenario, end_s=scenario.end_s + 86_400.0), 1)


@pytest.fixture
def bad(tmp_path: Path, short: Scenario) -> Trial:
    """An episode whose demand turns bad on the way."""
    routes = tmp_path / "late.rou.xml"
    depart_s = short.begin_s + 100
    routes.write_text(f'<routes><trip id="ghost" depart="{depart_s}" from="nowhere" to="nowhere"/></routes>')
    return Trial("greedy", replace(short, routes=(routes,)), 2)


@pytest.fixture
def watched(install: Callable[..., Path], tmp_path: Path) -> Callable[[Item], Outcome]:
    """`run_trial` that leaves a note of its process and has its temporary files in `tmp_path / "temporary"`."""
    import importlib

    install("acme_work", WORK, {})
    (tmp_path / "temporary").mkdir()
    module: ModuleType = importlib.import_module("acme_work")
    work: Callable[[Item], Outcome] = module.work
    return work


def assert_nothing_is_left(folder: Path, begun: list[str]) -> None:
    assert sorted(path.stem for path in folder.glob("*.begun")) == begun
    assert not list((folder / "temporary").iterdir())
    for path in folder.glob("*.begun"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def test_a_seed_repeats_in_one_call_and_results_keep_their_order(short: Scenario) -> None:
    done: list[Outcome] = []
    trials = [Trial("greedy", short, seed) for seed in (3, 4, 3)]
    outcomes = run_parallel(run_trial, trials, 1, done.append)
    assert [outcome.trial for outcome in outcomes] == trials and sorted(map(id, done)) == sorted(map(id, outcomes))
    first, other, same = (outcome.trips for outcome in outcomes)
    assert first.delay_s == same.delay_s != other.delay_s


def test_every_item_has_a_fresh_process(tmp_path: Path, watched: Callable[[Item], Outcome], short: Scenario) -> None:
    brief = replace(short, end_s=short.begin_s + 30)
    run_parallel(watched, [(tmp_path, Trial("greedy", brief, seed), False) for seed in (1, 2, 3)], 1, lambda _: None)
    assert len({path.read_text() for path in tmp_path.glob("*.begun")}) == len(list(tmp_path.glob("*.done"))) == 3
    assert_nothing_is_left(tmp_path, ["1", "2", "3"])


def test_nothing_to_do_starts_no_process() -> None:
    assert run_parallel(run_trial, [], 2, lambda _: pytest.fail("an outcome")) == []


def test_an_error_is_raised_as_it_was_and_ends_the_others(
    tmp_path: Path, watched: Callable[[Item], Outcome], hour: Trial, bad: Trial
) -> None:
    items = [(tmp_path, hour, False), (tmp_path, bad, True)]
    items += [(tmp_path, replace(hour, seed=seed), False) for seed in range(3, 9)]
    with pytest.raises(BadInput, match="late.rou.xml.*nowhere.*is not known") as caught:
        run_parallel(watched, items, 2, lambda _: pytest.fail("an outcome"))
    assert caught.value.fix
    begun = sorted(path.stem for path in tmp_path.glob("*.begun"))
    assert begun in (["1", "2"], ["1", "2", "3"]), "what has not begun is cancelled"
    assert_nothing_is_left(tmp_path, begun)
    assert not list(tmp_path.glob("*.done"))


def test_ctrl_c_ends_all_and_leaves_nothing(
    tmp_path: Path, watched: Callable[[Item], Outcome], hour: Trial, short: Scenario
) -> None:
    def stop(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_parallel(watched, [(tmp_path, hour, False), (tmp_path, Trial("greedy", short, 2), True)], 2, stop)
    assert_nothing_is_left(tmp_path, ["1", "2"])
    assert [path.name for path in tmp_path.glob("*.done")] == ["2.done"]


def die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(IotlamError, match="expected a result, got its end: it crashed") as caught:
        run_parallel(die, [1, 2], 1, lambda _: None)
    assert "\n" not in str(caught.value)
