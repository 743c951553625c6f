"""What can be said of a junction's lanes at the instant of a decision, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotlam.training.shards import Sample
from iotlam_traffic.record import STANDING, VEHICLES


def describe(sample: Sample, places: Sequence[int]) -> str:
    """One lane: its vehicles and its light. Several: each queue, the longest, and the phase that serves most.

    Lanes are counted from one, in the order given; `sample` needs the targets of `record.lane_facts`.
    """
    vehicles, standing = (sample.targets[name][list(places)].astype(int).tolist() for name in (VEHICLES, STANDING))
    if len(places) == 1:
        light = "green" if _green_K(sample)[places[0]] else "red"
        return f"{_lane(vehicles[0], standing[0])}. The light is {light}."
    queues = ", ".join(map(str, standing))
    return f"Standing: {queues}. {_longest(standing)} {_best_phase(sample, places, vehicles)}"


def _lane(vehicles: int, standing: int) -> str:
    if not vehicles:
        return "The lane is empty"
    noun = "vehicle" if vehicles == 1 else "vehicles"
    return f"{vehicles} {noun}, {standing or 'none'} standing"


def _longest(standing: Sequence[int]) -> str:
    if not any(standing):
        return "Nobody waits."
    return f"The longest queue is in lane {int(np.argmax(standing)) + 1}."


def _best_phase(sample: Sample, places: Sequence[int], vehicles: Sequence[int]) -> str:
    """The phase that serves most of the vehicles, by the lanes that it serves."""
    served_PK = sample.query.serves_PK[:, list(places)] > 0
    best = int(np.argmax(served_PK @ np.asarray(vehicles)))
    lanes = [str(lane + 1) for lane in np.flatnonzero(served_PK[best])]
    count = int(served_PK[best] @ np.asarray(vehicles))
    if not lanes or not count:
        return "No phase is needed."
    return f"Best is the phase of {' '.join(lanes)}, for {count} of {sum(vehicles)}."


def _green_K(sample: Sample) -> np.ndarray:
    in_force = int(sample.query.features_PF[:, 0].argmax())
    green_K: np.ndarray = sample.query.serves_PK[in_force] > 0
    return green_K
