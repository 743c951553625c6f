"""LZF decompression, as PCD files use it (format: Marc Lehmann's LibLZF)."""

from __future__ import annotations


def decompress(packed: bytes, size: int) -> bytearray:
    """Decompress a block whose size is known.

    Args:
        packed: control bytes, each with literals or a reference back, at most 8 KiB far.
        size: bytes that come out; memory is never taken for more.

    Raises:
        ValueError: if the block is damaged or does not give `size` bytes.
    """
    out = bytearray()
    at, end = 0, len(packed)
    try:
        while at < end:
            control = packed[at]
            at += 1
            if control < 32:
                out += packed[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[at]
                at += 1
            _repeat(out, ((control & 31) << 8) + packed[at] + 1, length + 2)
            at += 1
            if len(out) > size:
                break
    except IndexError as error:
        raise ValueError("a compressed block that ends early") from error
    if len(out) != size:
        raise ValueError(f"a compressed block of {len(out)} bytes for {size}")
    return out


def _repeat(out: bytearray, distance: int, length: int) -> None:
    """Append `length` bytes that stand `distance` before the end; they may overlap what is being written."""
    start = len(out) - distance
    if start < 0:
        raise ValueError("a compressed block that refers to before its start")
    piece = out[start : start + length]
    out += (piece * (length // len(piece) + 1))[:length]
