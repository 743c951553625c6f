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


def mean_ci95(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean and its 95 % confidence interval by Student's t: for paired differences over a few seeds.

    Raises:
        ValueError: if there are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("mean_ci95 needs two values or more")
    mean = statistics.fmean(values)
    half = _student_t975(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def _student_t975(freedom: int) -> float:
    """The 97.5 % quantile: the exact values up to ten degrees of freedom, then Fisher's expansion, right to 1e-3."""
    exact = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    if freedom <= len(exact):
        return exact[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))
