"""Short episodes at cologne1, and what a controller sees of a junction without one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from iotlam_street.junction import LaneTraffic, SignalRules
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_traffic.lanes import WEIGHTS, LaneNet, save_lanes

CONFIG = """<configuration><input><net-file value="{net}"/><route-files value="{routes}"/></input>
<time><begin value="{begin}"/><end value="{end}"/></time></configuration>"""
Vehicle = tuple[float, float, float, bool]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def short() -> Scenario:
    """Five minutes of cologne1."""
    scenario = find_scenario("cologne1")
    return replace(scenario, end_s=scenario.begin_s + 300)


@pytest.fixture(scope="session")
def config_in() -> Callable[[Path], Path]:
    """`config_in(folder)`: a .sumocfg for two minutes of cologne1."""

    def write(folder: Path) -> Path:
        scenario = find_scenario("cologne1")
        path = folder / "short.sumocfg"
        begin_s = int(scenario.begin_s)
        path.write_text(CONFIG.format(net=scenario.net, routes=scenario.routes[0], begin=begin_s, end=begin_s + 120))
        return path

    return write


@pytest.fixture
def short_config(tmp_path: Path, config_in: Callable[[Path], Path]) -> Path:
    """A .sumocfg for two minutes of cologne1."""
    return config_in(tmp_path)


@pytest.fixture(scope="session")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lane policy of random opinions."""
    folder = tmp_path_factory.mktemp("lanes")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = LaneNet()
        for parameter in net.score.parameters():
            torch.nn.init.normal_(parameter)
    save_lanes(net, folder / WEIGHTS)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which temporary files land, also those of new processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def at_lanes() -> Callable[..., Any]:
    """`at_lanes(lanes, serves_PK)`: a junction at rest; each lane lists (distance, speed, waiting, on the lane)."""

    def build(
        lanes: list[list[Vehicle]],
        serves_PK: list[list[int]],
        phase: int = 0,
        allowed: list[bool] | None = None,
        exits: list[float] | None = None,
    ) -> Any:
        tables = [np.array(lane, np.float32).reshape(-1, 4).T for lane in lanes]
        traffic = tuple(LaneTraffic(d, v, w, own > 0) for d, v, w, own in tables)
        serves = np.array(serves_PK, dtype=bool)
        return SimpleNamespace(
            plan=SimpleNamespace(serves_PK=serves, green_states=("G",) * len(serves)),
            phase=phase,
            rules=SignalRules(),
            allowed_P=np.array(allowed or [True] * len(serves)),
            traffic=lambda: traffic,
            outgoing_halting=lambda lane: (exits or [0.0] * len(lanes))[lane],
        )

    return build
