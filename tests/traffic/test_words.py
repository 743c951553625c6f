"""What is said of lanes is what the simulator knew of them at that instant."""

from __future__ import annotations

import numpy as np
import pytest

from iotlam.contracts import DecisionQuery
from iotlam.training.shards import Sample
from iotlam_traffic.record import STANDING, VEHICLES
from iotlam_traffic.words import describe


def sample(vehicles: list[int], standing: list[int]) -> Sample:
    """Three lanes; phase 0, in force, serves the first two, phase 1 the third."""
    query = DecisionQuery(
        np.zeros((3, 2, 2), np.float32),
        np.array([[1, 0.5, 0], [0, 0, 1]], np.float32),
        np.array([[1, 0], [0, 0]], np.float32),
        np.ones(2, np.bool_),
    )
    return Sample({}, query, {VEHICLES: np.array(vehicles, np.float32), STANDING: np.array(standing, np.float32)})


@pytest.mark.parametrize(
    ("places", "text"),
    [
        ([0], "7 vehicles, 4 standing. The light is green."),
        ([1], "1 vehicle, none standing. The light is green."),
        ([2], "12 vehicles, 6 standing. The light is red."),
        ([2, 0, 1], "Standing: 6, 4, 0. The longest queue is in lane 1. Best is the phase of 1, for 12 of 20."),
        ([0, 1], "Standing: 4, 0. The longest queue is in lane 1. Best is the phase of 1 2, for 8 of 8."),
    ],
)
def test_words_about_lanes(places: list[int], text: str) -> None:
    assert describe(sample([7, 1, 12], [4, 0, 6]), places) == text


def test_words_about_an_empty_street() -> None:
    empty = sample([0, 0, 0], [0, 0, 0])
    assert describe(empty, [2]) == "The lane is empty. The light is red."
    assert describe(empty, [0, 2]) == "Standing: 0, 0. Nobody waits. No phase is needed."
