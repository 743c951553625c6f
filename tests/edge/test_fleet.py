from __future__ import annotations

import math

import pytest

from iotlam.contracts import BadInput
from iotlam_edge.fleet import KINDS, NEAREST_M, draw_fleet


def test_devices_lie_on_the_disc_and_kinds_come_in_turn() -> None:
    fleet = draw_fleet(400, seed=3, radius_m=200.0)
    distances = [math.hypot(*device.position_m[:2]) for device in fleet.devices]
    assert NEAREST_M <= min(distances) and max(distances) <= 200.0
    assert sum(distance < 200 / math.sqrt(2) for distance in distances) == pytest.approx(200, abs=40), "evenly"
    assert [device.name for device in fleet.devices[:5]] == ["sensor-0", "gateway-1", "board-2", "box-3", "sensor-4"]
    assert fleet.ranks["box-3"] == KINDS["box"].rank


def test_a_seed_gives_the_same_fleet() -> None:
    assert draw_fleet(5, 1) == draw_fleet(5, 1)
    assert draw_fleet(5, 1) != draw_fleet(5, 2)


@pytest.mark.parametrize("asked", [(0, 500.0, ("box",)), (3, 5.0, ("box",)), (3, 500.0, ("mainframe",))])
def test_what_cannot_be_drawn_is_refused(asked: tuple[int, float, tuple[str, ...]]) -> None:
    count, radius_m, kinds = asked
    with pytest.raises(BadInput):
        draw_fleet(count, 0, radius_m, kinds)
