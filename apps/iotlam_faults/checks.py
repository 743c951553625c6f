"""What is wrong with a recording before anything is read from it.

Shapes: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput

FEWEST_S = 0.5
MOST_GAPS = 0.05
CLIPPED = 1e-3
"""Share of samples at the very top or bottom from which a channel counts as clipped."""

COARSE = 0.2
"""Step of the converter, as a share of the samples' root mean square, above which its noise may hide damage."""

ON_STEPS = 0.9
"""Share of the samples whose value comes twice or more from which on they count as steps: bridged ones are between."""

GLITCH = 50.0
"""Robust deviations from which a sample that stands alone is the converter's, not the machine's: impacts ring."""

KNOCK = 200.0
"""Robust deviations that no bearing's impacts reach."""

STILL = 50
"""Samples in a row of one value from which on the signal stands still."""

LARGEST = 1e8
"""Samples beyond cannot be squared twice in float32."""

SAME_RATE = 0.01
"""Share by which a sensor's rate may wander: some gateways and time columns state what was measured."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mended:
    """Samples that can be judged.

    Attributes:
        values_N: with small gaps and glitches bridged.
        bridged: what was, in words.
    """

    values_N: Floats
    bridged: tuple[str, ...]

    @property
    def flaws(self) -> tuple[str, ...]:
        """Why damage may not show in them, in words; looked for when asked, which a monitor does not."""
        return tuple(_flaws(self.values_N))

    @property
    def doubts(self) -> tuple[str, ...]:
        """All that is to be told."""
        return (*self.bridged, *self.flaws)


def mended(values_N: Floats, rate_hz: float, subject: str) -> Mended:
    """The samples with small gaps and glitches bridged, and what is wrong with them.

    Args:
        values_N: as recorded; what is missing is NaN.
        rate_hz: sample rate.
        subject: of errors.

    Raises:
        BadInput: for a recording that says nothing: too short, constant, more gap than signal, or beyond `LARGEST`.
    """
    if len(values_N) < FEWEST_S * rate_hz:
        got, fix = f"{len(values_N) / rate_hz:.3g} s", "record for longer: 5 to 10 s"
        raise BadInput(subject, expected=f"at least {FEWEST_S:g} s", got=got, fix=fix)
    missing_N = ~np.isfinite(values_N)
    gaps = float(missing_N.mean())
    if gaps > MOST_GAPS:
        fix = "record anew, or cut out an unbroken part"
        raise BadInput(subject, expected=f"at most {MOST_GAPS:.0%} missing samples", got=f"{gaps:.0%}", fix=fix)
    bridged = [f"{gaps:.2%} of its samples were missing and are bridged"] if gaps else []
    values_N = _bridged(values_N, missing_N)
    glitch_N = _glitches(values_N)
    if glitches := int(glitch_N.sum()):
        bridged.append(f"samples that stand far out alone, {glitches} of them, are taken for glitches and bridged")
    values_N = _bridged(values_N, glitch_N)
    if values_N.max() == values_N.min():
        got, fix = f"{values_N[0]:g} throughout", "check sensor and cable"
        raise BadInput(subject, expected="a signal that varies", got=got, fix=fix)
    if (largest := float(np.abs(values_N).max())) > LARGEST:
        fix = "check its unit and its scale"
        raise BadInput(subject, expected="samples that can be squared", got=f"up to {largest:.3g}", fix=fix)
    return Mended(values_N, tuple(bridged))


def _bridged(values_N: Floats, missing_N: NDArray[np.bool_]) -> Floats:
    if not missing_N.any():
        return values_N
    index_N = np.arange(len(values_N))
    bridged_N = values_N.copy()
    bridged_N[missing_N] = np.interp(index_N[missing_N], index_N[~missing_N], values_N[~missing_N])
    return bridged_N


def _away(values_N: Floats) -> Floats:
    """How far samples are from the middle, robust deviations; zeros where most of them are alike."""
    away_N = np.abs(values_N - np.median(values_N))
    spread = 1.4826 * float(np.median(away_N))
    return np.asarray(away_N / np.float32(spread)) if spread else np.zeros_like(away_N)


def _glitches(values_N: Floats) -> NDArray[np.bool_]:
    """Samples that stand far out while their neighbours do not."""
    away_N = _away(values_N)
    beside_N = np.pad(away_N, 1)
    return (away_N > GLITCH) & (np.maximum(beside_N[:-2], beside_N[2:]) < 0.2 * GLITCH)


def _flaws(values_N: Floats) -> list[str]:
    top, bottom = float((values_N == values_N.max()).mean()), float((values_N == values_N.min()).mean())
    found = []
    if max(top, bottom) > CLIPPED:
        found.append(f"the signal is clipped: {max(top, bottom):.1%} of its samples are at the end of the range")
    if (step := _step(values_N)) > COARSE:
        found.append(
            f"its samples are {step:.2f} of their spread apart: the range is far too wide or the converter coarse"
        )
    if still := _still(values_N):
        found.append(f"the signal stands still for {still:.1%} of the time: the sensor or its link dropped out")
    elif (most := float(_away(values_N).max())) > KNOCK:
        found.append(
            f"it holds a jolt of {most:.0f} times its usual spread: the sensor was knocked or its cable is loose"
        )
    return found


def _step(values_N: Floats) -> float:
    """The converter's step as a share of the samples' root mean square; zero where they take any value."""
    values_R, counts_R = np.unique(values_N, return_counts=True)
    if counts_R[counts_R > 1].sum() < ON_STEPS * len(values_N):
        return 0.0
    steps_R = np.diff(values_R[counts_R > 1])
    return float(np.median(steps_R) / values_N.std()) if len(steps_R) else 0.0


def _still(values_N: Floats) -> float:
    """Share of the samples that are in long runs of one value."""
    ends_R = np.append(np.flatnonzero(np.diff(values_N)), len(values_N) - 1)
    lengths_R = np.diff(ends_R, prepend=-1)
    return float(lengths_R[lengths_R >= STILL].sum() / len(values_N))
