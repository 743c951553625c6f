"""The plane of orders: where lines and the faults that draw them lie.

What a fault looks like is a matter of geometry: which orders of the shaft its lines have. So orders are treated as
places, and the lines of a spectrum as what is seen there, just as vehicles are seen in lanes. x grows with the order,
evenly at first and then with its logarithm, so that one step is about the same share of any order above the shaft's; y
tells envelope spectra from those of the signal itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

PER_UNIT = 100.0
"""Steps in a unit of x: one is 0.01 orders near 0, and one per cent of a high order."""

ENVELOPE_Y, SIGNAL_Y = 0.0, 40.0


def place_of(order: ArrayLike) -> Doubles:
    """X of orders, same shape."""
    return np.asarray(PER_UNIT * np.arcsinh(np.asarray(order, np.float64)))
