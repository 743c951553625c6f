"""A federated run as its user writes it down: an app, devices with what each has, and how rounds are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from iotlam.contracts import BadInput, Record
from iotlam.federated.adapter import RoundModel
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import Grid, LocalGrid, client_app, play
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.rounds import Outcome, Run
from iotlam.model import save_pretrained
from iotlam.plugins import load_entry

GROUP = "iotlam.federated"
PLAN, MODEL, DEVICES = "plan.json", "model", "devices"
"""Of a run's folder: the plan, the model that results, what devices keep."""

SETTINGS = tuple(name for name in RunConfig.__struct_fields__ if name != "devices")


class App(Protocol):
    """What an application brings to be trained by rounds: a module or object of group `iotlam.federated`."""

    def task(self, base: Path | None) -> Task:
        """What is learnt, from a base model; None for the app's own."""
        ...

    def data(self, source: Mapping[str, Any]) -> LocalData:
        """What a device has, as its plan says.

        Raises:
            BadInput: if there is no such source.
        """
        ...


class DevicePlan(Record, frozen=True):
    """A device.

    Attributes:
        name: its own, unique.
        data: where its data come from, as its app reads it.
        rank: greatest rank of LoRA that it can train.
        examples: no more than it can have learnt from; what it says of itself is held against that.
    """

    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    data: dict[str, Any]
    rank: Annotated[int, Meta(gt=0, le=256)] = 8
    examples: Annotated[int, Meta(gt=0)] = 1_000_000


class Plan(Record, frozen=True):
    """A run.

    Attributes:
        app: name of the application, such as `faults`.
        devices: who takes part.
        base: folder of the model to begin with; empty for the app's own.
        rounds: fields of `RunConfig` other than the devices, by name.
    """

    app: str
    devices: tuple[DevicePlan, ...]
    base: str = ""
    rounds: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if odd := [name for name in self.rounds if name not in SETTINGS]:
            expected = f"some of {', '.join(SETTINGS)}"
            raise BadInput("Plan, rounds", expected=expected, got=f"'{odd[0]}'", fix="correct or remove it")

    @property
    def config(self) -> RunConfig:
        """What decides the run.

        Raises:
            BadInput: if a setting is wrong.
        """
        devices = [Enrolled(one.name, one.rank, one.examples).to_raw() for one in self.devices]
        return RunConfig.from_raw({**self.rounds, "devices": devices}, "Plan, rounds")

    @property
    def trained(self) -> App:
        """The application.

        Raises:
            BadInput: if it is not installed, or brings nothing to be trained by rounds.
        """
        app: App = load_entry(GROUP, self.app, "Federated app")
        return app

    def task(self) -> Task:
        """What is learnt, from the plan's base model."""
        return self.trained.task(Path(self.base) if self.base else None)

    def device(self, name: str, folder: Path, models: dict[int, RoundModel] | None = None) -> Local:
        """One of the devices, with its own data.

        Args:
            name: its own.
            folder: of the run, where it keeps its memory.
            models: by rank, which devices in one process share.

        Raises:
            BadInput: if there is no such device, or it has no data.
        """
        data = {device.name: device.data for device in self.devices}
        if name not in data:
            raise BadInput(f"Device '{name}'", expected="one of the plan", got="a stranger", fix="add it to the plan")
        memory = folder / DEVICES / f"{name}.safetensors"
        return Local(name, self.task(), self.trained.data(data[name]), memory, models)


def carry_out(plan: Plan, folder: Path, on_round: Callable[[Outcome], object] = lambda _: None) -> Path:
    """Do what is left of a plan in this process; all devices are in it, each with its own data.

    Args:
        plan: what to do.
        folder: of the run; where it holds part of the same run, that is gone on with.
        on_round: told what came of each round.

    Returns:
        Folder of the model that results.

    Raises:
        BadInput: if the plan cannot be carried out, or the folder holds another run.
    """
    plan.config  # noqa: B018 - refuses wrong settings before data are read
    models: dict[int, RoundModel] = {}
    devices = {one.name: plan.device(one.name, folder, models) for one in plan.devices}
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        return lead(plan, folder, grid, on_round)


def lead(plan: Plan, folder: Path, grid: Grid, on_round: Callable[[Outcome], object] = lambda _: None) -> Path:
    """Lead what is left of a plan over Flower's nodes; arguments and result as of `carry_out`.

    The devices' data are not looked at.
    """
    config = plan.config
    run = Run(folder, plan.task().base, config)
    try:
        (folder / PLAN).write_text(plan.to_json())
        play(run, grid, on_round)
        save_pretrained(
            run.model(),
            folder / MODEL,
            {
                "Task": f"{plan.app}, learnt by {len(config.devices)} devices whose data stayed where they are",
                "Rounds": config.rounds,
                "Aggregation": config.mode,
                "Ranks": ", ".join(str(device.rank) for device in config.devices),
                "Seed": config.seed,
            },
        )
    finally:
        run.leave()
    return folder / MODEL
