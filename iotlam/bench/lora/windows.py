"""A few labelled windows of a stream: how long has somebody waited on this lane?

A person would mark such windows by hand, so there are few. Pretraining has seen no waiting time, neither as a target
nor in words, and other episodes. Shapes: N windows, L entries, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from iotlam.decoder.vocabulary import SAY
from iotlam.training.lines import look_entries
from iotlam.training.shards import Shard
from iotlam.training.streams import Quantizer, pool, stream_codes

LOOKS = 3
WAITED, LONG_S = "wait_s_K", 10.0
"""Target of the shards that the states are read from, and what counts as long."""

STATES = ("nobody waits", "up to 10 s", "longer")
LABELLED, VALIDATION, TEST = 40, 100, 150
"""Windows of each state; as many labelled ones anew for each seed."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Examples of the task.

    Attributes:
        entries_NL: entries of the decoder's vocabulary: the looks, then `<say>`.
        measured_NF: what the codes were made from: each sensor's mean token near each anchor, look by look.
        label_N: index of the state.
    """

    entries_NL: Tensor
    measured_NF: Tensor
    label_N: Tensor

    def __len__(self) -> int:
        return len(self.label_N)

    def __getitem__(self, rows: Tensor) -> Windows:
        return Windows(self.entries_NL[rows], self.measured_NF[rows], self.label_N[rows])

    def standardised(self, like: Windows) -> Windows:
        """The same with measurements in units of the spread that `like` has."""
        mean_F, std_F = like.measured_NF.mean(0), like.measured_NF.std(0).clamp_min(1e-3)
        return Windows(self.entries_NL, (self.measured_NF - mean_F) / std_F, self.label_N)


def state(waited_s: NDArray[np.float32]) -> NDArray[np.int64]:
    """0 where nobody waits, 1 up to `LONG_S`, 2 beyond."""
    return (waited_s > 0).astype(np.int64) + (waited_s > LONG_S)


def draw_windows(
    shards: Sequence[Shard],
    quantizers: Mapping[str, Quantizer],
    tokenizer: Tokenizer,
    per_state: int,
    rng: np.random.Generator,
) -> Windows:
    """Up to `per_state` windows of each state, drawn over all places and instants, in random order."""
    state_IK = [state(shard.target(WAITED))[LOOKS - 1 :] for shard in shards]
    where = np.concatenate([[(turn, *index) for index in np.ndindex(rows.shape)] for turn, rows in enumerate(state_IK)])
    state_W = np.concatenate([rows.ravel() for rows in state_IK])
    drawn = [rng.permutation(np.flatnonzero(state_W == s))[:per_state] for s in range(len(STATES))]
    chosen = rng.permutation(np.concatenate(drawn))
    codes = [stream_codes(shard, quantizers, tokenizer) for shard in shards]
    pooled = [torch.cat([pool(shard, name).flatten(2) for name in quantizers], dim=2) for shard in shards]
    entries, measured = [], []
    for turn, first, place in where[chosen]:
        looks = slice(first, first + LOOKS)
        entries.append([*look_entries(codes[turn][looks, place]), SAY])
        measured.append(pooled[turn][looks, place].flatten())
    return Windows(torch.tensor(entries), torch.stack(measured), torch.from_numpy(state_W[chosen]))


def balanced(windows: Windows, per_state: int, seed: int) -> Windows:
    """`per_state` windows of each state, drawn from `seed`."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(windows.label_N.numpy() == s))[:per_state] for s in range(len(STATES))]
    return windows[torch.from_numpy(np.concatenate(rows))]
