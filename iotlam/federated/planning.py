"""Rounds planned over radio: which devices take part, at which rank, with which part of the band.

A device asks for its greatest rank, and for a half and a quarter of it. What its answer is worth, in seconds of a
round, grows with its examples and with the rounds that it has waited, so none is left out for ever; a lower rank is
worth less by the square root, and each order in a row that came to nothing halves it. As many as make a round are asked
besides devices whose last order did. The plan depends on the run's journal and the channels alone, so a run that goes
on plans the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from iotlam.contracts import BadInput, ChannelState, Device, Json, Record
from iotlam.federated.outcome import Planned
from iotlam.federated.radio import Requests, Split, Work, requests, seconds, transfer_seconds
from iotlam.federated.rounds import Run
from iotlam.federated.selection import Choice, select
from iotlam.federated.trace import Trace
from iotlam.plugins import load_entry

Channels = Callable[[Sequence[Device], int], Sequence[ChannelState]]
"""Channels between devices and their server in a round."""

GROUP = "iotlam.channels"

PARTS = (1, 2, 4)
"""Of its greatest rank a device asks for these parts."""

FAINT = 1e-9
"""Signal over noise in the whole band below which a device is not heard: a bit would take seconds in 5 MHz."""

HALVINGS = 5
"""At most; a device that has come back is to be met again."""

Positive = Annotated[float, Meta(gt=0.0, le=1e12)]


class Radio(Record, frozen=True):
    """The radio of a run, as its plan says it.

    Attributes:
        band_hz: the band, hertz.
        server_w: power that the server transmits to a device with, watt.
        channels: who says how channels are: an entry of group `iotlam.channels`, a trace (.json), or the folder of a
            run with a slash in its path (`./run`), whose channels come again.
        seed: of channels that are drawn.
        worth: of a mean device's answer, in times that the median device takes alone in the band.
    """

    band_hz: Positive
    server_w: Positive = 1.0
    channels: str = "edge"
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    worth: Positive = 1.0


def channels_of(radio: Radio) -> Channels:
    """How the channels of a run are in each round.

    Raises:
        BadInput: if nobody says so under that name.
    """
    path = Path(radio.channels)
    if path.suffix == ".json":
        return Trace.read(path).channels
    if os.sep in radio.channels:
        return Trace.of_run(path).channels
    drawn = load_entry(GROUP, radio.channels, "Radio channels")

    def channels(devices: Sequence[Device], number: int) -> Sequence[ChannelState]:
        found: Sequence[ChannelState] = drawn(devices, radio.seed, number)
        return found

    return channels


@dataclass(frozen=True, slots=True)
class _Request:
    device: Device
    rank: int
    worth: float
    failed: int
    work: Work
    channel: ChannelState


class Planner:
    """Plans the rounds of a run.

    Args:
        radio: band and powers.
        devices: those that may take part.
        channels: between them and the server.
        step_flops: floating-point operations of one optimiser step.
    """

    def __init__(self, radio: Radio, devices: Sequence[Device], channels: Channels, step_flops: float) -> None:
        self._radio, self._devices, self._channels, self._step_flops = radio, devices, channels, step_flops

    def __call__(self, run: Run) -> Planned:
        """Who takes part in the round to come, at which rank, and what the radio is planned to do."""
        channels = self._channels(self._devices, run.number)
        if len({one.noise_w_per_hz for one in channels}) > 1:
            fix = "put the difference into 'gain'"
            raise BadInput("Radio, channels", expected="one noise density for all", got="several", fix=fix)
        asking = self._asking(run, channels)
        heard: Json = {
            "unheard": sorted({one.name for one in self._devices} - {one.device.name for one in asking}),
            "gain": {one.name: channel.gain for one, channel in zip(self._devices, channels, strict=True)},
            "noise_w_per_hz": channels[0].noise_w_per_hz,
        }
        if not asking:  # another round may be better
            return Planned({}, {"round_s": 0.0, "gap": 0.0, **heard, "slots": {}})
        asked = requests(
            [one.work for one in asking],
            [one.device for one in asking],
            [one.channel for one in asking],
            self._radio.server_w,
        )
        _, device_R = np.unique([one.device.name for one in asking], return_inverse=True)
        alone_s = seconds(asked, self._radio.band_hz / 2, self._radio.band_hz / 2)
        worth_s = self._radio.worth * float(np.median(alone_s)) * np.array([one.worth for one in asking])
        grant = select(Choice(asked, device_R, worth_s), self._radio.band_hz)
        answers_R = np.array([one.failed == 0 for one in asking])
        for some_R in (answers_R, np.ones_like(answers_R)):  # fewer would be a round for nothing
            while np.count_nonzero(some_R[grant.granted]) < min(run.config.needed, len(set(device_R[some_R]))):
                worth_s[some_R] *= 2
                grant = select(Choice(asked, device_R, worth_s), self._radio.band_hz)
        granted = [asking[place] for place in grant.granted]
        return Planned(
            {one.device.name: one.rank for one in granted},
            {
                "round_s": grant.split.round_s,
                "gap": grant.gap,
                **heard,
                "slots": self._slots(granted, asked[grant.granted], grant.split),
            },
        )

    def _asking(self, run: Run, channels: Sequence[ChannelState]) -> list[_Request]:
        """What devices that are heard ask for."""
        band_hz, server_w = self._radio.band_hz, self._radio.server_w
        heard = [
            (device, channel)
            for device, channel in zip(self._devices, channels, strict=True)
            if channel.gain * min(device.transmit_w, server_w) > FAINT * channel.noise_w_per_hz * band_hz
        ]
        enrolled = {one.name: one for one in run.config.devices}
        mean = sum(one.examples for one in enrolled.values()) / len(enrolled)
        waited, failed, size_bit = _waited(run), _failed(run), cache(run.size_bit)
        found = []
        for device, channel in heard:
            one = enrolled[device.name]
            modules = 2 if run.config.distil else 1
            compute_s = device.compute_s(self._step_flops * run.config.steps * modules)
            for rank in sorted({max(one.rank // part, 1) for part in PARTS}):
                down_bit, up_bit = size_bit(rank)
                worth = one.examples / mean * (1 + waited[one.name]) * (rank / one.rank) ** 0.5
                worth /= 2 ** min(failed[one.name], HALVINGS)
                work = Work(down_bit, compute_s, up_bit)
                found.append(_Request(device, rank, worth, failed[one.name], work, channel))
        return found

    @staticmethod
    def _slots(granted: Sequence[_Request], asked: Requests, split: Split) -> dict[str, Json]:
        """What each device does with its part of the band, in seconds, hertz and joule."""
        down_s = transfer_seconds(asked.down_s, asked.down_hz, split.down_hz)
        up_s = transfer_seconds(asked.up_s, asked.up_hz, split.up_hz)
        return {
            one.device.name: {
                "rank": one.rank,
                "down_hz": float(split.down_hz[place]),
                "up_hz": float(split.up_hz[place]),
                "down_s": float(down_s[place]),
                "compute_s": one.work.compute_s,
                "up_s": float(up_s[place]),
                "energy_j": one.device.compute_j(one.device.compute_flops * one.work.compute_s)
                + one.device.transmit_w * float(up_s[place]),
            }
            for place, one in enumerate(granted)
        }


def _waited(run: Run) -> dict[str, int]:
    """Rounds since each device was last asked, by name; all rounds where it never was."""
    last = {name: number for number, asked in enumerate(run.asked_before) for name in asked}
    return {one.name: run.number - 1 - last.get(one.name, -1) for one in run.config.devices}


def _failed(run: Run) -> dict[str, int]:
    """Orders in a row, to the last, that each device did not answer or whose answer was refused, by name."""
    found = {one.name: 0 for one in run.config.devices}
    for asked, outcome in zip(run.asked_before, run.outcomes, strict=True):
        for name in asked:
            found[name] = found[name] + 1 if name in outcome.missing or name in outcome.refused else 0
    return found
