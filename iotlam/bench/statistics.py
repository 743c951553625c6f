"""Figures with their uncertainty."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median_ci95(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median and its 95 % confidence interval from order statistics, whatever the distribution.

    The interval runs from the k-th least to the k-th greatest value, with the largest k for which
    2 P(Binomial(n, 1/2) < k) <= 0.05 (David and Nagaraja, Order Statistics, section 7.1). Fewer than
    six values cannot give 95 %; then it is their whole range, which covers 1 - 2^(1-n).

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("median_ci95 needs at least one value")
    ordered = sorted(values)
    count = len(ordered)
    rank, tail = 0, 1 / 2**count
    while tail <= 0.025:
        rank += 1
        tail += math.comb(count, rank) / 2**count
    low = max(rank - 1, 0)
    return statistics.median(ordered), (ordered[low], ordered[count - 1 - low])
