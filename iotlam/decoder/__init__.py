"""The decoder: a causal language model, LoRA on it, heads, and projection onto allowed decisions."""

from iotlam.decoder.heads import CandidateHead, ValueHead
from iotlam.decoder.lora import adapted_modules, add_lora
from iotlam.decoder.presets import PRESETS, build_decoder, decoder_folder, decoder_sha256, new_decoder
from iotlam.decoder.projection import choose, classify, project
from iotlam.decoder.reader import StreamClassifier
from iotlam.decoder.vocabulary import load_tokenizer
from iotlam.decoder.writing import Allowed, one_of, only, write

__all__ = [
    "PRESETS",
    "Allowed",
    "CandidateHead",
    "StreamClassifier",
    "ValueHead",
    "adapted_modules",
    "add_lora",
    "build_decoder",
    "choose",
    "classify",
    "decoder_folder",
    "decoder_sha256",
    "load_tokenizer",
    "new_decoder",
    "one_of",
    "only",
    "project",
    "write",
]
