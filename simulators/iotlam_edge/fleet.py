"""Devices of unequal kinds, placed at random around a base station."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from iotlam.contracts import BadInput, Device


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device.

    Attributes:
        compute_flops: sustained speed in training, floating-point operations a second.
        memory_bytes: memory for weights and state.
        energy_j_per_flop: energy of one operation, joule.
        rank: greatest rank of LoRA that it can train.
    """

    compute_flops: float
    memory_bytes: int
    energy_j_per_flop: float
    rank: int


KINDS: Mapping[str, Kind] = {
    "sensor": Kind(2e9, 256 * 2**20, 4e-10, 2),
    "gateway": Kind(1e10, 2**30, 3e-10, 8),
    "board": Kind(4e10, 4 * 2**30, 2e-10, 16),
    "box": Kind(4e11, 16 * 2**30, 5e-11, 32),
}
"""About a Cortex-M class node with an accelerator, a small gateway, a single-board computer and an edge GPU box.

Orders of magnitude of what such hardware sustains, not of any product.
"""

TRANSMIT_W = 0.1
"""20 dBm, what user equipment of class 3 hardly exceeds."""

NEAREST_M = 10.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices and how large an adapter each can train.

    Attributes:
        devices: each named by its kind and number.
        ranks: of LoRA, by name.
    """

    devices: tuple[Device, ...]
    ranks: Mapping[str, int]


def draw_fleet(count: int, seed: int, radius_m: float = 500.0, kinds: tuple[str, ...] = tuple(KINDS)) -> Fleet:
    """Devices spread evenly over a disc around the base station at the origin, kinds in turn.

    Args:
        count: how many.
        seed: of their places.
        radius_m: of the disc.
        kinds: of `KINDS`.

    Raises:
        BadInput: if there are none, the disc is too small or a kind is unknown.
    """
    if count < 1 or radius_m <= NEAREST_M or not kinds:
        got = f"{count} of {len(kinds)} kinds within {radius_m:g} m"
        raise BadInput("Fleet", expected=f"devices beyond {NEAREST_M:g} m", got=got, fix="ask for more")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise BadInput("Kind of device", expected=", ".join(KINDS), got=f"'{unknown[0]}'", fix="name one of them")
    rng = np.random.default_rng((seed, 1))
    distance_m = np.sqrt(rng.uniform(NEAREST_M**2, radius_m**2, count))
    bearing = rng.uniform(0, 2 * np.pi, count)
    devices, ranks = [], {}
    for number in range(count):
        name, kind = f"{kinds[number % len(kinds)]}-{number}", KINDS[kinds[number % len(kinds)]]
        place = float(distance_m[number] * np.cos(bearing[number])), float(distance_m[number] * np.sin(bearing[number]))
        devices.append(
            Device(
                name,
                kind.compute_flops,
                kind.memory_bytes,
                kind.energy_j_per_flop,
                (*place, 0.0),
                transmit_w=TRANSMIT_W,
            )
        )
        ranks[name] = kind.rank
    return Fleet(tuple(devices), ranks)
