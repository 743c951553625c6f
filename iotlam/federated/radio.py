"""How one radio band is split among devices so that a federated round ends as early as it can: exact for a given set.

A device's round is its download, its training and its upload, one after the other, in

    T = D / R(b_down) + c + U / R(b_up),    R(b) = b log2(1 + s / b),

where s = transmitted power x gain / noise density, in hertz, is what a wide band would come to. All parts of one OFDMA
band are held for the whole round, so the split must satisfy sum(b_down + b_up) <= B. R is concave: for any T the least
bandwidth of a device is the minimum of a convex function of how its time is divided, and the round's T is where the
least bandwidths sum to B. Both are found by Newton's steps on functions that are monotone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, ChannelState, Device

Floats = NDArray[np.float64]

LN2 = math.log(2.0)
INNER_STEPS = (1, 2, 3)
"""For each step to the best division, those to the times of its transfers; they leave 1e-9 of a bandwidth at most."""

ROUND_STEPS, NEAR = 60, 1e-7
"""Newton's steps to a round's length at most, and the last of them, a share: the next would be its square."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one round asks of a device: bits down, seconds of training, bits up."""

    down_bit: float
    compute_s: float
    up_bit: float


@dataclass(frozen=True, slots=True)
class Requests:
    """Rounds that devices may take part in, as arrays over requests.

    Attributes:
        down_s: seconds that the download would take in an unlimited band.
        up_s: seconds that the upload would take in an unlimited band.
        down_hz: transmitted power x gain / noise density of the download, hertz.
        up_hz: the same of the upload.
        compute_s: seconds of training.
    """

    down_s: Floats
    up_s: Floats
    down_hz: Floats
    up_hz: Floats
    compute_s: Floats

    def __post_init__(self) -> None:
        for name in ("down_s", "up_s", "down_hz", "up_hz"):
            if not (np.isfinite(values := getattr(self, name)) & (values > 0)).all():
                got, fix = f"{values.min():g}", "leave out what transfers nothing or cannot"
                raise BadInput(f"Requests, {name}", expected="positive numbers", got=got, fix=fix)

    def __len__(self) -> int:
        return len(self.compute_s)

    def __getitem__(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Requests:
        return Requests(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @property
    def least_s(self) -> Floats:
        """Seconds that each would take in an unlimited band."""
        return self.down_s + self.compute_s + self.up_s


def requests(
    works: Sequence[Work], devices: Sequence[Device], channels: Sequence[ChannelState], server_w: float
) -> Requests:
    """Requests of devices over their channels.

    Args:
        works: one for each request.
        devices: who makes it; the same may make several.
        channels: between the device and the server, both ways alike.
        server_w: power that the server transmits to a device with, watt.

    Raises:
        BadInput: if a channel or a transmitter carries nothing.
    """
    for device, channel in zip(devices, channels, strict=True):
        if channel.gain * min(device.transmit_w, server_w) == 0.0:
            fix = "leave the device out, or give it power and a channel"
            raise BadInput(f"Device '{device.name}'", expected="a radio that carries something", got="none", fix=fix)
    clear = np.array([channel.gain / channel.noise_w_per_hz for channel in channels])
    down_hz = server_w * clear
    up_hz = np.array([device.transmit_w for device in devices]) * clear
    return Requests(
        np.array([work.down_bit for work in works]) * LN2 / down_hz,
        np.array([work.up_bit for work in works]) * LN2 / up_hz,
        down_hz,
        up_hz,
        np.array([work.compute_s for work in works]),
    )


@dataclass(frozen=True, slots=True)
class Need:
    """The least bandwidth that ends rounds in a given time.

    Attributes:
        hz: of down- and upload together; infinity where no bandwidth is enough.
        down_hz: of the download.
        hz_per_s: how much less a second more would ask for.
    """

    hz: Floats
    down_hz: Floats
    hz_per_s: Floats


def need(asked: Requests, round_s: Floats) -> Need:
    """The least bandwidth of each request for a round of some length.

    With y = ln(1 + s / b) the time of a transfer is k (e^y - 1) / y, where k is its time in an unlimited band, and its
    bandwidth s / (e^y - 1). Bandwidth falls with time at s / k (y / (e^y - 1))^2 / (y - 1 + e^-y) a second; at the best
    division both transfers' rates are equal.

    Args:
        asked: R requests.
        round_s: of shape (..., R) or (..., 1).
    """
    spare_s = np.asarray(round_s - asked.least_s)
    possible = spare_s > 0
    free_s = np.where(possible, spare_s, 1.0)
    both = 2, *(1,) * (free_s.ndim - asked.down_s.ndim), *asked.down_s.shape
    least_s = np.stack([asked.down_s, asked.up_s]).reshape(both)
    wide_hz = np.stack([asked.down_hz, asked.up_hz]).reshape(both)
    bit = least_s * wide_hz  # times a constant
    odds = np.zeros(free_s.shape) + np.log(bit[0] / bit[1]) / 2  # logit of the download's part of the spare time
    for steps in INNER_STEPS:
        part = 1 / (1 + np.exp(-odds))
        ways = _transfers(least_s, wide_hz, np.stack([part, 1 - part]) * free_s, steps)
        slope = ways.bend.sum(0) * free_s * part * (1 - part)
        odds = np.clip(odds + np.log(ways.rate[0] / ways.rate[1]) / slope, -40, 40)
    infinite = np.inf
    return Need(
        np.where(possible, ways.hz.sum(0), infinite),
        np.where(possible, ways.hz[0], infinite),
        np.where(possible, ways.rate[0], infinite),
    )


@dataclass(frozen=True, slots=True)
class _Transfers:
    """Of transfers in a given time: bandwidth, how fast it falls with time, and minus the slope of that rate's log."""

    hz: Floats
    rate: Floats
    bend: Floats


def _transfers(least_s: Floats, wide_hz: Floats, more_s: Floats, steps: int) -> _Transfers:
    """Of transfers that take `more_s` longer than in an unlimited band."""
    y = _solved(more_s / least_s, steps)
    grown = np.expm1(y)
    below = grown / (grown + 1)  # 1 - e^-y
    left = y - below  # y - 1 + e^-y
    rate = wide_hz / least_s * (y / grown) ** 2 / left
    dt_dy = least_s * (grown + 1) * left / y**2  # of k (e^y - 1) / y
    dlog_dy = 2 / y - 2 / below - below / left
    return _Transfers(wide_hz / grown, rate, -dlog_dy / dt_dy)


def _solved(more: Floats, steps: int) -> Floats:
    """The y > 0 with (e^y - 1) / y = 1 + more, as the root of the convex function y - ln(1 + (1 + more) y).

    Newton's steps from the upper bound of Lambert's W by Chatzigeorgiou, 2013, fall monotonically to it. In terms of
    `more`, because differences from 1 are what is left where the band is wide.
    """
    low = more / (1 + more)
    above = np.log1p(more) - low
    y = low + np.sqrt(2 * above) + above
    for _ in range(steps):
        by_y = y + more * y
        y = y - (y - np.log1p(by_y)) * (1 + by_y) / (by_y - more)
    return np.asarray(y)


@dataclass(frozen=True, slots=True)
class Split:
    """How a band is divided among requests.

    Attributes:
        round_s: when the last of them is done; all end together.
        down_hz: for each one's download.
        up_hz: for each one's upload.
    """

    round_s: float
    down_hz: Floats
    up_hz: Floats


def split(asked: Requests, band_hz: float) -> Split:
    """The division of a band with which the last request ends earliest.

    Raises:
        BadInput: if the band is not positive.
    """
    if not band_hz > 0:
        raise BadInput("Band", expected="more than 0 Hz", got=f"{band_hz:g} Hz", fix="give it a width")
    if not len(asked):
        return Split(0.0, np.zeros(0), np.zeros(0))
    round_s = float(round_seconds(asked, np.ones((1, len(asked)), dtype=bool), band_hz)[0])
    asks = need(asked, np.array([round_s]))
    fit = band_hz / asks.hz.sum()  # rounding
    return Split(round_s, asks.down_hz * fit, (asks.hz - asks.down_hz) * fit)


def round_seconds(asked: Requests, sets_SR: NDArray[np.bool_], band_hz: float) -> Floats:
    """How long a round of each of several sets takes at its best division.

    Newton's steps between a time in which one request alone asks for more than the band and one in which equal parts
    are enough. They are taken on logarithms, of what is asked for over the time beyond what an unlimited band would
    take: there the one is nearly a line over the other.

    Args:
        asked: R requests.
        sets_SR: which of them are in each of S sets, at least one.
        band_hz: to be divided.
    """
    edge_S = np.where(sets_SR, asked.least_s, 0.0).max(1)
    low_S = np.where(sets_SR, seconds(asked, band_hz, band_hz), 0.0).max(1) - edge_S
    part_S1 = band_hz / (2 * sets_SR.sum(1, keepdims=True))
    high_S = np.where(sets_SR, seconds(asked, part_S1, part_S1), 0.0).max(1) - edge_S
    beyond_S = np.sqrt(low_S * high_S)
    for _ in range(ROUND_STEPS):
        asks = need(asked, (edge_S + beyond_S)[:, None])
        hz_S = np.where(sets_SR, asks.hz, 0.0).sum(1)
        slope_S = np.where(sets_SR, asks.hz_per_s, 0.0).sum(1)
        low_S, high_S = np.where(hz_S > band_hz, beyond_S, low_S), np.where(hz_S > band_hz, high_S, beyond_S)
        new_S = beyond_S * np.exp(np.log(hz_S / band_hz) * hz_S / (slope_S * beyond_S))
        new_S = np.where((new_S >= low_S) & (new_S <= high_S), new_S, (low_S + high_S) / 2)
        settled = np.abs(new_S - beyond_S) <= NEAR * beyond_S
        beyond_S = new_S
        if settled.all():
            break
    return np.asarray(edge_S + beyond_S)


def seconds(asked: Requests, down_hz: Floats | float, up_hz: Floats | float) -> Floats:
    """How long each request takes with so much of the band for its download and its upload."""
    return (
        transfer_seconds(asked.down_s, asked.down_hz, down_hz)
        + asked.compute_s
        + transfer_seconds(asked.up_s, asked.up_hz, up_hz)
    )


def transfer_seconds(least_s: Floats, wide_hz: Floats, hz: Floats | float) -> Floats:
    """How long transfers take in a part of the band.

    Args:
        least_s: in an unlimited band.
        wide_hz: transmitted power x gain / noise density.
        hz: the part.
    """
    return np.asarray(least_s * wide_hz / (hz * np.log1p(wide_hz / hz)))
