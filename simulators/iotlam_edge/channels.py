"""Radio channels between devices and their base station: path loss, fading anew in each round, and traces of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from iotlam.contracts import BadInput, ChannelState, Device, Record, whole_file

NOISE_W_PER_HZ = 1.38e-23 * 290 * 10**0.9
"""Thermal noise at 290 K and a receiver's noise figure of 9 dB."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]

STATION_M = 25.0
"""Height of the base station's antenna."""


def path_gain(device: Device) -> float:
    """Power gain over the distance to the base station at the origin: 128.1 + 37.6 log10(km) dB (3GPP TR 36.814)."""
    distance_km = math.hypot(*device.position_m[:2], device.position_m[2] - STATION_M) / 1000
    return min(10 ** -((128.1 + 37.6 * math.log10(max(distance_km, 1e-3))) / 10), 1.0)


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


class Trace(Record, frozen=True):
    """Channels as they were, to be met again.

    Attributes:
        devices: names.
        gain: of each round, of each device, power gain 0 to 1.
        noise_w_per_hz: at the receivers.
    """

    devices: tuple[str, ...]
    gain: tuple[tuple[Share, ...], ...]
    noise_w_per_hz: float = NOISE_W_PER_HZ

    def __post_init__(self) -> None:
        if not self.gain or any(len(round_) != len(self.devices) for round_ in self.gain):
            got = f"{len(self.gain)} rounds of other lengths"
            raise BadInput("Trace", expected=f"{len(self.devices)} gains a round", got=got, fix="record it anew")

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read what `write` wrote.

        Raises:
            BadInput: if it is no trace.
        """
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(str(path), expected="a trace", got=str(error), fix="name another file") from error
        return cls.from_json(text, str(path))

    def write(self, path: Path) -> None:
        """Write the trace as JSON, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(self.to_json())

    def channels(self, devices: Sequence[Device], number: int) -> list[ChannelState]:
        """Channels of a round; after the last comes the first again.

        Raises:
            BadInput: if a device is not in the trace.
        """
        places = {name: place for place, name in enumerate(self.devices)}
        if strange := [device.name for device in devices if device.name not in places]:
            fix = "record one with it"
            raise BadInput("Trace", expected=f"device '{strange[0]}'", got="others", fix=fix)
        gains = self.gain[number % len(self.gain)]
        return [ChannelState(gains[places[device.name]], self.noise_w_per_hz) for device in devices]
