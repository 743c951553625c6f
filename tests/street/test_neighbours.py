"""What junctions of one street know of each other."""

from __future__ import annotations

import numpy as np

from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street


def test_neighbours_send_traffic_to_each_other() -> None:
    with Street(find_scenario("grid4x4"), 1) as street:
        near_JJ = street.near_JJ
        names = [junction.plan.signal for junction in street.junctions]
    np.testing.assert_array_equal(near_JJ, near_JJ.T)
    assert {name for name, near in zip(names, near_JJ[names.index("A0")], strict=True) if near} == {"A0", "A1", "B0"}
    assert near_JJ[names.index("B1")].sum() == 5


def test_a_junction_is_told_what_the_next_signals_show() -> None:
    with Street(find_scenario("grid4x4"), 1) as street:
        corner, east = (next(j for j in street.junctions if j.plan.signal == name) for name in ("A0", "B0"))
        lane = next(k for k, ways in enumerate(corner.next_signals) if ways and ways[0].junction.plan is east.plan)
        distance_m = corner.next_signals[lane][0].distance_m
        there = [way.lane for way in corner.next_signals[lane]]
        shown = []
        for phase in range(len(east.plan.green_states)):
            east.phase = phase
            nearness, light = corner.onward()[lane]
            assert nearness == np.float32(1.0 / (1.0 + distance_m / 50.0))
            np.testing.assert_allclose(
                light / nearness, (2.0 * east.plan.serves_PK[phase, there] - 1.0).mean(), atol=1e-6
            )
            shown.append(light)
        leaving = next(k for k, ways in enumerate(corner.next_signals) if not ways)
        assert corner.onward()[leaving].tolist() == [0.0, 0.0]
    assert min(shown) < 0.0 < max(shown)
