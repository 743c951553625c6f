"""What every worker has loaded before the plugin: torch and the parts of iotlam that the checks use."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import safetensors.torch  # noqa: E402, F401

import iotlam.blocks.window  # noqa: E402, F401
import iotlam.fusion  # noqa: E402, F401
import iotlam.model.processor  # noqa: E402, F401
