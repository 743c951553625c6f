"""Flower's apps as SuperLink, SuperNodes and Ray run them; each process learns from its configuration what it is of.

`iotlam.federated.trial` writes the bundle that names them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from iotlam.contracts.errors import as_said
from iotlam.federated.config import RunConfig
from iotlam.federated.flower import client_app
from iotlam.federated.grids import PromptGrid
from iotlam.federated.leading import STOPPED, Fleet, lead, read_plan
from iotlam.federated.local import Local
from iotlam.federated.outcome import JOURNAL

FOLDER = "folder"
"""Key, in a run's and a node's configuration, of the folder with the plan and what is kept."""

EVERY_S = 1.0
"""How often one looks who is there."""

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Lead the run of a folder; a new Flower run goes on with what an earlier one has left there."""
    folder = Path(str(context.run_config[FOLDER]))
    (folder / STOPPED).unlink(missing_ok=True)
    try:
        plan = read_plan(folder)
        _wait(grid, plan.settings, begun=(folder / JOURNAL).exists())
        lead(plan, folder, PromptGrid(grid))
    except Exception as error:
        with suppress(OSError):  # the disk may be full
            (folder / STOPPED).write_text(as_said(error))
        raise


def _wait(grid: Grid, settings: RunConfig, begun: bool) -> None:
    """Wait for devices, since rounds in which too few are there are lost; the log says for whom.

    To begin with all are waited for, and after the time of a round as many as make one, however long it takes. A run
    that goes on waits for so many only, and no longer than a round.
    """
    deadline, told = time.monotonic() + settings.deadline_s, ""
    while lacking := _lacking(grid, settings):
        late, enough = time.monotonic() >= deadline, len(settings.devices) - len(lacking) >= settings.needed
        if (enough and begun) or (late and (enough or begun)):
            return
        if told != (told := ", ".join(lacking)):
            print(f"waiting for {told}", flush=True)
        time.sleep(EVERY_S)


def _lacking(grid: Grid, settings: RunConfig) -> list[str]:
    """Devices that are not there, by the names that their keys were registered with; strangers are nobody's stead."""
    there = {node.name for node in grid.get_nodes()}
    return [device.name for device in settings.devices if device.name not in there]


def find(name: str, context: Context) -> Local:
    """The device of this node."""
    return _fleet(Path(str(context.node_config[FOLDER]))).device(name)


client = client_app(find)


@cache  # a SuperNode's process has one message; Ray's have many
def _fleet(folder: Path) -> Fleet:
    return Fleet(read_plan(folder), folder)
