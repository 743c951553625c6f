"""Flower's apps as SuperLink, SuperNodes and Ray run them; each process learns from its configuration what it is of.

`iotlam.federated.trial` writes the bundle that names them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from iotlam.federated.flower import client_app  # first: it turns Flower's telemetry off
from iotlam.federated.local import Local
from iotlam.federated.plan import PLAN, Fleet, Plan, lead

from flwr.app import Context  # isort: skip
from flwr.serverapp import Grid, ServerApp  # isort: skip

FOLDER = "folder"
"""Key, in a run's and a node's configuration, of the folder with the plan and what is kept."""

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run of a folder; a new Flower run goes on with what an earlier one has left there."""
    folder = Path(str(context.run_config[FOLDER]))
    lead(_plan(folder), folder, grid)


def find(name: str, context: Context) -> Local:
    """The device of this node."""
    return _fleet(Path(str(context.node_config[FOLDER]))).device(name)


client = client_app(find)


@cache  # a SuperNode's process has one message; Ray's have many
def _fleet(folder: Path) -> Fleet:
    return Fleet(_plan(folder), folder)


def _plan(folder: Path) -> Plan:
    return Plan.from_json((folder / PLAN).read_text(), str(folder / PLAN))
