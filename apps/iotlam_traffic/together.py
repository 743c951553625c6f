"""Signals a few metres apart choose together.

Between them there is no room for a queue: what one lets in must go on at the other. Each choosing for itself, however
well, fills the road between them, and both junctions; SUMO's vehicles then wait for each other for good.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam_street.junction import Junction

Scores = NDArray[np.floating]
"""Logits of a junction's phases, (P,)."""

FORBIDDEN = -1e8
"""Scores up to this are of phases that are not allowed."""


def agree(junctions: Sequence[Junction], scores: Sequence[Scores]) -> list[int]:
    """The phase of greatest score of each junction; of close ones, of those that go together the likeliest.

    Where no two that are allowed go together, each keeps its own.

    Args:
        junctions: all of a street that are chosen for.
        scores: of each one's phases, logits (P,), or more where they are padded.
    """
    row_of = {junction.plan.signal: row for row, junction in enumerate(junctions)}
    open_scores: list[Scores] = [
        torch.as_tensor(scores_P[: len(junction.plan.green_states)]).double().log_softmax(0).numpy()
        for junction, scores_P in zip(junctions, scores, strict=True)
    ]
    for row, junction in enumerate(junctions):
        for other, fits_PQ in ((row_of[signal], fits) for signal, fits in junction.close.items() if signal in row_of):
            if other < row:  # each pair once
                continue
            joint_PQ = np.where(fits_PQ, open_scores[row][:, None] + open_scores[other], -np.inf)
            if joint_PQ.max() > FORBIDDEN:
                best_p, best_q = np.unravel_index(joint_PQ.argmax(), joint_PQ.shape)
                open_scores[row] = only(open_scores[row], int(best_p))
                open_scores[other] = only(open_scores[other], int(best_q))
    return [int(scores_P.argmax()) for scores_P in open_scores]


def only(scores_P: Scores, phase: int) -> Scores:
    """Scores that leave no other choice."""
    return np.where(np.arange(len(scores_P)) == phase, scores_P, -np.inf)
