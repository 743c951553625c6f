"""What can be said of a machine's places in the plane of orders, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotlam.training.shards import FACTS, Sample
from iotlam_faults.query import PLACES

GRADES = ((0.0, "No damage"), (0.35, "Slight damage"), (0.65, "Clear damage"), (1.0, "Severe damage"))
"""What a severity up to each bound is called."""

SHARED = {"cage": "ball", "turns": "shaft"}
"""Places at which the damage of another one shows too."""


def describe(sample: Sample, places: Sequence[int]) -> str:
    """One place: how bad the damage is that shows there. Several: of each, and which is worst.

    Places are counted from one, in the order given; `sample` needs the target of `windows.simulated`.
    """
    severity_K = sample.targets[FACTS][:, 0]
    shown = [float(severity_K[PLACES.index(SHARED.get(PLACES[place], PLACES[place]))]) for place in places]
    if len(places) == 1:
        return f"{grade(shown[0])}."
    listed = ", ".join(grade(one).partition(" ")[0].lower() for one in shown)
    worst = f"Worst is place {int(np.argmax(shown)) + 1}." if any(shown) else "Nothing is damaged."
    return f"Damage: {listed}. {worst}"


def grade(severity: float) -> str:
    """A severity in words."""
    return next(word for most, word in GRADES if severity <= most)
