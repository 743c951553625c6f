"""One seed decides a run."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, numpy and torch; returns a numpy generator for what takes one."""
    random.seed(seed)
    np.random.seed(seed)  # for libraries that still use the global state
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
