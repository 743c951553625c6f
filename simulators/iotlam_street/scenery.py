"""Where vehicles are, for sensors: the boxes around a junction one second ago and now."""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam_street.scene import Boxes, Snapshot
from iotlam_street.sumo import Sumo

SCENE_RADIUS_M = 160.0
CAR_COLOURS = np.array(
    [
        [235, 235, 235],
        [25, 25, 28],
        [128, 130, 134],
        [190, 192, 195],
        [40, 62, 120],
        [150, 30, 30],
        [90, 70, 50],
        [60, 90, 60],
    ],
    dtype=np.uint8,
)
"""What cars look like: white, black, grey, silver, blue, red, brown, green."""

Look = tuple[tuple[float, float, float], NDArray[np.uint8], int]


@dataclass(frozen=True, slots=True)
class _View:
    """All N vehicles at one instant.

    Attributes:
        t_ns: simulated time.
        place_N2: front bumpers in net coordinates, metres.
        motion_N2: direction in degrees clockwise from north, and metres per second.
        looks: size, colour and hash of the name of each.
    """

    t_ns: int
    place_N2: NDArray[np.float64]
    motion_N2: NDArray[np.float64]
    looks: list[Look]


class Scenery:
    """The last two seconds of a simulation as sensors need them; nothing is kept until somebody looks.

    Attributes:
        wanted: whether anybody has ever looked.
    """

    def __init__(self, sumo: Sumo) -> None:
        self._sumo = sumo
        self._looks: dict[str, Look] = {}
        self._views: deque[_View] = deque(maxlen=2)
        self.wanted = False

    def note(self) -> None:
        """Keep what is there now, if it is wanted."""
        if self.wanted:
            self._views.append(self._view())

    def around(self, origin_2: NDArray[np.float64]) -> tuple[Snapshot, ...]:
        """What stands within `SCENE_RADIUS_M` of a place in the net: one second ago and now; at first, only now."""
        if not self.wanted:
            self.wanted = True
            self._views.append(self._view())
        return tuple(Snapshot(view.t_ns, _boxes(view, origin_2)) for view in self._views)

    def _view(self) -> _View:
        vehicle = self._sumo.api.vehicle
        names = vehicle.getIDList()
        place = np.array([vehicle.getPosition(name) for name in names], dtype=np.float64).reshape(-1, 2)
        motion = np.array([(vehicle.getAngle(name), vehicle.getSpeed(name)) for name in names], dtype=np.float64)
        t_ns = int((self._sumo.time_s - self._sumo.scenario.begin_s) * 1e9)
        return _View(t_ns, place, motion.reshape(-1, 2), [self._look(name) for name in names])

    def _look(self, name: str) -> Look:
        if name not in self._looks:
            vehicle = self._sumo.api.vehicle
            size = (vehicle.getLength(name), vehicle.getWidth(name), vehicle.getHeight(name))
            number = zlib.crc32(name.encode())
            self._looks[name] = size, CAR_COLOURS[number % len(CAR_COLOURS)], number
        return self._looks[name]


def _boxes(view: _View, origin_2: NDArray[np.float64]) -> Boxes:
    """The boxes near a place, relative to it."""
    offset_N2 = view.place_N2 - origin_2[:2]
    near_N = np.flatnonzero((offset_N2**2).sum(axis=1) < SCENE_RADIUS_M**2)
    front_N2, motion_N2 = offset_N2[near_N].astype(np.float32), view.motion_N2[near_N].astype(np.float32)
    looks = [view.looks[index] for index in near_N]
    size_N3 = np.asarray([size for size, _, _ in looks], dtype=np.float32).reshape(-1, 3)
    heading_N = np.deg2rad(90.0 - motion_N2[:, 0])
    direction_N2 = np.stack([np.cos(heading_N), np.sin(heading_N)], axis=1).astype(np.float32)
    return Boxes(
        centre_N2=(front_N2 - direction_N2 * size_N3[:, :1] / 2).astype(np.float32),
        heading_N=heading_N,
        size_N3=size_N3,
        velocity_N2=direction_N2 * motion_N2[:, 1:],
        colour_N3=np.asarray([colour for _, colour, _ in looks], dtype=np.uint8).reshape(-1, 3),
        id_N=np.array([number for _, _, number in looks], dtype=np.uint32),
    )
