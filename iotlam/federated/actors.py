"""Devices in processes of Ray's, as many as there are cores: Flower's simulation, under our own grid.

Of that simulation only the backend of Ray actors is used, which `flwr run` uses, too: it takes a message and gives the
reply. Flower's `run_simulation` around it is deprecated, and its server is a thread that outlives Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is there: it asks nobody before it sends
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns where it is not said

import ray
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import PARTITION_ID_KEY, ErrorCode
from flwr.server.superlink.fleet.vce.backend.raybackend import RayBackend
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

from iotlam.federated import deployed
from iotlam.federated.grids import LocalGrid
from iotlam.federated.processes import over

BACKEND = {
    "init_args": {"log_to_driver": False, "logging_level": "ERROR"},
    "client_resources": {"num_cpus": 1, "max_restarts": -1},  # an actor that was killed is started anew
}
START_S, STOP_S = 300.0, 10.0
AGAIN_S = 0.2
"""Until an actor that is being started anew is asked again; on a busy machine that takes seconds."""


class RayGrid(LocalGrid):
    """Flower's grid over Ray actors on this machine; they find the plan in the run's folder, as SuperNodes do.

    Args:
        folder: of the run; the plan is there before the first message is sent.
        devices: names, one node each.
    """

    def __init__(self, folder: Path, devices: Iterable[str]) -> None:
        path = os.environ.get("PYTHONPATH")
        self._backend = RayBackend(BACKEND)  # type: ignore[arg-type]
        _restore("PYTHONPATH", path)  # it was set for Ray's processes, and they have it
        self._backend.build(_app)
        super().__init__(self._ask, devices, self._backend.num_workers)
        for place, context in enumerate(self._contexts.values()):
            context.node_config |= {deployed.FOLDER: str(folder.absolute()), PARTITION_ID_KEY: place}

    def __enter__(self) -> RayGrid:
        try:
            self._processes(START_S)  # no round's time is spent on their start
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            super().__exit__(*exception)
            left = self._processes(STOP_S)
        except (GetTimeoutError, RayActorError):
            left = []
        finally:
            self._backend.terminate()
        for pid in _outlasting(left, STOP_S):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _outlasting(left, STOP_S)

    def _processes(self, seconds: float) -> list[int]:
        """Ids of the actors' processes, once all are up."""
        assert self._backend.pool is not None
        actors: list[Any] = list(self._backend.pool.pool)
        ids: list[int] = ray.get([actor.__ray_call__.remote(_own_id) for actor in actors], timeout=seconds)
        return ids

    def _ask(self, message: Message, context: Context) -> Message:
        late_s = time.monotonic() + message.metadata.ttl
        while True:
            try:
                return self._backend.process_message(message, context)[0]
            except RayActorError as error:  # killed, as for want of memory
                if not isinstance(error, ActorUnavailableError) or time.monotonic() > late_s:
                    return Message(Error(ErrorCode.CLIENT_APP_CRASHED, str(error)), reply_to=message)
                time.sleep(AGAIN_S)  # it is being started anew; what was done of the order a device has on its disk
            except RayTaskError as error:  # the text of Ray's own error is a whole traceback
                raise error.cause from error


def _app() -> ClientApp:
    """In an actor's process: what a SuperNode runs."""
    return deployed.client


def _own_id(actor: object) -> int:
    return os.getpid()


def _outlasting(processes: Sequence[int], seconds: float) -> list[int]:
    """Wait until processes are over; returns those that are not within so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in processes if not over(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
