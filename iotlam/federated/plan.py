"""A federated run as its user writes it down: an app, devices with what each has, and how rounds are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from iotlam.contracts import BadInput, Device, Record, whole_file
from iotlam.federated.adapter import RoundModel
from iotlam.federated.appended import writing
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import client_app, play
from iotlam.federated.grids import Carries, LocalGrid
from iotlam.federated.journal import read
from iotlam.federated.local import Local, LocalData, Task, own_model
from iotlam.federated.outcome import JOURNAL
from iotlam.federated.planning import Channels, Planner, Radio, channels_of
from iotlam.federated.rounds import Run
from iotlam.model import save_pretrained
from iotlam.plugins import load_entry

GROUP = "iotlam.federated"
PLAN, MODEL, DEVICES = "plan.json", "model", "devices"
"""Of a run's folder: the plan, the model that results, what devices keep."""

RUNTIMES = ("process", "ray")
"""Where all devices of a run are on one machine: in this process, or in processes of Ray's, as many as it has cores."""

RESERVED = ("superlink", "flwr")
"""Names of what carries rounds, which no device can have."""

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
        hardware: fields of `Device` but for the name, where a radio is planned.
    """

    name: Annotated[str, Meta(pattern=r"^\w[\w.-]{0,63}\Z")]
    data: dict[str, Any]
    rank: Annotated[int, Meta(gt=0, le=256)] = 8
    examples: Annotated[int, Meta(gt=0)] | None = None
    hardware: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.name in RESERVED:
            raise BadInput("Device, name", expected="a name of its own", got=f"'{self.name}'", fix="name it otherwise")

    @property
    def device(self) -> Device:
        """The device as a plan of the radio sees it.

        Raises:
            BadInput: if its hardware is not told, or not in these terms.
        """
        if self.hardware is None:
            fix = "tell it, as in docs/federated.md, or leave out 'radio'"
            raise BadInput(f"Device '{self.name}'", expected="'hardware', for the radio", got="none", fix=fix)
        return Device.from_raw({"name": self.name, **self.hardware}, f"Device '{self.name}', hardware")


class Plan(Record, frozen=True):
    """A run.

    Attributes:
        app: name of the application, such as `faults`.
        devices: who takes part.
        base: folder of the model to begin with; empty for the app's own.
        rounds: fields of `RunConfig` other than the devices, by name.
        radio: over which the devices are reached; None to ask all of them in each round.
    """

    app: str
    devices: tuple[DevicePlan, ...]
    base: str = ""
    rounds: dict[str, Any] = msgspec.field(default_factory=dict)
    radio: Radio | None = None

    def __post_init__(self) -> None:
        if odd := [name for name in self.rounds if name not in SETTINGS]:
            expected = f"some of {', '.join(SETTINGS)}"
            raise BadInput("Plan, rounds", expected=expected, got=f"'{odd[0]}'", fix="correct or remove it")
        _ = self.settings
        if self.radio:
            for device in self.devices:
                _ = device.device

    @property
    def settings(self) -> RunConfig:
        """What decides the run, but for the bounds on examples."""
        return self.config_for({device.name: 1 for device in self.devices})

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
        return _app(self.app)

    def task(self) -> Task:
        """What is learnt, from the plan's base model."""
        return self.entry().task(Path(self.base) if self.base else None)

    def planner(self, task: Task) -> Planner | None:
        """Who says which devices take part in a round; None for all.

        Raises:
            BadInput: if nobody knows how the radio's channels are.
        """
        if self.radio is None:
            return None
        if not task.step_flops:
            fix = "state it in the app's Task, or leave out 'radio'"
            raise BadInput(f"App '{self.app}'", expected="'step_flops', for the radio", got="none", fix=fix)
        return Planner(self.radio, [device.device for device in self.devices], self.channels(), task.step_flops)

    def channels(self) -> Channels:
        """How the radio's channels are.

        Raises:
            BadInput: if nobody knows, or not of all devices.
        """
        assert self.radio
        found = channels_of(self.radio)
        found([device.device for device in self.devices], 0)
        return found

    def data(self, name: str) -> LocalData:
        """What a device has.

        Raises:
            BadInput: if there is no such device, or it has no data.
        """
        for device in self.devices:
            if device.name == name:
                return self.entry().data(device.data)
        raise BadInput(f"Device '{name}'", expected="one of the plan", got="a stranger", fix="add it to the plan")


@cache
def _app(name: str) -> App:
    """Looked up once, not for each device: entry points are files."""
    app: App = load_entry(GROUP, name, "Federated app")
    return app


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
    with writing(model):
        save_pretrained(own_model(plan.task().base, _memory(folder, name)), model, {"Task": task})
    return model


class Fleet:
    """The devices of a plan that are in one process: each is made when it is first asked for, its data with it.

    Args:
        plan: whose devices.
        folder: of the run, where each keeps its memory.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._models: dict[int, RoundModel] = {}
        self._devices: dict[str, Local] = {}
        self._making = Lock()

    def device(self, name: str) -> Local:
        """One of them.

        Raises:
            BadInput: if there is no such device, or it has no data.
        """
        with self._making:
            if name not in self._devices:
                memory = _memory(self._folder, name)
                self._devices[name] = Local(name, self._task, self._plan.data(name), memory, self._models)
            return self._devices[name]

    @cached_property
    def _task(self) -> Task:
        return self._plan.task()


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


def lead(
    plan: Plan,
    folder: Path,
    grid: Carries,
    on_round: Callable[[Run], object] = lambda _: None,
    examples: Mapping[str, int] | None = None,
) -> Path:
    """Lead what is left of a plan over Flower's nodes, without a look at the devices' data.

    Args:
        plan: what to do.
        folder: of the run; where it holds part of the same run, that is gone on with.
        grid: the way to the nodes.
        on_round: told of the run after each round.
        examples: of devices for which the plan names no bound, by name.

    Returns:
        Folder of the model that results.

    Raises:
        BadInput: if the plan cannot be carried out, or the folder holds another run.
    """
    config = plan.config_for(examples or {})
    task = plan.task()
    planner = plan.planner(task)
    keep(plan, folder)
    run = Run(folder, task.base, config, plan.to_json())
    try:
        play(run, grid, on_round, planner)
        facts = {
            "Task": f"{plan.app}, learnt by {len(config.devices)} devices whose data stayed where they are",
            "Rounds": config.rounds,
            "Aggregation": config.mode,
            "Ranks": ", ".join(str(device.rank) for device in config.devices),
            "Seed": config.seed,
        }
        with writing(folder / MODEL):
            save_pretrained(run.model(), folder / MODEL, facts)
    finally:
        run.leave()
    return folder / MODEL


def keep(plan: Plan, folder: Path) -> None:
    """Write a plan into its run's folder, before the run begins; what has begun is left to its own.

    Raises:
        BadInput: if it cannot be written.
    """
    path, text = folder / PLAN, plan.to_json()
    if path.exists() and ((folder / JOURNAL).exists() or path.read_text() == text):
        return
    with writing(path), whole_file(path, durable=True) as partial:
        partial.write_text(text)


def rounds_left(plan: Plan, folder: Path) -> int:
    """How many rounds there are still to do."""
    done = sum(record["kind"] == "round" for record in read(folder / JOURNAL)[0]) if (folder / JOURNAL).exists() else 0
    return max(plan.settings.rounds - done, 0)


def _memory(folder: Path, name: str) -> Path:
    return folder / DEVICES / f"{name}.safetensors"
