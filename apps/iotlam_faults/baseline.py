"""A machine's own healthy baseline: what it sounds like while nothing is wrong, and how far that wanders.

No library of faults tells a sound machine from a damaged one as well as the machine's own past does. A baseline needs
few windows: until its own spread is known, that of machines in general is assumed.

Shapes: W windows, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64]

USUAL = 0.5
"""Standard deviation of a band's power, nats, between loads of a sound machine: about 2 dB."""

WORTH = 5.0
"""Windows that the usual spread is worth beside a machine's own."""

CHANGED = 2.0
"""Root mean square of all bands' deviations from which a machine counts as changed."""


SPEED_MARGIN = 0.1
"""Share by which the speed may leave the range in which the baseline was learnt."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How a machine rings, and how loudly, while it is sound.

    Attributes:
        mean_C: of the columns of `profile`.
        precision_CC: inverse of their covariance.
    """

    mean_C: Doubles
    precision_CC: Doubles

    @classmethod
    def fit(cls, profile_WC: Doubles) -> Baseline:
        """Fit on windows of the sound machine, one or more; best of several loads and speeds."""
        count, columns = profile_WC.shape
        mean_C = profile_WC.mean(0)
        away_WC = profile_WC - mean_C
        covariance_CC = (away_WC.T @ away_WC + WORTH * USUAL**2 * np.eye(columns)) / (count + WORTH)
        return cls(mean_C, np.linalg.inv(covariance_CC))

    def change(self, profile_WC: Doubles) -> Doubles:
        """How far windows are from it, root mean square of the columns' deviations, (W,); `CHANGED` is much."""
        away_WC = profile_WC - self.mean_C
        square_W = np.einsum("wc,cd,wd->w", away_WC, self.precision_CC, away_WC)
        found: Doubles = np.sqrt(square_W / len(self.mean_C))
        return found


def near_speed(shaft_hz: float, low_hz: float, high_hz: float) -> bool:
    """Whether a speed is about that of a baseline learnt between two: at others a change says nothing."""
    return low_hz * (1.0 - SPEED_MARGIN) <= shaft_hz <= high_hz * (1.0 + SPEED_MARGIN)


def profile(levels_WC: NDArray[np.float32], values_WN: Tensor) -> Doubles:
    """What a baseline looks at: what rings (`evidence.levels`), and the power as a whole, nats, (W, C)."""
    power_W = 2.0 * torch.log(values_WN.std(1) + 1e-12)
    return np.concatenate([levels_WC, power_W[:, None].numpy()], 1).astype(np.float64)
