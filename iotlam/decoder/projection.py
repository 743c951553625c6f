"""Projection onto the allowed decisions: what may not be chosen cannot be chosen."""

from __future__ import annotations

from torch import Tensor

from iotlam.contracts import BadInput


def project(scores_BP: Tensor, allowed_BP: Tensor) -> Tensor:
    """Logits (B, P): the scores, and -inf for every candidate that is not allowed.

    Raises:
        BadInput: if a row allows nothing.
    """
    if not bool(allowed_BP.any(-1).all()):
        raise BadInput(
            "Allowed candidates", expected="at least one per query", got="none", fix="allow the candidate in force"
        )
    return scores_BP.masked_fill(~allowed_BP, float("-inf"))


def choose(logits_BP: Tensor) -> Tensor:
    """Index (B,) of the best candidate, the lowest of equals."""
    return logits_BP.argmax(-1)  # torch promises the first of equals


def classify(logits_BP: Tensor, threshold: float = 0.5) -> Tensor:
    """Which candidates hold, bool (B, P): those whose own probability reaches `threshold`; any number of them."""
    return logits_BP.sigmoid() >= threshold
