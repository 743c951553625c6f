"""Random junctions: any seed builds, the same seed builds the same, and traffic gets through."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import IotlamError
from iotlam_street.generate import generate_junction
from iotlam_street.plan import read_plans
from iotlam_traffic.episode import run_episode
from iotlam_traffic.rules import RULES

SEEDS = tuple(int(seed) for seed in np.random.default_rng(2026).integers(0, 10**6, 5))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_junction_runs(tmp_path: Path, seed: int) -> None:
    scenario = generate_junction(tmp_path / "new", seed, duration_s=900.0)
    assert (scenario.name, scenario.begin_s, scenario.end_s) == (f"random-{seed}", 0.0, 900.0)
    plan = read_plans(scenario.net)[0]
    assert 3 <= len(plan.approaches) <= 5 and len(plan.green_states) >= 2
    assert plan.serves_PK.any(axis=1).all() and plan.serves_PK.any(axis=0).all()
    trips = run_episode(RULES["greedy"](), replace(scenario, end_s=120.0), seed)
    assert trips.vehicles - trips.unfinished - trips.never_departed > 0
    assert trips.delay_s < 60.0


def test_a_seed_decides_net_and_demand(tmp_path: Path) -> None:
    one, same, other = (
        generate_junction(tmp_path / name, seed, 600.0) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.routes[0].read_bytes() == same.routes[0].read_bytes() != other.routes[0].read_bytes()
    drawn = [re.sub(r"<!--.*?-->", "", path.net.read_text(), flags=re.S) for path in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_demand_changes_every_ten_minutes_and_stays_in_the_hour(tmp_path: Path) -> None:
    scenario = generate_junction(tmp_path, 3, duration_s=1500.0)
    flows = ET.parse(scenario.routes[0]).getroot().findall("flow")
    spans = {(float(flow.get("begin", "")), float(flow.get("end", ""))) for flow in flows}
    assert spans == {(0.0, 600.0), (600.0, 1200.0), (1200.0, 1500.0)}
    rates = [float(flow.get("probability", "")) for flow in flows]
    assert min(rates) > 0.0 and max(rates) <= 1.0
    assert all(flow.get("from", "")[2:] != flow.get("to", "")[3:] for flow in flows)  # nobody turns round


def test_what_netconvert_refuses_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ET.ElementTree, "write", lambda self, path: Path(path).write_text("<nodes>"))
    with pytest.raises(IotlamError, match="netconvert") as caught:
        generate_junction(tmp_path, 1)
    assert "\n" not in str(caught.value) and "last tag started is 'nodes'" in str(caught.value)
