"""Recorded decisions on disk: what the sensors' tokens were, what was asked, what should be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from iotlam.contracts import BadInput, DecisionQuery, TokenBatch, whole_file

Tokens = Mapping[str, TokenBatch]

TEACHER, RETURN = "teacher_P", "return"
"""Targets of imitation: the teacher's scores of the candidates, and the discounted return of the episode."""

PRESENT = "present_P"
"""Target of classification: 1 for the candidates that hold, 0 for those that do not."""

FACTS = "facts_K"
"""Target that imitation may have besides: what a teacher knows of each place, (K, F)."""

ACTION, LOG_PROB, REWARD, VALUE = "action", "log_prob", "reward", "value"
"""Targets of reinforcement: what was chosen, how likely that was, what it earned, what was expected."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One decision.

    Attributes:
        tokens: by modality, B = 1.
        query: what was asked.
        targets: by name; those whose name ends in `_P` have one entry a candidate, in `_K` one a place.
    """

    tokens: Tokens
    query: DecisionQuery
    targets: Mapping[str, NDArray[np.float32]]


class Shard:
    """The N decisions of one episode at one site, tokens kept in half precision.

    Places and what candidates serve are the same throughout an episode and stored once.

    Attributes:
        modalities: names of the recorded modalities, sorted.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self.modalities = sorted({key.split("/")[1] for key in tensors if key.startswith("tokens/")})
        self._decisions = int(tensors["features_NPF"].shape[0])
        self._starts = {name: [0, *torch.cumsum(tensors[f"count/{name}"], 0).tolist()] for name in self.modalities}

    def __len__(self) -> int:
        return self._decisions

    def __getitem__(self, index: int) -> Sample:
        tensors = self._tensors
        query = DecisionQuery(
            tensors["anchors_KHX"].numpy(),
            tensors["serves_PK"].numpy(),
            tensors["features_NPF"][index].numpy(),
            tensors["allowed_NP"][index].numpy(),
        )
        targets = {
            key.split("/")[1]: value[index].numpy() for key, value in tensors.items() if key.startswith("target/")
        }
        return Sample({name: self._batch(name, index) for name in self.modalities}, query, targets)

    def _batch(self, name: str, index: int) -> TokenBatch:
        part = slice(self._starts[name][index], self._starts[name][index + 1])
        position = self._tensors.get(f"position/{name}")
        return TokenBatch(
            self._tensors[f"tokens/{name}"][None, part].float(),
            self._tensors[f"mask/{name}"][None, part].clone(),  # a view would travel with the whole episode
            self._tensors[f"time/{name}"][None, part].float(),
            name,
            None if position is None else position[None, part].float(),
        )

    def target(self, name: str) -> NDArray[np.float32]:
        """One target of all N decisions."""
        values: NDArray[np.float32] = self._tensors[f"target/{name}"].numpy()
        return values

    def with_targets(self, targets: Mapping[str, NDArray[np.float32]]) -> Shard:
        """The same decisions with further targets, each with N rows."""
        return Shard({**self._tensors, **{f"target/{key}": torch.as_tensor(v) for key, v in targets.items()}})

    def save(self, path: Path) -> None:
        """Write as safetensors; the file appears whole or not at all."""
        with whole_file(path) as partial:
            save_file({key: value.contiguous() for key, value in self._tensors.items()}, partial)

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read a shard.

        Raises:
            BadInput: if the file is no shard.
        """
        try:
            return cls(load_file(path))
        except (SafetensorError, OSError, KeyError) as error:
            got = f"a file without {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            fix = "delete it; training records it again"
            raise BadInput(str(path), expected="a shard of decisions", got=got, fix=fix) from error

    @classmethod
    def pack(cls, samples: Sequence[Sample]) -> Shard:
        """Join the decisions of one episode; a modality may be missing from some of them."""
        first = samples[0]
        tensors = {
            "anchors_KHX": torch.as_tensor(first.query.anchors_KHX),
            "serves_PK": torch.as_tensor(first.query.serves_PK),
            "features_NPF": torch.stack([torch.as_tensor(sample.query.features_PF) for sample in samples]),
            "allowed_NP": torch.stack([torch.as_tensor(sample.query.allowed_P) for sample in samples]),
        }
        for key in first.targets:
            tensors[f"target/{key}"] = torch.stack([torch.as_tensor(sample.targets[key]) for sample in samples])
        for name, like in {name: batch for sample in samples for name, batch in sample.tokens.items()}.items():
            tensors |= _pack_modality(name, [sample.tokens.get(name) or like.nothing() for sample in samples])
        return cls(tensors)


def _pack_modality(name: str, batches: Iterable[TokenBatch]) -> dict[str, Tensor]:
    batches = list(batches)
    packed = {
        f"tokens/{name}": torch.cat([batch.tokens_BTD[0] for batch in batches]).half(),
        f"mask/{name}": torch.cat([batch.mask_BT[0] for batch in batches]),
        f"time/{name}": torch.cat([batch.time_BT[0] for batch in batches]).half(),
        f"count/{name}": torch.tensor([batch.mask_BT.shape[1] for batch in batches]),
    }
    positions = [batch.position_BTX[0] for batch in batches if batch.position_BTX is not None]
    return packed | ({f"position/{name}": torch.cat(positions).half()} if positions else {})
