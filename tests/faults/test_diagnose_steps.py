"""How fine a converter must be: its step counts against the samples' spread, not the number of their values."""

from __future__ import annotations

import numpy as np
import pytest

from iotlam_faults.checks import mended

RATE_HZ = 12_000.0
COARSE = "of their spread apart: the range is far too wide or the converter coarse"


def converted(per_step: float) -> np.ndarray:
    """Noise of so many steps of its converter, root mean square."""
    steps_N = np.round(np.random.default_rng(0).normal(size=60_000) * per_step)
    return (0.0048 * steps_N + 9.81).astype(np.float32)


@pytest.mark.parametrize(("per_step", "told"), [(0.3, True), (2.0, True), (4.0, True), (7.0, False), (30.0, False)])
def test_a_step_is_held_against_the_spread(per_step: float, told: bool) -> None:
    flaws = mended(converted(per_step), RATE_HZ, "it").flaws
    assert any(COARSE in one for one in flaws) is told


def test_bridged_samples_hide_no_coarse_converter_and_samples_that_take_any_value_have_no_step() -> None:
    values_N = converted(2.0)
    values_N[::40] = np.nan
    assert any(COARSE in one for one in mended(values_N, RATE_HZ, "it").flaws)
    noise_N = np.random.default_rng(0).normal(size=60_000).astype(np.float32)
    noise_N[: len(noise_N) // 2] = 0.0
    (still,) = mended(noise_N, RATE_HZ, "it").flaws
    assert still.startswith("the signal stands still")
