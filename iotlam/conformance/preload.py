"""What every worker has loaded before the plugin: torch and the parts of iotlam that the checks use."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import safetensors.torch  # noqa: E402, F401
import torch  # noqa: E402

import iotlam.blocks.window  # noqa: E402
import iotlam.fusion  # noqa: E402
import iotlam.model.processor  # noqa: E402, F401


def one_thread() -> None:
    """Compute in one thread, as budgets say, and have torch's parts ready that load on first use."""
    torch.set_num_threads(1)
    layer = torch.nn.Linear(2, 2)
    torch.optim.Adam(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()
