"""A small task that gives bits a meaning: telling a few situations apart from what all sensors say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from iotlam.contracts import TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig
from iotlam.pages.sensors.streams import Stream

CONTROL = "pure noise"
"""A stream that has nothing to say; no modality can be called so."""
CONTROL_TOKENS, CONTROL_DIM = 16, 8

LOOKED_AT = 128
"""Tokens of a window that are looked at, at most: those farthest from the modality's mean token."""
GLANCE = 0.4
"""Share of them in one example; drawn anew each time."""
TOKEN_NOISE = 1.0
"""Noise of each token, in standard deviations of the modality's features."""
DRIFT = 1.0
"""Noise that all tokens of a modality share in one example, in the same unit."""


Batches = dict[str, TokenBatch]


@dataclass(frozen=True, slots=True)
class Sensed:
    """Windows of one modality, padded: S situations, T tokens.

    Attributes:
        batch: the tokens that are looked at of all situations, B = S.
        looked: for each situation, which tokens of its window those are.
        scale_D: standard deviation of each feature over all of them.
    """

    batch: TokenBatch
    looked: tuple[Tensor, ...]
    scale_D: Tensor


class SituationModel(nn.Module):
    """Fusion at one place, the whole site, and a linear head that names the situation."""

    def __init__(self, specs: Sequence[TokenSpec], anchors_HX: Tensor, sigma_m: float, situations: int) -> None:
        super().__init__()
        config = FusionConfig(d_fusion=48, n_anchors=len(anchors_HX), sigma_m=sigma_m)
        self.fusion = BottleneckFusion(specs, config)
        self.head = nn.Linear(config.d_fusion, situations)
        self.register_buffer("anchors_HX", anchors_HX)

    def forward(self, batches: Batches) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Logits (B, S), scalar rate in bits per token, and by modality the bits of each token (B, T)."""
        size = len(next(iter(batches.values())).tokens_BTD)
        anchors_HX = self.anchors_HX
        assert isinstance(anchors_HX, Tensor)
        anchors_BKHX = anchors_HX.expand(size, 1, *anchors_HX.shape)
        everywhere_B1 = torch.ones(size, 1, dtype=torch.bool)
        fused = self.fusion(batches, anchors_BKHX, everywhere_B1, with_likelihood=False)
        return self.head(fused.latents_BKD[:, 0]), fused.rate_bits, fused.bits


class Examples:
    """Draws noisy examples of the situations."""

    def __init__(self, streams: Sequence[Stream], seed: int) -> None:
        self.sensed = {stream.name: _sensed(stream) for stream in streams}
        self.situations = len(streams[0].windows)
        self.generator = torch.Generator().manual_seed(seed)
        self.specs = [*(stream.spec for stream in streams), TokenSpec(CONTROL, CONTROL_DIM, CONTROL_TOKENS)]

    def draw(
        self, size: int, names: Collection[str], missing: float | None = 0.0
    ) -> tuple[dict[str, TokenBatch], Tensor]:
        """Examples and the numbers of their situations (B,).

        Args:
            size: how many, B.
            names: the modalities in them, the control perhaps among them.
            missing: how probable it is that an example lacks a modality; None: from 0 to 1, another for each example.
                Where that leaves none at all, none is missing. The control is always there.
        """
        label_B = torch.randint(self.situations, (size,), generator=self.generator)
        present = [name for name in self.sensed if name in names]
        share_B = self._random(size) if missing is None else torch.full((size,), missing)
        missing_MB = self._random(len(present), size) < share_B
        missing_MB &= ~missing_MB.all(0)
        batches = {
            name: self._glance(self.sensed[name], label_B, ~missing_B)
            for name, missing_B in zip(present, missing_MB, strict=True)
        }
        if CONTROL in names:
            batches[CONTROL] = self.control(size)
        return batches, label_B

    def _random(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    @property
    def names(self) -> list[str]:
        """All that is fused: the modalities and the control."""
        return [*self.sensed, CONTROL]

    def control(self, size: int) -> TokenBatch:
        """White noise, drawn anew."""
        noise_BTD = torch.randn(size, CONTROL_TOKENS, CONTROL_DIM, generator=self.generator)
        mask_BT = torch.ones(size, CONTROL_TOKENS, dtype=torch.bool)
        return TokenBatch(noise_BTD, mask_BT, torch.zeros(size, CONTROL_TOKENS), CONTROL)

    def _glance(self, sensed: Sensed, label_B: Tensor, keep_B: Tensor) -> TokenBatch:
        """A few tokens of each example's situation, with noise of their own and a drift that they share."""
        whole = sensed.batch
        valid_BT = whole.mask_BT[label_B]
        count = max(round(GLANCE * valid_BT.shape[1]), 1)
        order_BT = self._random(*valid_BT.shape).masked_fill(~valid_BT, -1.0)
        index_BN = order_BT.topk(count, dim=1).indices
        row_B1 = label_B[:, None]
        tokens_BND = whole.tokens_BTD[row_B1, index_BN]
        noise_BND = TOKEN_NOISE * torch.randn(tokens_BND.shape, generator=self.generator)
        drift_B1D = DRIFT * torch.randn(len(label_B), 1, whole.dim, generator=self.generator)
        return TokenBatch(
            tokens_BTD=tokens_BND + (noise_BND + drift_B1D) * sensed.scale_D,
            mask_BT=valid_BT.gather(1, index_BN) & keep_B[:, None],
            time_BT=whole.time_BT[row_B1, index_BN],
            modality=whole.modality,
            position_BTX=None if whole.position_BTX is None else whole.position_BTX[row_B1, index_BN],
        )


def _sensed(stream: Stream) -> Sensed:
    valid_ND = torch.cat([batch.tokens_BTD[batch.mask_BT] for batch in stream.tokens])
    std_D, mean_D = torch.std_mean(valid_ND, 0, correction=0)
    looked = tuple(_looked_at(batch, mean_D, std_D) for batch in stream.tokens)

    def pad(field: str) -> Tensor:
        rows = (getattr(batch, field)[0] for batch in stream.tokens)
        return pad_sequence([row[index_T] for row, index_T in zip(rows, looked, strict=True)], batch_first=True)

    whole = TokenBatch(
        tokens_BTD=pad("tokens_BTD"),
        mask_BT=pad("mask_BT"),
        time_BT=pad("time_BT"),
        modality=stream.name,
        position_BTX=pad("position_BTX") if stream.spec.positioned else None,
    )
    return Sensed(whole, looked, whole.tokens_BTD[whole.mask_BT].std(0, correction=0))


def _looked_at(batch: TokenBatch, mean_D: Tensor, std_D: Tensor) -> Tensor:
    """Indices (T',) of the valid tokens of a window that are looked at, in order."""
    valid_T = batch.mask_BT[0].nonzero()[:, 0]
    if len(valid_T) <= LOOKED_AT:
        return valid_T
    far_T = ((batch.tokens_BTD[0, valid_T] - mean_D) / std_D.clamp_min(1e-6)).square().sum(-1)
    first_T = far_T.topk(LOOKED_AT).indices.sort().values
    rare_T = first_T[far_T[first_T] > far_T.median()]  # most cells of a sparse grid are alike: empty
    return valid_T[rare_T if len(rare_T) else first_T]
