"""Flower's apps as SuperLink, SuperNodes and Ray run them; each process learns from its configuration what it is of.

`iotlam.federated.trial` writes the bundle that names them.
"""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path

from iotlam.federated.config import RunConfig
from iotlam.federated.flower import client_app  # first: it turns Flower's telemetry off
from iotlam.federated.local import Local
from iotlam.federated.outcome import JOURNAL
from iotlam.federated.plan import PLAN, Fleet, Plan, lead

from flwr.app import Context  # isort: skip
from flwr.serverapp import Grid, ServerApp  # isort: skip

FOLDER = "folder"
"""Key, in a run's and a node's configuration, of the folder with the plan and what is kept."""

EVERY_S = 1.0
"""How often one looks who is there."""

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run of a folder; a new Flower run goes on with what an earlier one has left there."""
    folder = Path(str(context.run_config[FOLDER]))
    plan = _plan(folder)
    _wait(grid, plan.settings, begun=(folder / JOURNAL).exists())
    lead(plan, folder, grid)


def _wait(grid: Grid, settings: RunConfig, begun: bool) -> None:
    """Wait for nodes, since a round in which nobody is there is lost: for all to begin with, however long it takes.

    A run that goes on waits for as many as make a round, and no longer than a round.
    """
    wanted = settings.at_least if begun else len(settings.devices)
    deadline = time.monotonic() + (settings.deadline_s if begun else math.inf)
    while len(list(grid.get_nodes())) < wanted and time.monotonic() < deadline:
        time.sleep(EVERY_S)


def find(name: str, context: Context) -> Local:
    """The device of this node."""
    return _fleet(Path(str(context.node_config[FOLDER]))).device(name)


client = client_app(find)


@cache  # a SuperNode's process has one message; Ray's have many
def _fleet(folder: Path) -> Fleet:
    return Fleet(_plan(folder), folder)


def _plan(folder: Path) -> Plan:
    return Plan.from_json((folder / PLAN).read_text(), str(folder / PLAN))
