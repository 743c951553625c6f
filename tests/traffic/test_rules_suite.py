"""Suite `traffic-rules`: its field, what it calls a gridlock, its figures, and one small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import Json
from iotlam.training.progress import progress
from iotlam_street.metrics import TripMetrics
from iotlam_street.scenarios import RESCO, between, find_scenario
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.evaluate import Outcome, Trial, gridlocked
from iotlam_traffic.suites import rules
from iotlam_traffic.suites.rules import RIVALS, Field, figures, judged


def outcome(name: str, delay_s: float, never: int = 0) -> Outcome:
    none = np.zeros(0)
    return Outcome(Trial(name, find_scenario("cologne1"), 1), TripMetrics(delay_s, 0, 0, 1000, 0, never, none, none))


def test_eight_compete_on_all_maps_and_agents_never_train_on_the_seeds_of_the_test() -> None:
    field = Field.of(quick=False)
    assert [scenario.name for scenario in field.scenarios] == list(RESCO) and field.seeds == TEST_SEEDS
    assert len(RIVALS) == 9 and {"webster", "dqn", "ppo"} < set(RIVALS)
    trials = field.trials(field.scenarios[0], 3)
    assert [trial.controller for trial in trials] == list(RIVALS) and {trial.seed for trial in trials} == {3}
    assert {trial.controller for trial in trials if trial.weights} == {"dqn", "ppo"}
    spans = {scenario.name: field.agent("dqn", scenario)[0].span_s for scenario in field.scenarios}
    assert {name for name, span_s in spans.items() if span_s is None} == {"cologne1", "cologne3", "ingolstadt1"}
    for scenario in field.scenarios:
        lived = field.agent("ppo", scenario)[0].lived()
        assert min(next(lived)[1] for _ in range(3)) > max(TEST_SEEDS)
    assert not set(Field.of(quick=True).seeds) & set(TEST_SEEDS)


def test_traffic_has_broken_down_where_it_is_thrice_as_slow_or_many_more_are_kept_out() -> None:
    fixed, good = outcome("fixed", 40.0, 30), outcome("greedy", 20.0, 5)
    assert not gridlocked(outcome("x", 120.0, 15), [fixed, good])
    assert gridlocked(outcome("x", 120.1, 15), [fixed, good])
    assert gridlocked(outcome("x", 50.0, 16), [fixed, good])
    assert not gridlocked(outcome("x", 500.0), [good]) and not gridlocked(outcome("x", 500.0), [])
    rows = judged([fixed, good, outcome("x", 121.0)])
    assert [(row["controller"], row["gridlock"]) for row in rows] == [("fixed", True), ("greedy", False), ("x", True)]


def test_figures_are_median_and_worst_of_each_rival_on_each_map() -> None:
    field = Field.of(quick=False)
    rows: list[Json] = [
        {"scenario": scenario.name, "controller": name, "seed": seed, "delay_s": 10.0 * row + seed}
        for scenario in field.scenarios
        for row, name in enumerate(RIVALS)
        for seed in field.seeds
    ]
    found = figures(field, rows)
    assert all(found[name].met for name in ("controllers", "maps", "seeds")) and len(found) == 3 + 2 * 8 * len(RIVALS)
    webster = RIVALS.index("webster")
    assert found["delay_grid4x4_webster_s"].value == 10.0 * webster + 5.5
    assert found["delay_grid4x4_webster_s"].ci95 == (10.0 * webster + 2, 10.0 * webster + 9)
    assert found["delay_ingolstadt21_max_pressure_worst_s"].value == 10.0 * RIVALS.index("max-pressure") + 10


@pytest.mark.slow
def test_a_small_run_trains_its_agents_and_measures_everybody_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3: pip install 'iotlam[rivals]'")
    monkeypatch.chdir(tmp_path)
    whole = find_scenario("cologne3")
    small = Field((between(whole, whole.begin_s, whole.begin_s + 60),), (101,), 1, (60.0, 60.0), Path("runs/agents"))
    monkeypatch.setattr(rules.Field, "of", lambda quick: small)
    first, again = (rules.rules(True, progress) for _ in range(2))
    assert [row["controller"] for row in first.rows] == list(RIVALS) and first.rows == again.rows
    assert len({row["vehicles"] for row in first.rows}) == 1 and first.metrics["controllers"].met
    assert len(list(Path("runs/outcomes").iterdir())) == len(RIVALS)
    assert sorted(str(path.parent) for path in Path("runs/agents").rglob("policy.safetensors")) == [
        "runs/agents/dqn/cologne3",
        "runs/agents/ppo/cologne3",
    ]
