"""What stands on the street at one instant: oriented boxes on flat ground, in site coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Boxes:
    """N vehicles as oriented boxes standing on z = 0.

    Site coordinates: origin at the junction's centre, x east, y north, z up, metres.

    Attributes:
        centre_N2: middle of each footprint, metres.
        heading_N: direction of travel, radians counter-clockwise from east.
        size_N3: length, width, height, metres.
        velocity_N2: metres per second.
        colour_N3: uint8 RGB.
        id_N: uint32, which vehicle each is, the same at every instant; 0 to N - 1 where nobody says.
    """

    centre_N2: Floats
    heading_N: Floats
    size_N3: Floats
    velocity_N2: Floats
    colour_N3: NDArray[np.uint8]
    id_N: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))

    def __post_init__(self) -> None:
        if len(self.id_N) != len(self):
            object.__setattr__(self, "id_N", np.arange(len(self), dtype=np.uint32))

    def __len__(self) -> int:
        return int(self.centre_N2.shape[0])

    def where(self, kept_N: NDArray[np.bool_]) -> Boxes:
        """Those boxes alone."""
        return Boxes(*(getattr(self, part.name)[kept_N] for part in fields(self)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The boxes at one simulated instant."""

    t_ns: int
    boxes: Boxes


@dataclass(frozen=True, slots=True)
class Approach:
    """A road that enters the junction: where its stop line is and where traffic comes from.

    Attributes:
        name: the road's identifier in the net.
        stop_2: middle of the stop line, site coordinates, metres.
        heading: direction of travel at the stop line, radians counter-clockwise from east.
        width: metres across all lanes.
    """

    name: str
    stop_2: Floats
    heading: float
    width: float
