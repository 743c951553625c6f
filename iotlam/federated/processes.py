"""Processes and ports of this machine."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

from iotlam.federated.certificates import HOSTS


def free(port: int) -> bool:
    """Whether a port of this machine is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOSTS[0], port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> int:
    """The first of some ports in a row that are free, and that the system gives to nobody by itself."""
    while True:
        first = random.randrange(20_000, 32_000)
        if all(free(first + place) for place in range(count)):
            return first


def began(pid: int) -> int:
    """When a process began, in ticks since the system did; -1 where there is none. Ids are used again, both are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state == "Z" else int(fields[18])


def over(pid: int) -> bool:
    """Whether a process has let go of its ports and files, which its last thread does."""
    try:
        return began(pid) == -1 and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except OSError:
        return True


def signal_group(pid: int, number: int) -> None:
    """To a process that was started in a session of its own, and to all of its children."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
