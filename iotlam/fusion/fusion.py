"""Whitening, bottleneck gates and shared attention as one module: tokens in, latents of places out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from iotlam.contracts import BadInput, Record, TokenBatch, TokenSpec
from iotlam.fusion.attention import Looked, PlaceAttention, PlaceLatents
from iotlam.fusion.bottleneck import BottleneckGate
from iotlam.fusion.likelihood import CrossModalLikelihood
from iotlam.fusion.whitening import Whitening


class FusionConfig(Record, frozen=True):
    """Sizes of the fusion.

    Attributes:
        d_fusion: width of a place's latent.
        n_anchors: anchors H per place, one attention head each; divides d_fusion.
        sigma_m: how far a head looks around its anchor at the start, metres; across its place where it looks along it.
        gate_hidden: width of the gate's readout.
        pair_width: rank of the term for what only two modalities together can say (docs/adr/0005).
        along: how far a head looks along its place at the start, the curve through the anchors, as a share of their
            distance (docs/adr/0010); 0 for anchors that lie on no curve: it looks around each.
    """

    d_fusion: int = 96
    n_anchors: int = 8
    sigma_m: float = 3.0
    gate_hidden: int = 16
    pair_width: int = 16
    along: float = 0.0

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("d_fusion", "n_anchors", "gate_hidden", "pair_width")}
        if min(self.d_fusion, self.n_anchors, self.gate_hidden, self.pair_width) < 1 or (
            self.d_fusion % self.n_anchors
        ):
            raise BadInput(
                "FusionConfig",
                expected="positive sizes and d_fusion a multiple of n_anchors",
                got=", ".join(f"{name} {size}" for name, size in sizes.items()),
                fix="change the sizes",
            )
        if self.sigma_m <= 0.5:
            raise BadInput("FusionConfig.sigma_m", expected="more than 0.5 m", got=str(self.sigma_m), fix="widen it")
        if not 0.0 <= self.along <= 2.0 or (self.along and self.n_anchors < 2):
            expected, got = "0 to 2, and 0 for a single anchor", f"{self.along} for {self.n_anchors} anchors"
            raise BadInput("FusionConfig.along", expected=expected, got=got, fix="change it")


@dataclass(frozen=True, slots=True)
class FusionOutput:
    """What the fusion knows of each place, and what it cost.

    Attributes:
        latents_BKD: float32, zero for padded places.
        bits: by modality (B, T), bits that each token was let carry, 0 for masked ones: its attribution.
        rate_bits: scalar, bits per valid token, averaged over the modalities that are present.
        cross_nats: scalar, mean of -log q(other modality | modality) per place and pair; 0 without
            a pair or where not asked for.
        attention: by modality (B, H, K, T), the attention weights, where asked for.
    """

    latents_BKD: Tensor
    bits: dict[str, Tensor]
    rate_bits: Tensor
    cross_nats: Tensor
    attention: dict[str, Tensor]


class BottleneckFusion(nn.Module):
    """Fuses any subset of the modalities that it was built for."""

    def __init__(self, specs: Sequence[TokenSpec], config: FusionConfig) -> None:
        super().__init__()
        self.specs = {spec.modality: spec for spec in specs}
        self.n_anchors = config.n_anchors
        self.whitening = nn.ModuleDict({spec.modality: Whitening(spec.dim) for spec in specs})
        self.gates = nn.ModuleDict({spec.modality: BottleneckGate(spec.dim, config.gate_hidden) for spec in specs})
        self.attention = PlaceAttention(
            specs, config.d_fusion, config.n_anchors, config.sigma_m, config.pair_width, config.along
        )
        # One predictor per modality predicted: the latents of all modalities share one space.
        self.likelihood = nn.ModuleDict({spec.modality: CrossModalLikelihood(config.d_fusion) for spec in specs})

    @property
    def whitening_frozen(self) -> bool:
        """Whether the moments of every modality stay as they are."""
        return all(bool(whitening.frozen) for whitening in self.whitening.values())

    def learn_moments(self, batches: Mapping[str, TokenBatch]) -> None:
        """Merge the tokens of some windows into the moments that whiten their modalities."""
        for name, batch in batches.items():
            whitening = self.whitening[name]
            assert isinstance(whitening, Whitening)
            whitening.merge(batch.tokens_BTD[batch.mask_BT])

    def freeze_whitening(self) -> None:
        """Stop learning the moments of every modality."""
        for whitening in self.whitening.values():
            assert isinstance(whitening, Whitening)
            whitening.freeze()

    def forward(
        self,
        batches: Mapping[str, TokenBatch],
        anchors_BKHX: Tensor,
        place_mask_BK: Tensor,
        with_attention: bool = False,
        with_likelihood: bool = True,
    ) -> FusionOutput:
        """Fuse one batch.

        Args:
            batches: by modality; one that is missing is left out or fully masked.
            anchors_BKHX: float32 (B, K, H, 2), points along each place, metres.
            place_mask_BK: bool, False marks padded places.
            with_attention: also return the attention weights.
            with_likelihood: compute `cross_nats`, which only training needs.

        Raises:
            BadInput: for a modality that is not known, a wrong token width or number of anchors.
        """
        self._check(batches, anchors_BKHX)
        looked: dict[str, Looked] = {}
        bits: dict[str, Tensor] = {}
        for name, batch in batches.items():
            white_BTD = self.whitening[name](batch.tokens_BTD, batch.mask_BT)
            z_BTD, bits[name], signal_BT = self.gates[name](white_BTD, batch.mask_BT)
            looked[name] = Looked(z_BTD, batch.mask_BT, signal_BT, batch.time_BT, batch.position_BTX)
        places = self.attention(looked, anchors_BKHX, place_mask_BK, with_attention)
        masks = {name: batch.mask_BT for name, batch in batches.items()}
        cross_nats = anchors_BKHX.new_zeros(())
        if with_likelihood:
            cross_nats = self._cross_nats(places, masks, place_mask_BK)
        rate_bits = _rate_bits(bits, masks, anchors_BKHX)
        return FusionOutput(places.latents_BKD, bits, rate_bits, cross_nats, places.attention)

    def _check(self, batches: Mapping[str, TokenBatch], anchors_BKHX: Tensor) -> None:
        for name, batch in batches.items():
            spec = self.specs.get(name)
            if spec is None:
                known = ", ".join(self.specs)
                raise BadInput("Modality", expected=f"one of {known}", got=f"'{name}'", fix="leave it out or retrain")
            if (batch.dim, batch.position_BTX is not None) != (spec.dim, spec.positioned):
                raise BadInput(
                    f"Tokens of modality '{name}'",
                    expected=f"width {spec.dim}, {'with' if spec.positioned else 'without'} positions",
                    got=f"width {batch.dim}, {'without' if batch.position_BTX is None else 'with'} positions",
                    fix="use the plugin version that the model was trained with",
                )
        if anchors_BKHX.shape[2] != self.n_anchors:
            raise BadInput(
                "Anchors per place", expected=str(self.n_anchors), got=str(anchors_BKHX.shape[2]), fix="resample them"
            )

    def _cross_nats(self, places: PlaceLatents, masks: Mapping[str, Tensor], place_mask_BK: Tensor) -> Tensor:
        total = count = places.latents_BKD.new_zeros(())
        for source, target in permutations(places.by_modality, 2):
            both_B1 = (masks[source].any(-1) & masks[target].any(-1))[:, None]
            valid_BK = (both_B1 & place_mask_BK).float()
            nats_BK = self.likelihood[target](places.by_modality[source], places.by_modality[target])
            total = total + (nats_BK * valid_BK).sum()
            count = count + valid_BK.sum()
        return total / count.clamp_min(1.0)


def _rate_bits(bits: Mapping[str, Tensor], masks: Mapping[str, Tensor], like: Tensor) -> Tensor:
    present = [name for name in bits if bool(masks[name].any())]
    if not present:
        return like.new_zeros(())
    return torch.stack([bits[name].sum() / masks[name].sum() for name in present]).mean()
