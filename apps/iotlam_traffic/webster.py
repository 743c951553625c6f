"""Signal timing by flow (F. V. Webster, Traffic Signal Settings, Road Research Technical Paper 39, 1958)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam_street.junction import SignalRules

SATURATION_HZ = 0.5
"""Vehicles that one lane passes in a second of green: 1800 an hour."""

LOST_S = 4.0
"""Green that a change of phase costs: drivers start late, and stop for a part of the yellow."""

SHORTEST_CYCLE_S, LONGEST_CYCLE_S = 60.0, 120.0


def cycle(arrival_hz_K: NDArray[np.floating], serves_PK: NDArray[np.bool_], rules: SignalRules) -> list[int]:
    """The green phases of one cycle, in order, one entry for each decision.

    The cycle lasts C = (1.5 L + 5) / (1 - Y) seconds, L lost in all and Y the sum of the phases' flow ratios, within
    `SHORTEST_CYCLE_S` and `LONGEST_CYCLE_S`. A phase's flow ratio is the greatest of those of its lanes; a lane that
    several phases serve divides its flow among them. Greens are proportional to the ratios, and every phase that serves
    a lane gets at least one decision.

    Args:
        arrival_hz_K: vehicles that come to each lane in a second.
        serves_PK: which phase serves which lane.
        rules: the grid of decisions.
    """
    phases = np.flatnonzero(serves_PK.any(axis=1))
    ratio_K = arrival_hz_K / SATURATION_HZ / np.maximum(serves_PK.sum(axis=0), 1)
    ratio_P = (serves_PK * ratio_K)[phases].max(axis=1)
    lost_s, total = LOST_S * len(phases), float(ratio_P.sum())
    best_s = (1.5 * lost_s + 5.0) / (1.0 - total) if total < 1.0 else LONGEST_CYCLE_S
    cycle_s = min(max(best_s, SHORTEST_CYCLE_S), LONGEST_CYCLE_S)
    share_P = ratio_P / total if total > 0.0 else np.full(len(phases), 1.0 / len(phases))
    shown_s_P = np.maximum(cycle_s - lost_s, 0.0) * share_P + LOST_S
    decisions_P = np.maximum(np.rint(shown_s_P / rules.decision_s).astype(int), 1)
    return [int(phase) for phase in np.repeat(phases, decisions_P)]
