"""A junction with four arms and random traffic on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from iotlam_street.scene import Approach, Boxes

HALF_JUNCTION_M, ROAD_WIDTH_M, LANES = 12.0, 9.6, 3


def make_boxes(*rows: tuple[float, ...]) -> Boxes:
    """Boxes from rows (x, y, heading, length, width, height[, vx, vy]), all red."""
    table = np.array([row + (0.0,) * (8 - len(row)) for row in rows], np.float32).reshape(-1, 8)
    colour_N3 = np.tile(np.array([200, 30, 30], np.uint8), (len(table), 1))
    return Boxes(table[:, :2], table[:, 2], table[:, 3:6], table[:, 6:], colour_N3)


def make_traffic(count: int, seed: int) -> Boxes:
    """`count` vehicles, in lanes of four arms up to 100 m long, one truck in six; none overlap."""
    rng = np.random.default_rng(seed)
    slots = rng.permutation(4 * LANES * 8)[:count]
    arm, lane, place = slots // (LANES * 8), slots // 8 % LANES, slots % 8
    heading = arm * (np.pi / 2.0)
    truck = rng.random(count) < 1 / 6
    back_m = HALF_JUNCTION_M + 1.0 + 11.0 * (place + 0.5) + rng.uniform(-0.5, 0.5, count)
    right_m = ROAD_WIDTH_M / LANES * (lane + 0.5)
    x = -back_m * np.cos(heading) + right_m * np.sin(heading)
    y = -back_m * np.sin(heading) - right_m * np.cos(heading)
    size = np.where(truck[:, None], [9.0, 2.5, 3.6], [4.5, 1.8, 1.5])
    speed = rng.uniform(0.0, 14.0, count)
    return Boxes(
        np.stack([x, y], axis=1).astype(np.float32),
        (heading + rng.normal(0.0, 0.03, count)).astype(np.float32),
        size.astype(np.float32),
        (speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)).astype(np.float32),
        rng.integers(20, 255, (count, 3)).astype(np.uint8),
    )


@pytest.fixture
def boxes_of() -> Callable[..., Boxes]:
    """`make_boxes`."""
    return make_boxes


@pytest.fixture
def traffic() -> Callable[[int, int], Boxes]:
    """`make_traffic`."""
    return make_traffic


@pytest.fixture
def approaches() -> list[Approach]:
    """Four approaches of a right-hand junction."""
    found = []
    for name, heading in zip(("west", "south", "east", "north"), np.arange(4) * (np.pi / 2.0), strict=True):
        cos, sin = np.cos(heading), np.sin(heading)
        back, right = HALF_JUNCTION_M, ROAD_WIDTH_M / 2.0
        stop_2 = np.array([-back * cos + right * sin, -back * sin - right * cos], np.float32)
        found.append(Approach(name, stop_2, float(heading), ROAD_WIDTH_M))
    return found
