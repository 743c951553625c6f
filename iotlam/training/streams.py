"""Sensor streams as discrete tokens: what the decoder is pretrained on.

Tokens near each point of a place are averaged and quantised against a frozen random codebook
(BEST-RQ: Chiu et al. 2022, "Self-supervised learning with random-projection quantizer"), so that a
place's past becomes a sentence: code by code along the place, instant after instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam.contracts import BadInput
from iotlam.training.shards import Shard

BEGIN, NEXT, SPECIALS = 0, 1, 2
REACH_M = 5.0
CODE_DIM = 8


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Random-projection quantiser of one modality.

    Attributes:
        mean_D, scale_D: standardisation of the tokens.
        projection_DC: frozen random projection.
        codebook_QC: frozen Gaussian vectors, one per code (BEST-RQ normalises them; here they are not).
        offset: first vocabulary entry of this modality.
    """

    mean_D: Tensor
    scale_D: Tensor
    projection_DC: Tensor
    codebook_QC: Tensor
    offset: int

    def __call__(self, tokens_ND: Tensor) -> Tensor:
        """Vocabulary entries (N,) of token vectors (N, D)."""
        projected_NC = ((tokens_ND - self.mean_D) / self.scale_D) @ self.projection_DC
        return torch.cdist(projected_NC, self.codebook_QC).argmin(dim=1) + self.offset


def fit_quantizers(shards: Sequence[Shard], modalities: Sequence[str], vocab: int, seed: int) -> dict[str, Quantizer]:
    """Standardise each modality on the shards and draw its codebook; `vocab` is shared equally."""
    generator = torch.Generator().manual_seed(seed)
    codes = (vocab - SPECIALS) // len(modalities)
    quantizers = {}
    for order, name in enumerate(modalities):
        pooled_ND = torch.cat([_pool(shard, name).flatten(0, 2) for shard in shards])
        dim = pooled_ND.shape[1]
        projection = torch.randn(dim, CODE_DIM, generator=generator) / dim**0.5
        scale = pooled_ND.std(dim=0).clamp_min(1e-3)
        codebook = torch.randn(codes, CODE_DIM, generator=generator)
        quantizers[name] = Quantizer(pooled_ND.mean(dim=0), scale, projection, codebook, SPECIALS + order * codes)
    return quantizers


def sentences(shard: Shard, quantizers: dict[str, Quantizer], instants: int) -> Tensor:
    """Sentences (S, L) of one episode: every place, every stretch of `instants` decisions."""
    codes_NKC = torch.cat([_codes(shard, name, quantizer) for name, quantizer in quantizers.items()], dim=2)
    decisions, places, _ = codes_NKC.shape
    usable = decisions // instants * instants
    marked = torch.cat([torch.full((decisions, places, 1), NEXT), codes_NKC], dim=2)[:usable]
    stretches = marked.reshape(usable // instants, instants, places, marked.shape[2]).permute(0, 2, 1, 3)
    lines = stretches.flatten(2).flatten(0, 1)
    return torch.cat([torch.full((len(lines), 1), BEGIN), lines], dim=1)


def _codes(shard: Shard, name: str, quantizer: Quantizer) -> Tensor:
    pooled_NKHD = _pool(shard, name)
    return quantizer(pooled_NKHD.flatten(0, 2)).reshape(pooled_NKHD.shape[:3])


def _pool(shard: Shard, name: str) -> Tensor:
    """Mean token within `REACH_M` of every anchor, (N, K, H, D); zero where there is none.

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
