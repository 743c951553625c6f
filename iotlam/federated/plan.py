"""A federated run as its user writes it down: an app, devices with what each has, and how rounds are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from iotlam.contracts import BadInput, Record, whole_file
from iotlam.federated.adapter import RoundModel
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import Grid, LocalGrid, client_app, play
from iotlam.federated.journal import read
from iotlam.federated.local import Local, LocalData, Task, own_model
from iotlam.federated.rounds import JOURNAL, Outcome, Run
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
        examples: no more than it can have learnt from; what it says of itself is held against that. They are counted
            where all is one process.
    """

    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    data: dict[str, Any]
    rank: Annotated[int, Meta(gt=0, le=256)] = 8
    examples: Annotated[int, Meta(gt=0)] | None = None


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
        self.config_for(self._unbounded)  # whatever the bounds will be

    @property
    def _unbounded(self) -> dict[str, int]:
        return {device.name: 1 for device in self.devices}

    @property
    def count(self) -> int:
        """How many rounds there are in all."""
        return self.config_for(self._unbounded).rounds

    def config_for(self, examples: Mapping[str, int]) -> RunConfig:
        """What decides the run.

        Args:
            examples: of devices for which the plan names no bound, by name.

        Raises:
            BadInput: if a setting is wrong, or there is no bound for a device.
        """
        if lacking := [one.name for one in self.devices if not (one.examples or examples.get(one.name))]:
            fix = "add it to the plan: 'examples' of each device, at least what it learns from"
            raise BadInput(f"Device '{lacking[0]}'", expected="a bound on its examples", got="none", fix=fix)
        enrolled = [Enrolled(one.name, one.rank, one.examples or examples[one.name]) for one in self.devices]
        raw = {**self.rounds, "devices": [one.to_raw() for one in enrolled]}
        return RunConfig.from_raw(raw, "Plan, rounds")

    def entry(self) -> App:
        """The application.

        Raises:
            BadInput: if it is not installed, or brings nothing to be trained by rounds.
        """
        app: App = load_entry(GROUP, self.app, "Federated app")
        return app

    def task(self) -> Task:
        """What is learnt, from the plan's base model."""
        return self.entry().task(Path(self.base) if self.base else None)

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
        return Local(name, self.task(), self.entry().data(data[name]), _memory(folder, name), models)


def save_own(plan: Plan, folder: Path, name: str) -> Path:
    """Write a device's own module as an ordinary model, on the machine where the device keeps its memory.

    Args:
        plan: of the run.
        folder: of the run, or the device's part of it.
        name: of the device.

    Returns:
        Folder of the model.

    Raises:
        BadInput: if there is no such device, or it has no module of its own.
    """
    if not any(device.name == name for device in plan.devices):
        expected = f"one of {', '.join(device.name for device in plan.devices)}"
        raise BadInput(f"Device '{name}'", expected=expected, got="a stranger", fix="name one of them")
    model = folder / DEVICES / name / MODEL
    task = f"{plan.app}, of device {name} alone, taught by the others' shared module"
    save_pretrained(own_model(plan.task().base, _memory(folder, name)), model, {"Task": task})
    return model


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
    models: dict[int, RoundModel] = {}
    devices = {one.name: plan.device(one.name, folder, models) for one in plan.devices}
    examples = {name: device.examples for name, device in devices.items()}
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        return lead(plan, folder, grid, on_round, examples)


def lead(
    plan: Plan,
    folder: Path,
    grid: Grid,
    on_round: Callable[[Outcome], object] = lambda _: None,
    examples: Mapping[str, int] | None = None,
) -> Path:
    """Lead what is left of a plan over Flower's nodes, without a look at the devices' data.

    Args:
        plan: what to do.
        folder: of the run; where it holds part of the same run, that is gone on with.
        grid: Flower's way to the nodes.
        on_round: told what came of each round.
        examples: of devices for which the plan names no bound, by name.

    Returns:
        Folder of the model that results.

    Raises:
        BadInput: if the plan cannot be carried out, or the folder holds another run.
    """
    config = plan.config_for(examples or {})
    run = Run(folder, plan.task().base, config, plan.to_json())
    try:
        with whole_file(folder / PLAN) as partial:
            partial.write_text(plan.to_json())
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


def rounds_left(plan: Plan, folder: Path) -> int:
    """How many rounds there are still to do."""
    done = sum(record["kind"] == "round" for record in read(folder / JOURNAL)[0]) if (folder / JOURNAL).exists() else 0
    return max(plan.count - done, 0)


def _memory(folder: Path, name: str) -> Path:
    return folder / DEVICES / f"{name}.safetensors"
