"""Sensor streams as discrete codes: what the decoder is pretrained on, beside words about them.

Tokens near each anchor of a place are averaged, standardised and replaced by the nearest of a codebook found by k-means
(discrete units as in HuBERT: Hsu et al. 2021, arXiv 2106.07447). So what lies along a place becomes a row of codes,
instant after instant.

Shapes: N decisions, K places, H anchors a place, M modalities, C = M x H codes a place and instant, D token width, Q
codes of a codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from iotlam.contracts import BadInput
from iotlam.decoder.vocabulary import code_range
from iotlam.training.shards import Sample, Shard

REACH_M = 5.0
ROUNDS = 12
"""Rounds of k-means."""

FIT_ROWS = 40_000
"""Vectors that a codebook is fitted on, at most."""

QUANTIZERS = "quantizers.safetensors"

Describe = Callable[[Sample, Sequence[int]], str]
"""What is true of some places of a decision, in words: what an application can say of its streams."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What an application (entry point `iotlam.streams`) gives to pretrain on.

    Attributes:
        paths: shards of recorded decisions, one an episode.
        describe: words about a decision, which hold at the same instant as its tokens.
        modalities: those of the shards that measure places, each of which becomes codes.
    """

    paths: Sequence[Path]
    describe: Describe
    modalities: Sequence[str]


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Codebook of one modality.

    Attributes:
        mean_D, scale_D: standardisation of the tokens.
        codebook_QD: centres of the standardised tokens, one per code.
    """

    mean_D: Tensor
    scale_D: Tensor
    codebook_QD: Tensor

    def __call__(self, tokens_ND: Tensor) -> Tensor:
        """Codes (N,) of token vectors (N, D), 0 to Q - 1."""
        return torch.cdist((tokens_ND - self.mean_D) / self.scale_D, self.codebook_QD).argmin(dim=1)


def fit_quantizer(tokens_ND: Tensor, codes: int, seed: int) -> Quantizer:
    """Standardise and find the centres; `seed` draws the rows that they are fitted on, the first centres among them."""
    generator = torch.Generator().manual_seed(seed)
    rows_ND = tokens_ND[torch.randperm(len(tokens_ND), generator=generator)[:FIT_ROWS]]
    mean_D, scale_D = rows_ND.mean(dim=0), rows_ND.std(dim=0).clamp_min(1e-3)
    return Quantizer(mean_D, scale_D, k_means((rows_ND - mean_D) / scale_D, codes))


def k_means(rows_ND: Tensor, codes: int) -> Tensor:
    """Centres (Q, D) by Lloyd's rounds from the first `codes` rows; one that wins no row stays where it was."""
    centre_QD = rows_ND[torch.arange(codes) % len(rows_ND)].clone()
    for _ in range(ROUNDS):
        nearest_N = torch.cdist(rows_ND, centre_QD).argmin(dim=1)
        count_Q1 = torch.bincount(nearest_N, minlength=codes)[:, None]
        sum_QD = torch.zeros_like(centre_QD).index_add_(0, nearest_N, rows_ND)
        centre_QD = torch.where(count_Q1 > 0, sum_QD / count_Q1.clamp_min(1), centre_QD)
    return centre_QD


def fit_quantizers(
    shards: Sequence[Shard], modalities: Sequence[str], tokenizer: Tokenizer, seed: int
) -> dict[str, Quantizer]:
    """A codebook for each modality, as large as its share of the vocabulary, from the shards that have it."""
    fitted = {}
    for name in modalities:
        rows = [pool(shard, name).flatten(0, 2) for shard in shards if name in shard.modalities]
        fitted[name] = fit_quantizer(torch.cat(rows), len(code_range(tokenizer, name)), seed)
    return fitted


def save_quantizers(quantizers: Mapping[str, Quantizer], folder: Path) -> None:
    """Write the codebooks beside the decoder that reads their codes."""
    tensors = {
        f"{name}/{field}": getattr(quantizer, field)
        for name, quantizer in quantizers.items()
        for field in Quantizer.__dataclass_fields__
    }
    save_file(tensors, folder / QUANTIZERS)


def load_quantizers(folder: Path) -> dict[str, Quantizer]:
    """Read what `save_quantizers` wrote.

    Raises:
        BadInput: if the file is missing or broken.
    """
    path = folder / QUANTIZERS
    try:
        tensors = load_file(path)
        names = sorted({key.partition("/")[0] for key in tensors})
        fields = Quantizer.__dataclass_fields__
        return {name: Quantizer(*(tensors[f"{name}/{field}"] for field in fields)) for name in names}
    except (SafetensorError, OSError, KeyError) as error:
        got = f"a file without {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise BadInput(str(path), expected="codebooks of streams", got=got, fix="pretrain the decoder again") from error


def stream_codes(shard: Shard, quantizers: Mapping[str, Quantizer], tokenizer: Tokenizer) -> Tensor:
    """Vocabulary entries (N, K, C) of an episode, modality by modality and along each place; those with a codebook."""
    codes = []
    for name in (name for name in quantizers if name in shard.modalities):
        quantizer = quantizers[name]
        pooled_NKHD = pool(shard, name)
        first = code_range(tokenizer, name).start
        codes.append(quantizer(pooled_NKHD.flatten(0, 2)).reshape(pooled_NKHD.shape[:3]) + first)
    return torch.cat(codes, dim=2)


def pool(shard: Shard, name: str) -> Tensor:
    """Mean token of a modality within `REACH_M` of every anchor, (N, K, H, D); zero where there is none.

    Raises:
        BadInput: if the modality measures no place.
    """
    pooled = []
    for index in range(len(shard)):
        sample = shard[index]
        batch = sample.tokens[name]
        if batch.position_BTX is None:
            raise BadInput(
                f"Streams of modality '{name}'",
                expected="tokens with positions",
                got="tokens without",
                fix="pretrain on modalities that measure places",
            )
        anchors_PX = torch.as_tensor(sample.query.anchors_KHX).flatten(0, 1)
        near_PT = (torch.cdist(anchors_PX, batch.position_BTX[0]) < REACH_M) & batch.mask_BT
        weight_PT = near_PT / near_PT.sum(dim=1, keepdim=True).clamp_min(1)
        pooled.append((weight_PT @ batch.tokens_BTD[0]).reshape(*sample.query.anchors_KHX.shape[:2], batch.dim))
    return torch.stack(pooled)
