"""Settings of a process that a plugin must leave as they are."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from typing import Any

import numpy as np


def process_state() -> dict[str, Any]:
    """The settings that all parts of a program share, by name."""
    import torch

    return {
        "environment": dict(os.environ),
        "working folder": os.getcwd(),
        "signal handlers": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "log handlers": (list(logging.root.handlers), logging.root.level),
        "numpy's error handling": np.geterr(),
        "exception hook": sys.excepthook,
        "torch's threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


def random_state() -> dict[str, str]:
    """State of the random number generators that all parts of a program share, by name."""
    import torch

    return {
        "random": repr(random.getstate()),
        "numpy.random": repr([part.tolist() if hasattr(part, "tolist") else part for part in _numpy_state()]),
        "torch": repr(torch.get_rng_state().tolist()),
    }


def seed_all(seed: int) -> None:
    """Seed the shared generators."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the settings that differ."""
    return [name for name in before if before[name] != after[name]]


def _numpy_state() -> tuple[Any, ...]:
    state = np.random.get_state()
    return tuple(state.values()) if isinstance(state, dict) else tuple(state)
