"""Beacons: connected vehicles say where they are, and a receiver at the junction hears most of it.

Messages are cooperative awareness messages (ETSI EN 302 637-2): a vehicle speaks after every 4 m, at least once and at
most ten times a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.scene import Boxes, Floats

Doubles = NDArray[np.float64]

_STEP_M, _SLOWEST_S, _FASTEST_S = 4.0, 1.0, 0.1
"""When the standard has a vehicle speak again: after so many metres, at the latest, at the earliest."""
_MOTORCYCLE, _CAR, _BUS, _LORRY = 4.0, 5.0, 6.0, 8.0
"""ETSI station types."""


@dataclass(frozen=True, slots=True)
class BeaconConfig:
    """Who is connected, and how well they are heard.

    Attributes:
        penetration: share of vehicles that speak; which ones is decided by their identity alone.
        range_m: distance at which half of the power that a message needs is left on average.
        gnss_m: standard deviation of each coordinate's error that stays with a vehicle, metres.
        jitter_m: standard deviation of the error that each message adds, metres.
        speed_m_s: standard deviation of the speed's error.
        heading_deg: standard deviation of the heading's error.
        valid_s: messages older than this are forgotten.
    """

    penetration: float = 0.2
    range_m: float = 200.0
    gnss_m: float = 1.5
    jitter_m: float = 0.3
    speed_m_s: float = 0.2
    heading_deg: float = 1.0
    valid_s: float = 1.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.penetration <= 1.0:
            got = f"{self.penetration}"
            raise BadInput("BeaconConfig.penetration", expected="0 to 1", got=got, fix="give a share")


class Receiver:
    """A receiver of beacons that stays where it is.

    Args:
        place_3: place of its antenna, site coordinates, metres.
        name: `meta["sensor"]` of its frames.
        config: vehicles and radio.
    """

    def __init__(self, place_3: Floats, name: str, config: BeaconConfig | None = None) -> None:
        self._config = config or BeaconConfig()
        self._pose = np.eye(4)
        self._pose[:3, 3] = place_3
        self._meta = {"sensor": name, "pose_site": self._pose}

    def hear(self, boxes: Boxes, t_ns: int, rng: np.random.Generator) -> SensorFrame:
        """The latest message of each vehicle that is still valid.

        Args:
            boxes: what stands on the street.
            t_ns: time of the frame.
            rng: source of lost messages and of errors.

        Returns:
            Frame with data float32 (messages, 8): x, y from the receiver in metres, speed in m/s, heading in radians,
            length and width in metres, ETSI station type, age in seconds.
        """
        config = self._config
        speaking = boxes.where(share_of(boxes.id_N, 0) < config.penetration)
        speed_N = np.linalg.norm(speaking.velocity_N2, axis=1)
        age_N = self._age(speaking, speed_N, rng)
        place_N2 = speaking.centre_N2 - age_N[:, None] * speaking.velocity_N2 + config.gnss_m * _bias(speaking.id_N)
        place_N2 = place_N2 + config.jitter_m * rng.standard_normal(place_N2.shape) - self._pose[:2, 3]
        measured_N = np.maximum(speed_N + config.speed_m_s * rng.standard_normal(len(speed_N)), 0.0)
        heading_N = speaking.heading_N + np.radians(config.heading_deg) * rng.standard_normal(len(speed_N))
        rows_N8 = np.column_stack(
            [place_N2, measured_N, heading_N, speaking.size_N3[:, :2], station_type(speaking.size_N3), age_N]
        )
        return SensorFrame(t_ns, rows_N8[age_N <= config.valid_s].astype(np.float32), meta=self._meta)

    def _age(self, boxes: Boxes, speed_N: Floats, rng: np.random.Generator) -> Doubles:
        """Seconds since each vehicle measured what it said in the last of its messages that came through."""
        period_N = np.clip(_STEP_M / np.maximum(speed_N, 1e-3), _FASTEST_S, _SLOWEST_S)
        away_N = np.linalg.norm(boxes.centre_N2 - self._pose[:2, 3], axis=1)
        lost_N = rng.geometric(np.clip(reception(away_N, self._config.range_m), 1e-6, 1.0)) - 1
        return np.asarray((rng.random(len(boxes)) + lost_N) * period_N)


def reception(away_N: Floats | Doubles, range_m: float) -> Doubles:
    """Probability that a message comes through: fading of Nakagami's kind with m = 3, no interference.

    Killat and Hartenstein, "An empirical model for probability of packet reception in vehicular ad hoc networks",
    EURASIP JWCN 2009.
    """
    square_N = (np.asarray(away_N, np.float64) / range_m) ** 2
    return np.asarray(np.exp(-3.0 * square_N) * (1.0 + 3.0 * square_N + 4.5 * square_N**2))


def station_type(size_N3: Floats) -> Floats:
    """ETSI's station types by length and width: motorcycle, passenger car, heavy truck, bus."""
    length_N, width_N = size_N3[:, 0], size_N3[:, 1]
    kinds = [width_N < 1.2, length_N < 6.0, length_N < 10.5]
    return np.select(kinds, [_MOTORCYCLE, _CAR, _LORRY], _BUS).astype(np.float32)


def share_of(id_N: NDArray[np.uint32], question: int) -> Doubles:
    """A number 0 to 1 that depends on a vehicle and a question alone (the finaliser of MurmurHash3)."""
    bits = id_N ^ np.uint32(question * 0x9E3779B9 % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    return np.asarray((bits ^ (bits >> np.uint32(16))) / 2.0**32)


def _bias(id_N: NDArray[np.uint32]) -> Doubles:
    """Two normal numbers for each vehicle that stay with it (Box and Muller), (N, 2)."""
    radius_N = np.sqrt(-2.0 * np.log1p(-share_of(id_N, 1)))
    angle_N = 2.0 * np.pi * share_of(id_N, 2)
    return np.stack([radius_N * np.cos(angle_N), radius_N * np.sin(angle_N)], axis=1)
