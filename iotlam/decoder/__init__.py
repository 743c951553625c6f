"""The decoder: a causal language model, LoRA on it, heads, and projection onto allowed decisions."""

from iotlam.decoder.heads import CandidateHead, ValueHead
from iotlam.decoder.lora import adapted_modules, add_lora
from iotlam.decoder.presets import PRESETS, build_decoder, decoder_sha256, new_decoder
from iotlam.decoder.projection import choose, project

__all__ = [
    "PRESETS",
    "CandidateHead",
    "ValueHead",
    "adapted_modules",
    "add_lora",
    "build_decoder",
    "choose",
    "decoder_sha256",
    "new_decoder",
    "project",
]
