"""The machine that measured: without it a time means nothing."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """Where a suite ran.

    Attributes:
        cpu: model of the processor.
        cores: cores that this process may use.
        load: processes waiting to run, mean of the last minute.
        threads: torch's threads, None where torch is not imported.
    """

    cpu: str
    cores: int
    load: float
    threads: int | None


def describe_host() -> Host:
    """The machine as it is now; does not import torch."""
    return Host(_cpu_model(), usable_cores(), round(os.getloadavg()[0], 2), torch_threads())


def torch_threads() -> int | None:
    """Threads of torch, None where it is not imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def usable_cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
