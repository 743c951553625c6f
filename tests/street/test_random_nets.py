"""Random nets of many signals: a seed decides, and no signal shows greens that cross."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iotlam.contracts import IotlamError
from iotlam_street.conflicts import conflicts, unsafe
from iotlam_street.plan import read_plans
from iotlam_street.random_nets import generate_net
from iotlam_street.scenarios import find_scenario
from iotlam_street.sumo import run_program


def test_a_seed_decides_net_and_demand(tmp_path: Path) -> None:
    one, same, other = (generate_net(tmp_path / name, seed, 60.0) for name, seed in (("a", 4), ("b", 4), ("c", 5)))
    drawn = [re.sub(r"<!--.*?-->", "", found.net.read_text(), flags=re.S) for found in (one, same, other)]
    trips = [re.sub(r"<!--.*?-->", "", found.routes[0].read_text(), flags=re.S) for found in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2] and trips[0] == trips[1] != trips[2]
    assert len(read_plans(one.net)) > 3 and trips[0].count("<vehicle ") > 20


def test_what_crosses_at_a_junction_is_known() -> None:
    net = find_scenario("cologne1").net
    (plan,) = read_plans(net)
    pairs = conflicts(net)[plan.signal]
    assert all(unsafe(state, pairs) == [] for state in plan.green_states)
    everything = "G" * len(plan.green_states[0])
    assert set(unsafe(everything, pairs)) == pairs and len(pairs) == 64
    mixed = "".join("G" if "G" in letters else "r" for letters in zip(*plan.green_states[::2], strict=True))
    assert unsafe(mixed, pairs), "two phases of crossing roads at once"


def test_a_program_that_fails_is_told() -> None:
    with pytest.raises(IotlamError, match="netgenerate: expected it to succeed, got: ") as caught:
        run_program("netgenerate", ["--grid.number", "many"])
    assert "\n" not in str(caught.value)
