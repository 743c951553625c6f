"""What is wrong with a recording before anything is read from it.

Shapes: N samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput

FEWEST_S = 0.5
MOST_GAPS = 0.05
CLIPPED = 1e-3
"""Share of samples at the very top or bottom from which a channel counts as clipped."""

COARSE = 300
"""Distinct values below which the converter had eight bits or so."""


def mended(values_N: NDArray[np.float32], rate_hz: float, subject: str) -> tuple[NDArray[np.float32], list[str]]:
    """The samples with small gaps bridged, and reasons to doubt what follows from them.

    Args:
        values_N: as recorded; what is missing is NaN.
        rate_hz: sample rate.
        subject: of errors.

    Raises:
        BadInput: for a recording that says nothing: too short, constant, or more gap than signal.
    """
    if len(values_N) < FEWEST_S * rate_hz:
        got, fix = f"{len(values_N) / rate_hz:.3g} s", "record for longer: 5 to 10 s"
        raise BadInput(subject, expected=f"at least {FEWEST_S:g} s", got=got, fix=fix)
    missing_N = ~np.isfinite(values_N)
    gaps = float(missing_N.mean())
    if gaps > MOST_GAPS:
        fix = "record anew, or cut out an unbroken part"
        raise BadInput(subject, expected=f"at most {MOST_GAPS:.0%} missing samples", got=f"{gaps:.0%}", fix=fix)
    if gaps:
        index_N = np.arange(len(values_N))
        values_N = values_N.copy()
        values_N[missing_N] = np.interp(index_N[missing_N], index_N[~missing_N], values_N[~missing_N])
    if values_N.max() == values_N.min():
        got, fix = f"{values_N[0]:g} throughout", "check sensor and cable"
        raise BadInput(subject, expected="a signal that varies", got=got, fix=fix)
    doubts = [f"{gaps:.2%} of its samples were missing and are bridged"] if gaps else []
    return values_N, doubts + _doubts(values_N)


def _doubts(values_N: NDArray[np.float32]) -> list[str]:
    top, bottom = float((values_N == values_N.max()).mean()), float((values_N == values_N.min()).mean())
    found = []
    if max(top, bottom) > CLIPPED:
        found.append(f"the signal is clipped: {max(top, bottom):.1%} of its samples are at the end of the range")
    if (levels := len(np.unique(values_N))) < COARSE:
        found.append(f"its samples take only {levels} values: the range is far too wide or the converter coarse")
    return found
