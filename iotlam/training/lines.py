"""Lines that a decoder is pretrained on: codes of a sensor stream, and words that are true of it at the same instant.

A line is `<begin>`, then looks (`<next>` and the C codes of one place at one instant), then `<say>`, words, `<end>`.
There are three kinds: one place over several instants, several places at one instant, and words alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from iotlam.decoder.vocabulary import BEGIN, END, NEXT, SAY
from iotlam.training.shards import Shard
from iotlam.training.streams import Describe, Quantizer, stream_codes

SCENES = 0.3
"""Share of lines that show several places at one instant instead of one place over time."""

ALONE = 0.1
"""Share of batches that are words alone."""

FEWEST, MOST = 2, 8
"""Looks in a line that has any."""

LONGEST = 448
"""Entries of a line, at most; a look that would exceed it is left out."""

IGNORED = -100
"""Label of padding, which no loss counts."""


@dataclass(frozen=True, slots=True)
class Line:
    """Entries of the vocabulary.

    Attributes:
        looks: `<begin>` and the looks.
        words: `<say>`, the words, `<end>`.
    """

    looks: tuple[int, ...]
    words: tuple[int, ...]

    @property
    def entries(self) -> tuple[int, ...]:
        """The whole line."""
        return self.looks + self.words


class Corpus:
    """Episodes to draw lines from.

    Args:
        shards: the episodes.
        quantizers: codebooks of their modalities.
        tokenizer: the vocabulary.
        describe: words about some places of a decision.
    """

    def __init__(
        self, shards: Sequence[Shard], quantizers: Mapping[str, Quantizer], tokenizer: Tokenizer, describe: Describe
    ) -> None:
        self._shards, self._tokenizer, self._describe = shards, tokenizer, describe
        self._codes = [stream_codes(shard, quantizers, tokenizer) for shard in shards]

    @property
    def longest_past(self) -> int:
        """Looks that a line over time can have in every episode, `MOST` at most."""
        return min(MOST, *map(len, self._codes))

    def __len__(self) -> int:
        """Looks to draw from."""
        return sum(codes_NKC.shape[0] * codes_NKC.shape[1] for codes_NKC in self._codes)

    @property
    def codes(self) -> Tensor:
        """All codes, in a row."""
        return torch.cat([codes_NKC.flatten() for codes_NKC in self._codes])

    def batch(self, rng: np.random.Generator, size: int) -> list[Line]:
        """Draw lines of about the same length, for one step of training."""
        looks = 0 if rng.uniform() < ALONE else int(rng.integers(FEWEST, MOST + 1))
        return [self.line(rng, looks, bool(rng.uniform() < SCENES)) for _ in range(size)]

    def line(self, rng: np.random.Generator, looks: int, scene: bool) -> Line:
        """Draw a line: one place over `looks` instants, or up to `looks` places at one instant; words alone for 0."""
        episode = int(rng.integers(len(self._shards)))
        codes_NKC = self._codes[episode]
        decisions, places, codes = codes_NKC.shape
        looks = min(looks, (LONGEST - 1) // (1 + codes), places if scene else decisions)
        last = int(rng.integers(0 if scene else max(looks - 1, 0), decisions))
        spoken = rng.permutation(places)[: (looks or int(rng.integers(FEWEST, MOST + 1))) if scene else 1].tolist()
        seen_LC = codes_NKC[last - looks + 1 : last + 1, spoken[0]]
        if scene:
            seen_LC = codes_NKC[last, spoken[:looks]]
        return Line(look_entries(seen_LC), self.words(episode, last, spoken))

    def words(self, episode: int, decision: int, places: Sequence[int]) -> tuple[int, ...]:
        """What is true of places at a decision, as entries."""
        text = self._describe(self._shards[episode][decision], places)
        return SAY, *self._tokenizer.encode(text, add_special_tokens=False).ids, END


def look_entries(codes_LC: Tensor) -> tuple[int, ...]:
    """Entries of L looks, after `<begin>`."""
    marked = torch.cat([torch.full((len(codes_LC), 1), NEXT), codes_LC], dim=1)
    return BEGIN, *marked.flatten().tolist()


def pad(lines: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Entries and labels (B, L), padded on the right with `<end>`, which no label counts."""
    longest = max(map(len, lines))
    entries_BL = torch.full((len(lines), longest), END)
    labels_BL = torch.full((len(lines), longest), IGNORED)
    for row, line in enumerate(lines):
        entries_BL[row, : len(line)] = labels_BL[row, : len(line)] = torch.tensor(line)
    return entries_BL, labels_BL
