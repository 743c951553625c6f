"""A federated run as its user writes it down: an app, devices with what each has, and how rounds are made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from iotlam.contracts import BadInput, Device, Record
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.local import LocalData, Task
from iotlam.federated.planning import Channels, Planner, Radio, channels_of
from iotlam.plugins import load_entry

GROUP = "iotlam.federated"
RESERVED = ("superlink", "flwr")
"""Names of what carries rounds, which no device can have."""

SETTINGS = tuple(name for name in RunConfig.__struct_fields__ if name != "devices")


class App(Protocol):
    """What an application brings to be trained by rounds: a module or object of group `iotlam.federated`.

    It may also have `check`, which takes what `data` takes, and refuses what is not there without reading it.
    """

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
        return Device.from_raw({**self.hardware, "name": self.name}, f"Device '{self.name}', hardware")


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

    def check_data(self) -> None:
        """Refuse, before any round, devices whose data are not on this machine; where the app can tell without reading.

        Raises:
            BadInput: saying what is not here.
        """
        check = getattr(self.entry(), "check", lambda source: None)
        for device in self.devices:
            check(device.data)

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
