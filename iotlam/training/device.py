"""Where training runs: a GPU when there is one, and bfloat16 where the hardware multiplies it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def accelerator() -> torch.device:
    """The first CUDA GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Multiply in bfloat16 within; weights and optimiser stay in float32. Does nothing where it would not be faster."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)
