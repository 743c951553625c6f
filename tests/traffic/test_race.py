"""Trials that are run once: what decides an outcome names it, and what is known is read back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam.plugins.discovery import Entry
from iotlam_street.metrics import TripGroup, TripMetrics
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_traffic.evaluate import Outcome, Trial
from iotlam_traffic.policy import SHIPPED as POLICY
from iotlam_traffic.race import DRIVERS, EPISODE, _code, digest, imported, race, read_outcome, write_outcome


@pytest.fixture
def minute() -> Scenario:
    """A minute of cologne1."""
    scenario = find_scenario("cologne1")
    return replace(scenario, end_s=scenario.begin_s + 60)


def nothing(_: Outcome) -> None:
    pass


def test_what_is_known_is_not_run_again(minute: Scenario, tmp_path: Path) -> None:
    trials = [Trial(name, minute, seed) for seed in (101, 102) for name in ("greedy", "fixed")]
    done: list[Trial] = []
    first = race(trials, 1, lambda outcome: done.append(outcome.trial), tmp_path)
    assert [outcome.trial for outcome in first] == trials and sorted(map(str, done)) == sorted(map(str, trials))
    (marked,) = tmp_path.glob("cologne1-greedy-102-*.json")
    facts = json.loads(marked.read_text())
    facts["trips"]["delay_s"] = 1234.5
    marked.write_text(json.dumps(facts))
    again = race(trials[::-1], 1, nothing, tmp_path)
    assert [outcome.trips.delay_s for outcome in again] == [
        first[3].trips.delay_s, 1234.5, first[1].trips.delay_s, first[0].trips.delay_s
    ]  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 4


def test_an_interrupted_race_goes_on_where_it_stopped(minute: Scenario, tmp_path: Path) -> None:
    trials = [Trial("greedy", minute, seed) for seed in (101, 102, 103)]

    def stop(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(trials, 1, stop, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 1
    outcomes = race(trials, 1, nothing, tmp_path)
    assert len(outcomes) == len(list(tmp_path.iterdir())) == 3
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_an_outcome_is_read_as_it_was_written(minute: Scenario, tmp_path: Path) -> None:
    group = TripGroup(2, 3.25, 1.0)
    lists = np.array([0.1, 2.0]), np.array([1 / 3, 7.0])
    trips = TripMetrics(11 / 3, 1.5, 60.25, 2, 1, 0, *lists, priority=group)
    outcome = Outcome(Trial("iotlam", minute, 101), trips, [12.5, 1 / 7])
    write_outcome(outcome, tmp_path / "deep" / "one.json")
    same = read_outcome(outcome.trial, tmp_path / "deep" / "one.json")
    assert same.trial == outcome.trial and same.decision_ms == outcome.decision_ms
    for name in TripMetrics.__dataclass_fields__:
        one, other = getattr(trips, name), getattr(same.trips, name)
        np.testing.assert_array_equal(one, other) if isinstance(one, np.ndarray) else None
        assert isinstance(one, np.ndarray) or one == other


def test_a_broken_outcome_is_named(minute: Scenario, tmp_path: Path) -> None:
    trial = Trial("greedy", minute, 101)
    race([trial], 1, nothing, tmp_path)
    (path,) = tmp_path.iterdir()
    for text in ("", "{}", '{"trips": {"delay_s": 1.0}, "decision_ms": []}'):
        path.write_text(text)
        with pytest.raises(BadInput, match=f"{path.name}: expected an outcome, got .*; delete it"):
            race([trial], 1, nothing, tmp_path)


def test_whatever_decides_an_outcome_changes_its_name(minute: Scenario, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / "policy.safetensors").write_bytes(b"one")
    trial = Trial("dqn", minute, 101, agent)
    shutil.copytree(agent, tmp_path / "copy")
    copied = Path(shutil.copy(minute.routes[0], tmp_path / "copy.rou.xml"))
    same = [
        replace(trial, weights=tmp_path / "copy"),
        replace(trial, scenario=replace(minute, routes=(copied,))),
        replace(trial, modalities=("lidar",)),  # of ours alone
    ]
    assert {digest(one) for one in same} == {digest(trial)}
    edited = tmp_path / "edited.rou.xml"
    edited.write_text(copied.read_text() + "\n")
    other = [
        replace(trial, seed=102),
        replace(trial, controller="ppo"),
        replace(trial, weights=None),
        replace(trial, scenario=replace(minute, begin_s=minute.begin_s + 1)),
        replace(trial, scenario=replace(minute, routes=(edited,))),
        Trial("iotlam", minute, 101),
        Trial("iotlam", minute, 101, modalities=("lidar",)),
    ]
    names = {digest(one) for one in (trial, *other)}
    (agent / "policy.safetensors").write_bytes(b"two, trained on")
    names.add(digest(trial))
    assert len(names) == 2 + len(other)


def test_a_controllers_code_is_what_it_imports() -> None:
    rule, lanes, ours = (set(imported((EPISODE, DRIVERS[name]))) for name in ("webster", "lanes", "iotlam"))
    assert {"iotlam_street.sumo", "iotlam_street.plan", "iotlam_traffic.webster", "iotlam.contracts.errors"} <= rule
    assert "iotlam_traffic" in rule and not {name for name in rule if "radar" in name or "iotlam.model" in name}
    assert "iotlam_traffic.lanes" in lanes - rule
    assert {"iotlam_street.radar", "iotlam_street.caster", "iotlam.fusion.fusion", "iotlam.model.model"} <= ours
    assert not {name for name in ours if "suites" in name or "bench" in name}


def test_what_only_one_uses_decides_for_it_alone(
    minute: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "iotlam_elsewhere"
    shutil.copytree(POLICY, tmp_path / "weights")
    package.mkdir()
    (package / "__init__.py").write_text("def late():\n    from iotlam_elsewhere import deep\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DRIVERS, "lanes", package.name)
    monkeypatch.setattr("iotlam_traffic.race.entries", lambda _: [Entry("elsewhere", f"{package.name}:Modality")])
    monkeypatch.setattr("iotlam_traffic.race.POLICY", tmp_path / "weights")
    monkeypatch.setattr("iotlam_traffic.race.LANES", tmp_path / "weights" / "lanes")

    def changed(file: Path, content: str) -> list[bool]:
        before = digests()
        file.write_text(content)
        _code.cache_clear()
        return [one != other for one, other in zip(before, digests(), strict=True)]

    def digests() -> list[str]:
        return [digest(Trial(name, minute, 101)) for name in ("greedy", "lanes", "iotlam")]

    assert changed(package / "deep.py", "changed = True\n") == [False, True, True]
    assert changed(package / "plugin.toml", "") == [False, False, True]
    assert changed(tmp_path / "weights" / "iotlam.safetensors", "learnt anew") == [False, False, True]
    assert changed(tmp_path / "weights" / "lanes" / "lanes.safetensors", "learnt anew") == [False, True, True]
    _code.cache_clear()
