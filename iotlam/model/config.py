"""What a model is made of, as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from iotlam.contracts import BadInput, Record, TokenSpec
from iotlam.fusion import FusionConfig

MOST = 1e6  # no size or weight of a model is larger; and not a number is less than nothing
ROI_M = 6.0
"""How far from the nearest place a token may lie, metres, unless a model says otherwise."""


class IotlamConfig(Record, frozen=True):
    """Sizes and parts of a model. The defaults keep the trainable share, all in, below 5 % of `nano`.

    Attributes:
        modalities: what the fusion takes.
        n_features: width F of a candidate's features.
        n_facts: how many facts of each place the latents are taught to tell, which a teacher knows; 0 for none.
        head: how the model answers: `choose` one of the candidates, `classify` (each candidate holds or does not, any
            number of them), or `write` text.
        decoder: preset, folder or hub name of the causal decoder.
        decoder_sha256: hash of its base weights, written when the model is saved; '' before.
        roi_m: how far from the nearest place a token may lie, metres.
        fusion: sizes of the fusion.
        lora_rank: rank of the adaptation of the decoder.
        lora_alpha: its scale, divided by the rank.
        head_width: hidden width of the heads.
        beta: weight of the rate in the loss, per bit and token.
        gamma: weight of the cross-modal likelihood in the loss, per nat and place.
        format: version of this record.

    Raises:
        BadInput: if there is no modality, one is named twice, or a size is not positive.
    """

    modalities: tuple[TokenSpec, ...]
    n_features: int
    n_facts: int = 0
    head: Literal["choose", "classify", "write"] = "choose"
    decoder: str = "nano"
    decoder_sha256: str = ""
    roi_m: float = ROI_M
    fusion: FusionConfig = msgspec.field(default_factory=FusionConfig)
    lora_rank: int = 4
    lora_alpha: float = 8.0
    head_width: int = 32
    beta: float = 3e-4
    gamma: float = 1e-4
    format: Literal["iotlam-model/1"] = "iotlam-model/1"

    def __post_init__(self) -> None:
        names = [spec.modality for spec in self.modalities]
        if not names or len(set(names)) < len(names):
            raise _bad("modalities", "one or more, each once", ", ".join(names) or "none", "list each modality once")
        if not all(1 <= size < MOST for spec in self.modalities for size in (spec.dim, spec.max_tokens)):
            raise _bad("modalities", "positive dim and max_tokens", "others", "correct them")
        for name in ("n_features", "roi_m", "lora_rank", "lora_alpha", "head_width"):
            if not 0 < getattr(self, name) < MOST:
                raise _bad(name, "a positive number", str(getattr(self, name)), "correct it")
        if not 0 <= self.n_facts < MOST:
            raise _bad("n_facts", "zero or more", str(self.n_facts), "correct it")
        for name in ("beta", "gamma"):
            if not 0 <= getattr(self, name) < MOST:
                raise _bad(name, "zero or more", str(getattr(self, name)), "correct it")


def _bad(name: str, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"IotlamConfig.{name}", expected=expected, got=got, fix=fix)
