"""Messages that count once: who sent them, which in turn they are, and when they were measured.

A payload begins with `IOT1`, then msgpack. Whatever begins otherwise is not ours.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from iotlam.contracts.errors import IotlamError

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^+#/\x00]+$")]
"""Of a source: a level of a topic."""

MOST = 2**62
"""Of epochs and numbers: one more still fits into SQLite's integers."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]

MAGIC = b"IOT1"
CONFIRMED = "iotlam/confirmed/"
"""Topics on which senders await confirmations begin so."""

DTYPES = ("<i2", "<f4")
MOST_CHANNELS = 64


class NotOurs(IotlamError):
    """A payload that no one of us has sent, or a damaged one."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A numbered message of a source.

    Attributes:
        source: whose it is: the name of a machine.
        epoch: when the sender's numbering began, nanoseconds; a sender that lost its disk begins anew.
        number: counts 0, 1, 2 within the epoch.
        oldest: the least number that the sender still keeps; the receiver, or one before it, had all before it.
        body: the content.
    """

    source: Name
    epoch: Count
    number: Count
    oldest: Count
    body: bytes

    def pack(self) -> bytes:
        """As a payload."""
        return MAGIC + msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, payload: bytes) -> Envelope:
        """From a payload.

        Raises:
            NotOurs: if it is none.
        """
        if not payload.startswith(MAGIC):
            raise NotOurs(f"expected a payload that begins with IOT1, got {bytes(payload[:4])!r}")
        return _decode(payload[len(MAGIC) :], cls)


class Block(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of a sensor's waveform, samples of C channels in turn.

    Attributes:
        sensor: its name on the machine.
        t_ns: when its first sample was measured, by the machine's clock.
        rate_hz: sample rate.
        channels: C, at most 64.
        dtype: of the samples, `<i2` or `<f4`.
        scale: what a step of `<i2` is worth, m/s2 or ampere.
        data: the samples.
        shaft_hz: speed of the shaft, None where it is not measured.
        bearing: number of the bearing; empty where it is not known.
    """

    sensor: Annotated[str, msgspec.Meta(max_length=200)]
    t_ns: Count
    rate_hz: float
    channels: int
    dtype: str
    scale: float
    data: bytes
    shaft_hz: float | None = None
    bearing: str = ""

    def pack(self) -> bytes:
        """As the body of an envelope."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> Block:
        """From the body of an envelope.

        Raises:
            NotOurs: if it is none, or its parts contradict each other.
        """
        block = _decode(body, cls)
        size = 0 if block.dtype not in DTYPES else int(block.dtype[-1]) * block.channels
        if size <= 0 or len(block.data) % size or not block.data or not 0.0 < block.rate_hz < 1e9:
            raise NotOurs(f"expected whole samples of {DTYPES}, got {len(block.data)} bytes of {block.dtype!r}")
        if block.channels > MOST_CHANNELS:
            raise NotOurs(f"expected at most {MOST_CHANNELS} channels, got {block.channels}")
        if block.shaft_hz is not None and not 0.0 < block.shaft_hz < 1e5:
            raise NotOurs(f"expected the shaft's speed in hertz, none while it stands, got {block.shaft_hz}")
        return block

    def values_NC(self) -> NDArray[np.float32]:
        """The samples in m/s2 or ampere."""
        raw = np.frombuffer(self.data, self.dtype).reshape(-1, self.channels)
        return raw.astype(np.float32) * np.float32(self.scale if self.dtype == "<i2" else 1.0)


def block_of(
    values_NC: NDArray[np.float32],
    rate_hz: float,
    t_ns: int,
    sensor: str = "accelerometer",
    shaft_hz: float | None = None,
    bearing: str = "",
) -> Block:
    """A block of sixteen bits a sample, as converters give them: half the bytes of floats."""
    scale = float(np.abs(values_NC).max()) / 32767.0 or 1.0
    data = np.round(values_NC / scale).astype("<i2").tobytes()
    return Block(sensor, t_ns, rate_hz, values_NC.shape[1], "<i2", scale, data, shaft_hz, bearing)


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotOurs(f"expected {kind.__name__}, got what does not decode: {error}") from error
