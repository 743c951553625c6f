"""A server and its devices, each a process of its own: for tests and measurements, which kill them.

What they do is what they do in use (`Run`, `play`, `client_app`, `Local` and all that they keep on disk), on a small
task. They are forked, so whoever starts them has imported everything, has not trained anything, and has no threads.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Literal
from zlib import crc32

import torch

from iotlam.bench.federated.places import counted, right
from iotlam.bench.federated.sockets import SocketGrid, be_node
from iotlam.federated.adapter import RoundModel
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import client_app, play
from iotlam.federated.journal import read
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.messages import Answer, Arrays, Order
from iotlam.federated.outcome import JOURNAL, Outcome
from iotlam.federated.rounds import Run
from iotlam.model import IotlamModel, save_pretrained
from iotlam.training.imitation import ImitationConfig, label_loss
from iotlam.training.shards import Sample

FORK = multiprocessing.get_context("fork")
EXAMPLES, HELD_OUT = 24, 8
RANKS = {"fan": 1, "press": 2, "pump": 4}
DEVICES = tuple(Enrolled(name, rank, EXAMPLES) for name, rank in RANKS.items())
SERVER = "server"
MODELS: dict[int, RoundModel] = {}
"""By rank, as they are before any round: what is forked has them already."""

END_S = 120.0
"""A run that is not over by then has failed."""

Manner = Literal["honest", "late", "hangs", "dies"]
"""What a device does when it is told to train: as it should; too late; nothing, for ever; or it kills itself."""


def small_config(**fields: object) -> RunConfig:
    """Devices of unequal ranks, eight bits, everything trained."""
    return RunConfig(DEVICES, rounds=3, steps=2, learning_rate=1e-2, deadline_s=60.0).changed(**fields)


def small_data(name: str) -> LocalData:
    """A device's own examples."""
    first = 1000 * (crc32(name.encode()) % 1000)
    learnt = [counted(first + seed) for seed in range(EXAMPLES)]
    return LocalData(learnt, [counted(first + 100 + seed) for seed in range(HELD_OUT)])


def small_device(name: str, base: Path, folder: Path, models: dict[int, RoundModel] | None = None) -> Local:
    """One of the devices; it writes a line each time that it begins to work on an order."""

    def score(model: IotlamModel, samples: Sequence[Sample]) -> float:
        with (folder / f"{name}.works").open("a") as works:
            works.write("begun\n")
        return right(model, samples)

    task = Task(base, label_loss, score, ImitationConfig(batch=4))
    return Local(name, task, small_data(name), folder / f"{name}.safetensors", models)


@dataclass(frozen=True, slots=True)
class Harm:
    """What happens to a process by itself.

    Attributes:
        kill_at: it kills itself before so many operations of the disk (sync, replace, remove); 0 for never.
        room_bytes: no file of it gets larger, as on a full disk; 0 for no limit.
        manner: of a device, in the rounds `rounds`.
        rounds: from 0.
        seconds: by how much a device is late.
    """

    kill_at: int = 0
    room_bytes: int = 0
    manner: Manner = "honest"
    rounds: tuple[int, ...] = ()
    seconds: float = 0.0


NONE = Harm()


