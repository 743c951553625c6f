"""Fusion: from tokens of many sensors to one latent per place, through an information bottleneck."""

from iotlam.fusion.attention import PlaceAttention
from iotlam.fusion.attribution import modality_bits, modality_shares, optimise_bits
from iotlam.fusion.bottleneck import BottleneckGate, Gated, gate_kl_nats
from iotlam.fusion.fusion import BottleneckFusion, FusionConfig, FusionOutput
from iotlam.fusion.likelihood import CrossModalLikelihood
from iotlam.fusion.schedule import RateSchedule, parameter_groups
from iotlam.fusion.whitening import Whitening

__all__ = [
    "BottleneckFusion",
    "BottleneckGate",
    "CrossModalLikelihood",
    "FusionConfig",
    "FusionOutput",
    "Gated",
    "PlaceAttention",
    "RateSchedule",
    "Whitening",
    "gate_kl_nats",
    "modality_bits",
    "modality_shares",
    "optimise_bits",
    "parameter_groups",
]
