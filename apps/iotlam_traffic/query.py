"""What a junction asks the model: its lanes are the places, its green phases the candidates."""

from __future__ import annotations

import numpy as np

from iotlam.contracts import DecisionQuery
from iotlam_street.junction import Junction

ANCHOR_M = np.array([-24.0, 3.0, 11.0, 20.0, 33.0, 51.0, 75.0, 105.0], dtype=np.float32)
"""Distances back from the stop line at which a lane is looked at, metres; negative ones lie on the way out."""

PHASE_FEATURES = (
    "in force",
    "green s / 60",
    "longest red s / 60",
    "share of lanes served",
    "share of those yielding",
    "nearness of the next signals",
    "what they show",
)


def junction_query(junction: Junction) -> DecisionQuery:
    """The choice that the junction faces now.

    Uses what a signal controller knows of itself (plan, phase in force, time since each lane was
    served) and what its neighbours tell it of their lights (`Junction.onward`), and nothing of the traffic.
    """
    plan = junction.plan
    phases, lanes = plan.serves_PK.shape
    in_force_P = np.arange(phases) == junction.phase
    green_s = junction.time_s - junction.green_since_s
    red_s_K = junction.time_s - junction.served_at_s_K
    served_P = np.maximum(plan.serves_PK.sum(axis=1), 1)  # a phase may serve pedestrians alone
    features_PF = np.stack(
        [
            in_force_P,
            in_force_P * min(green_s, 120.0) / 60.0,
            np.where(plan.serves_PK, np.minimum(red_s_K, 180.0), 0.0).max(axis=1) / 60.0,
            plan.serves_PK.sum(axis=1) / lanes,
            plan.yields_PK.sum(axis=1) / served_P,
            *(plan.serves_PK @ junction.onward() / served_P[:, None]).T,
        ],
        axis=1,
    )
    return DecisionQuery(
        plan.points_back(ANCHOR_M),
        np.where(plan.yields_PK, 0.5, plan.serves_PK).astype(np.float32),
        features_PF.astype(np.float32),
        junction.offered_P,
    )
