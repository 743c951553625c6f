"""A plan carried out on one machine, with all of its devices."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from iotlam.contracts import BadInput
from iotlam.federated.flower import client_app
from iotlam.federated.grids import LocalGrid
from iotlam.federated.leading import Fleet, lead, rounds_left
from iotlam.federated.plan import Plan
from iotlam.federated.rounds import Run
from iotlam.federated.trial import Trial

RUNTIMES = ("process", "ray")
"""Where all devices of a run are on one machine: in this process, or in processes of Ray's, as many as it has cores."""


def carry_out(
    plan: Plan, folder: Path, on_round: Callable[[Run], object] = lambda _: None, runtime: str = "process"
) -> Path:
    """Do what is left of a plan on this machine; all devices are on it, each with its own data.

    Args:
        plan: what to do.
        folder: of the run; where it holds part of the same run, that is gone on with.
        on_round: told of the run after each round.
        runtime: one of `RUNTIMES`; the weights are the same.

    Returns:
        Folder of the model that results.

    Raises:
        BadInput: if the plan cannot be carried out, the folder holds another run, or the runtime is not installed.
    """
    check_runtime(runtime)
    if rounds_left(plan, folder):
        _check_here(plan, folder)
    fleet = Fleet(plan, folder)
    examples = {one.name: fleet.device(one.name).examples for one in plan.devices if one.examples is None}
    names = [one.name for one in plan.devices]
    if runtime == "process":
        # One trains while the other waits for the disk; fewer than all, for they take turns.
        grid = LocalGrid(client_app(lambda name, _: fleet.device(name)), names, workers=1 if len(names) < 3 else 2)
    else:
        from iotlam.federated.actors import RayGrid

        grid = RayGrid(folder, names)
    with grid:
        return lead(plan, folder, grid, on_round, examples)


def _check_here(plan: Plan, folder: Path) -> None:
    """Refuse, before any work, a run whose devices or their data are not on this machine."""
    if Trial.of(folder).elsewhere:
        expected, got = "a run whose devices are on this machine", "one with devices on hosts of their own"
        raise BadInput(str(folder), expected=expected, got=got, fix="bring it up, with 'iotlam federated up'")
    plan.check_data()


def check_runtime(runtime: str) -> None:
    """Refuse, before any work, a runtime that there is not, or that is not installed.

    Raises:
        BadInput: saying how to install it.
    """
    if runtime not in RUNTIMES:
        raise BadInput("--runtime", expected=" or ".join(RUNTIMES), got=f"'{runtime}'", fix="name one of them")
    if runtime == "ray" and find_spec("ray") is None:
        fix = "run: pip install 'iotlam[ray]'"
        raise BadInput("--runtime ray", expected="Ray to be installed", got="no such package", fix=fix)
