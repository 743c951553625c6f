"""Sensor noise from a table: to draw it anew for every pixel costs as much as the rest of a sensor."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

LEAST, FRAMES = 2**21, 4
"""Length of a table: this, or so many frames where these are large."""

Number = TypeVar("Number", np.float32, np.complex64)


def real_noise(deviation: float, size: int) -> NDArray[np.float32]:
    """Gaussian noise of a standard deviation for frames of a size, always the same; sensors share it."""
    return _table(deviation, max(LEAST, FRAMES * size))


@lru_cache(maxsize=4)
def _table(deviation: float, length: int) -> NDArray[np.float32]:
    table_N = np.random.default_rng(0).standard_normal(length, np.float32) * np.float32(deviation)
    table_N.flags.writeable = False
    return table_N


def complex_noise(deviation: float, size: int) -> NDArray[np.complex64]:
    """Complex Gaussian noise whose magnitude is `deviation`, root mean square."""
    return real_noise(deviation * np.sqrt(0.5), 2 * size).view(np.complex64)


def drawn(table_N: NDArray[Number], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Number]:
    """A stretch of a table from a random place, in a shape; a view."""
    size = int(np.prod(shape))
    start = int(rng.integers(len(table_N) - size))
    return table_N[start : start + size].reshape(shape)
