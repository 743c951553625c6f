"""Ways to spoil a file: cut it off, flip bits, blank a block, let a header lie."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

HEAD_BYTES = 512
Rng = np.random.Generator
WORDS = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for value in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, 2 ** (8 * size - 2) + 3)
    for order in ("little", "big")
)
"""What a size, a count or an offset in a header may be made to say."""
NUMBERS = (b"0", b"-1", b"1", b"4294967295", b"99999999999999999999", b"1e308", b"-1e-308", b"nan", b"1e9", b"")
"""The same for headers in words."""


def mutate(content: bytes, rng: Rng) -> tuple[bytes, str]:
    """A spoilt copy of a file's content, and what was done to it."""
    how = MUTATIONS[rng.integers(len(MUTATIONS))]
    return how(content, rng), how.__name__


def cut_off(content: bytes, rng: Rng) -> bytes:
    """The beginning of a file; often a very short one, or all but the last bytes."""
    length = len(content)
    ends = (rng.integers(0, length + 1), rng.integers(0, min(HEAD_BYTES, length) + 1), length - rng.integers(1, 9))
    return content[: max(int(ends[rng.integers(3)]), 0)]


def flip_bits(content: bytes, rng: Rng) -> bytes:
    """1 to 64 bits flipped, half of the time in the head alone."""
    spoilt = np.frombuffer(content, np.uint8).copy()
    if spoilt.size:
        at = rng.integers(0, _reach(spoilt.size, rng), int(2.0 ** rng.uniform(0.0, 6.0)))
        spoilt[at] ^= (1 << rng.integers(0, 8, at.size)).astype(np.uint8)
    return spoilt.tobytes()


def blank_block(content: bytes, rng: Rng) -> bytes:
    """A block of up to half of the file set to 0 or to 255."""
    start = int(rng.integers(0, _reach(len(content), rng) + 1))
    length = int(rng.integers(1, len(content) // 2 + 2))
    block = content[start : start + length]
    return content[:start] + bytes([255 * int(rng.integers(2))]) * len(block) + content[start + length :]


def lie_in_head(content: bytes, rng: Rng) -> bytes:
    """One to three words of the head replaced by extreme ones."""
    spoilt = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        word = WORDS[rng.integers(len(WORDS))]
        start = int(rng.integers(0, min(HEAD_BYTES, len(content)) + 1))
        end = min(start + len(word), len(content))
        spoilt[start:end] = word[: end - start]
    return bytes(spoilt)


def lie_in_words(content: bytes, rng: Rng) -> bytes:
    """A number that stands in the head as text replaced by an extreme one; other files get a lie in bytes."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", content[:HEAD_BYTES]))
    if not found:
        return lie_in_head(content, rng)
    match = found[rng.integers(len(found))]
    return content[: match.start()] + NUMBERS[rng.integers(len(NUMBERS))] + content[match.end() :]


def _reach(size: int, rng: Rng) -> int:
    return min(HEAD_BYTES, size) if rng.random() < 0.5 else size


MUTATIONS: tuple[Callable[[bytes, Rng], bytes], ...] = (cut_off, flip_bits, blank_block, lie_in_head, lie_in_words)
