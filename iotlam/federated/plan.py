"""A federated run as its user writes it down: an app, devices with what each has, and how rounds are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from iotlam.contracts import BadInput, Record
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import LocalGrid, client_app, play
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
    """

    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    data: dict[str, Any]
    rank: Annotated[int, Meta(gt=0, le=256)] = 8


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


@dataclass(frozen=True, slots=True)
class Federation:
    """A plan with all that it names.

    Attributes:
        task: what is learnt.
        data: of each device.
        config: of the run.
    """

    task: Task
    data: Mapping[str, LocalData]
    config: RunConfig

    @classmethod
    def of(cls, plan: Plan) -> Federation:
        """Read the devices' data.

        Raises:
            BadInput: if the app, a device's data or a setting is not there.
        """
        app: App = load_entry(GROUP, plan.app, "Federated app")
        task = app.task(Path(plan.base) if plan.base else None)
        data = {device.name: app.data(device.data) for device in plan.devices}
        enrolled = [Enrolled(one.name, one.rank, max(len(data[one.name].learnt), 1)) for one in plan.devices]
        raw = {**plan.rounds, "devices": [one.to_raw() for one in enrolled]}
        return cls(task, data, RunConfig.from_raw(raw, "Plan, rounds"))


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
    federation = Federation.of(plan)
    models: dict[int, Any] = {}
    devices = {
        name: Local(name, federation.task, data, folder / DEVICES / f"{name}.safetensors", models)
        for name, data in federation.data.items()
    }
    run = Run(folder, federation.task.base, federation.config)
    try:
        (folder / PLAN).write_text(plan.to_json())
        with LocalGrid(client_app(devices.__getitem__), devices) as grid:
            play(run, grid, on_round)
        save_pretrained(
            run.model(),
            folder / MODEL,
            {
                "Task": f"{plan.app}, learnt by {len(devices)} devices whose data stayed where they are",
                "Rounds": federation.config.rounds,
                "Aggregation": federation.config.mode,
                "Ranks": ", ".join(str(device.rank) for device in federation.config.devices),
                "Seed": federation.config.seed,
            },
        )
    finally:
        run.leave()
    return folder / MODEL