@dataclass(slots=True)
class Fleet:
    """The processes of one run.

    Args:
        folder: of all that they keep; its path must be short, there is a socket in it.
        base: folder of the model to begin with.
        config: of the run.
    """

    folder: Path
    base: Path
    config: RunConfig
    processes: dict[str, ForkProcess] = field(default_factory=dict)
    operations: dict[str, Synchronized[int]] = field(default_factory=dict)
    """By process: how many operations of the disk there were."""

    def __enter__(self) -> Fleet:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.processes)

    @property
    def names(self) -> list[str]:
        """Of the devices."""
        return [device.name for device in self.config.devices]

    def start(self, *names: str, harm: Harm = NONE) -> None:
        """Start some of the processes, by name."""
        for name in names:
            count = self.operations.setdefault(name, FORK.Value("i", 0))
            work = _lead if name == SERVER else _be_device
            process = FORK.Process(target=_begin, args=(work, self.folder, self.base, self.config, name, harm, count))
            process.start()
            self.processes[name] = process

    def kill(self, *names: str) -> None:
        """Kill -9 some of them, and wait until they are gone; a stopped one, too."""
        for name in names:
            self.processes[name].kill()
        for name in names:
            self.processes[name].join()

    def alive(self, name: str) -> bool:
        """Whether a process runs."""
        return self.processes[name].is_alive()

    def end(self, name: str = SERVER) -> int | None:
        """Wait until a process is over; its exit code, None where it is not over in good time."""
        self.processes[name].join(END_S)
        return self.processes[name].exitcode

    def wait_for_one(self, *names: str) -> None:
        """Wait until one of some processes is over, END_S at most."""
        connection.wait({self.processes[name].sentinel for name in names}, END_S)

    def killed(self, name: str) -> bool:
        """Whether a process is over because it was killed."""
        self.processes[name].join(1.0)  # its end is heard of before its exit code is known
        return self.processes[name].exitcode == -signal.SIGKILL

    def said(self) -> str:
        """What the server has written before it failed."""
        return (self.folder / f"{SERVER}.log").read_text()[-2000:]

    @property
    def outcomes(self) -> list[Outcome]:
        """Of the rounds so far."""
        path = self.folder / "run" / JOURNAL
        records = read(path)[0] if path.exists() else []
        return [Outcome.of(record, str(path)) for record in records if record["kind"] == "round"]

    @property
    def times_s(self) -> list[float]:
        """How long the rounds of a server that was not disturbed have taken."""
        return [float(line) for line in (self.folder / "times").read_text().splitlines()]

    def begun(self, name: str) -> int:
        """How often a device has begun to work on an order."""
        path = self.folder / f"{name}.works"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def weights(self) -> str:
        """A digest of all that the run has learnt: the server's last state in double precision, and the model."""
        digest = hashlib.sha256()
        for path in sorted([*(self.folder / "run").glob("*.safetensors"), *self.folder.glob("model/*.safetensors")]):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def warm(base: Path) -> None:
    """Have all loaded that processes need which are forked from this one; nothing is trained."""
    torch.set_num_threads(1)
    MODELS.update({rank: RoundModel(base, rank) for rank in RANKS.values()})
    with torch.no_grad():
        right(MODELS[1].model.eval(), small_data(SERVER).held_out)


Work = Callable[[Path, Path, RunConfig, str, Harm], None]


def _begin(
    work: Work, folder: Path, base: Path, config: RunConfig, name: str, harm: Harm, count: Synchronized[int]
) -> None:
    torch.set_num_threads(1)
    for operation in ("fsync", "replace", "unlink"):
        setattr(os, operation, _counted(getattr(os, operation), harm.kill_at, count))
    if harm.room_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (harm.room_bytes, harm.room_bytes))
    with (folder / f"{name}.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    work(folder, base, config, name, harm)


def _counted(operation: Callable[..., object], kill_at: int, count: Synchronized[int]) -> Callable[..., object]:
    def counts(*args: object, **options: object) -> object:
        count.value += 1
        if count.value == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*args, **options)

    return counts


def _lead(folder: Path, base: Path, config: RunConfig, name: str, harm: Harm) -> None:
    run = Run(folder / "run", base, config)
    began = time.monotonic()

    def note(_: Run) -> None:
        nonlocal began
        now = time.monotonic()
        with (folder / "times").open("a") as times:
            times.write(f"{now - began}\n")
        began = time.monotonic()

    with SocketGrid(folder / "socket") as grid:
        play(run, grid, note)
    save_pretrained(run.model(), folder / "model")
    run.leave()


def _be_device(folder: Path, base: Path, config: RunConfig, name: str, harm: Harm) -> None:
    device = Mannered(small_device(name, base, folder, MODELS), harm)
    be_node(folder / "socket", client_app(lambda *_: device), name)


class Mannered:
    """A device that does not do what it should in some rounds.

    Args:
        device: as it is.
        harm: what it does instead, and when.
    """

    def __init__(self, device: Local, harm: Harm) -> None:
        self._device, self._harm = device, harm

    def work(self, order: Order, arrays: Arrays) -> tuple[Answer, Arrays]:
        """Work as ordered, in its own manner."""
        if order.number in self._harm.rounds:
            if self._harm.manner == "late":
                time.sleep(self._harm.seconds)
            elif self._harm.manner == "hangs":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif self._harm.manner == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
        return self._device.work(order, arrays)
