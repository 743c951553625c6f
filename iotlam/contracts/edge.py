"""Edge devices and the radio links between them: what federated rounds and inference scheduling plan with."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

from iotlam.contracts.errors import BadInput
from iotlam.contracts.records import Record

Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]


class Device(Record, frozen=True):
    """A computing device.

    Attributes:
        name: unique among the devices of a site.
        compute_flops: sustained speed, floating-point operations per second.
        memory_bytes: memory for weights and state.
        energy_j_per_flop: energy of one floating-point operation, joule.
        position_m: x, y, z in site coordinates, metres; a base station of `iotlam_edge` stands at (0, 0, 25).
        transmit_w: radiated power of its radio, watt.
    """

    name: str
    compute_flops: Positive
    memory_bytes: Annotated[int, Meta(gt=0)]
    energy_j_per_flop: NotNegative
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    transmit_w: NotNegative = 0.1

    def __post_init__(self) -> None:
        for name in ("compute_flops", "energy_j_per_flop", "transmit_w"):
            if not math.isfinite(value := getattr(self, name)):
                subject = f"Device '{self.name}', {name}"
                raise BadInput(subject, expected="a finite number", got=str(value), fix="correct it")

    def compute_s(self, flops: float) -> float:
        """Seconds that so many floating-point operations take."""
        return flops / self.compute_flops

    def compute_j(self, flops: float) -> float:
        """Joule that so many floating-point operations take."""
        return flops * self.energy_j_per_flop


class ChannelState(Record, frozen=True):
    """What a radio channel is like at one instant.

    Attributes:
        gain: power gain between the antennas, 0 to 1.
        noise_w_per_hz: noise spectral density at the receiver, watt per hertz.
    """

    gain: Annotated[float, Meta(ge=0.0, le=1.0)]
    noise_w_per_hz: Positive


class Link(Record, frozen=True):
    """A radio link from one device to another.

    Attributes:
        source: name of the sending device.
        target: name of the receiving device.
        bandwidth_hz: bandwidth that the link may use, hertz.
    """

    source: str
    target: str
    bandwidth_hz: Positive

    def capacity_bit_per_s(self, transmit_w: float, channel: ChannelState) -> float:
        """Shannon capacity, bandwidth x log2(1 + transmit_w gain / (noise bandwidth)), bit per second."""
        snr = transmit_w * channel.gain / (channel.noise_w_per_hz * self.bandwidth_hz)
        return self.bandwidth_hz * math.log1p(snr) / math.log(2.0)  # log1p: exact for a weak signal
