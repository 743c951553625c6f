from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from iotlam.bench.suites import core
from iotlam.contracts import SensorFrame
from iotlam.training.progress import Step


@contextmanager
def silent(title: str, total: int | None = None) -> Iterator[Step]:
    yield lambda advance=1, **values: None


@pytest.mark.slow
def test_the_suite_measures_every_figure_that_is_asked_for() -> None:
    result = core.core(True, silent)
    assert result.metrics.keys() == {
        "pipeline_four_sensors_p95_ms", "pipeline_rss_mb", "causality_gradient_max", "reader_fuzz_crashes",
        "reader_fuzz_memory_ratio", "lidar_permutation_difference",
    }  # fmt: skip
    assert result.metrics["causality_gradient_max"].value == 0.0 and result.metrics["causality_gradient_max"].n > 50
    assert result.metrics["lidar_permutation_difference"].value == 0.0
    assert result.metrics["reader_fuzz_crashes"].value == 0.0, result.rows
    assert 1.0 < result.metrics["pipeline_four_sensors_p95_ms"].value and result.metrics["pipeline_rss_mb"].value > 100
    readers = {row["reader"]: row["cases"] for row in result.rows if "reader" in row}
    assert {"current", "lidar", "spectrum", "vibration", "video"} <= readers.keys() and min(readers.values()) >= 20


class Peeking(nn.Module):
    """A running sum that looks `ahead` steps into the future."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead

    def forward(self, x_LTP: torch.Tensor) -> torch.Tensor:
        return torch.roll(x_LTP.cumsum(1), -self.ahead, dims=1)


@pytest.mark.parametrize(("ahead", "causal"), [(0, True), (1, False), (5, False)])
def test_an_encoder_that_looks_ahead_is_seen(ahead: int, causal: bool) -> None:
    encoder = Peeking(ahead)
    plugin = SimpleNamespace(
        encoder=encoder,
        sample=lambda seed: [SensorFrame(0, np.full((40, 3), seed + 1.0, np.float32))],
        tokenize=lambda frames: encoder(torch.from_numpy(frames[0].data)[None]),
    )
    gradients = core._later_gradients(plugin, seed=1)  # type: ignore[arg-type]
    assert len(gradients) >= 16 and (max(gradients) == 0.0) == causal
