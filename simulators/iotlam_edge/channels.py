"""Radio channels between devices and their base station: path loss, and fading anew in each round."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from iotlam.contracts import ChannelState, Device

NOISE_W_PER_HZ = 1.38e-23 * 290 * 10**0.9
"""Thermal noise at 290 K and a receiver's noise figure of 9 dB."""

STATION_M = 25.0
"""Height of the base station's antenna."""


def path_gain(device: Device) -> float:
    """Power gain over the distance to the base station at the origin: 128.1 + 37.6 log10(km) dB (3GPP TR 36.814)."""
    distance_km = math.hypot(*device.position_m[:2], device.position_m[2] - STATION_M) / 1000
    return 10 ** -((128.1 + 37.6 * math.log10(max(distance_km, 1e-3))) / 10)


def channels(devices: Sequence[Device], seed: int, number: int) -> list[ChannelState]:
    """Channels of one round: path loss times Rayleigh fading, which stays for a round and is drawn anew for the next.

    A device's fading does not depend on who else is asked about.

    Args:
        devices: who has a channel to the base station.
        seed: of the fading.
        number: of the round.
    """
    return [
        ChannelState(min(path_gain(device) * _fading(device.name, seed, number), 1.0), NOISE_W_PER_HZ)
        for device in devices
    ]


def _fading(name: str, seed: int, number: int) -> float:
    """Power of a Rayleigh-faded channel, mean 1."""
    return float(np.random.default_rng((seed, 2, number, *name.encode())).exponential())
