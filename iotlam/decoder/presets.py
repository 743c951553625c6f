"""Causal decoders: iotlam's own presets, and any of transformers by name or path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from iotlam.contracts import BadInput
from iotlam.decoder.vocabulary import BEGIN, END

Config = TypeVar("Config", bound=PreTrainedConfig)
ATTENTION = "eager"  # at 10 to 30 tokens on a CPU, eager takes 0.6 to 1.0 of SDPA's time


def new_decoder(name: str, seed: int) -> PreTrainedModel:
    """A preset with random weights, float32, to be pretrained.

    Raises:
        BadInput: if there is no preset of that name.
    """
    if name not in PRESETS:
        raise BadInput("Decoder preset", expected=f"one of {', '.join(PRESETS)}", got=f"'{name}'", fix="name a preset")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PRESETS[name]()


def build_decoder(name_or_path: str) -> PreTrainedModel:
    """A pretrained causal decoder in float32 and eval mode.

    Args:
        name_or_path: a preset (weights shipped with iotlam), a folder, or a model of the hub. Only
            safetensors are read, and no code that comes with a model is run.

    Raises:
        BadInput: if the weights are missing or cannot be read.
    """
    if name_or_path not in PRESETS:
        return _load(name_or_path, name_or_path, "give a preset, a folder saved by transformers or a hub model")
    with decoder_folder(name_or_path) as folder:
        return _load(str(folder), name_or_path, f"run: iotlam pretrain {name_or_path} --out {folder}")


@contextmanager
def decoder_folder(name_or_path: str) -> Iterator[Path]:
    """The folder of a preset or of a decoder on disk: its weights, its vocabulary, the codebooks of its streams."""
    if name_or_path not in PRESETS:
        yield Path(name_or_path).expanduser()
    else:
        with as_file(files("iotlam.decoder") / "weights" / name_or_path) as folder:
            yield folder


def decoder_sha256(decoder: nn.Module) -> str:
    """Hash of the base weights (names, shapes, bytes); the same with and without LoRA on top."""
    digest = hashlib.sha256()
    state = {name.replace(".base_layer", ""): t for name, t in decoder.state_dict().items() if "lora_" not in name}
    for name in sorted(state):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(state[name].detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(source: str, name: str, fix: str) -> PreTrainedModel:
    folder = Path(source).expanduser()
    # Names of the hub are OWNER/MODEL; a mistyped preset must not go looking for one.
    local = name in PRESETS or folder.exists() or source.startswith((".", "/", "~")) or "/" not in source
    if local and not folder.is_dir():
        expected = f"a preset ({', '.join(PRESETS)}), a folder of safetensors weights or OWNER/MODEL of the hub"
        raise BadInput(f"Decoder '{name}'", expected=expected, got="no such folder", fix=fix)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        decoder = AutoModelForCausalLM.from_pretrained(
            str(folder) if local else source,
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise BadInput(f"Decoder '{name}'", expected="readable safetensors weights", got=reason, fix=fix) from error
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    assert isinstance(decoder, PreTrainedModel)
    decoder.requires_grad_(False)  # frozen; LoRA brings its own
    decoder.train(False)
    return decoder


def _nano() -> PreTrainedModel:
    """Dense, 5.1 M parameters."""
    return LlamaForCausalLM(_eager(LlamaConfig(intermediate_size=688, **_SIZES)))


def _nano_moe() -> PreTrainedModel:
    """Two of eight experts for each entry, 10.2 M parameters of which 4.0 M work at a time."""
    experts: dict[str, Any] = {"num_local_experts": 8, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.01}
    return MixtralForCausalLM(_eager(MixtralConfig(intermediate_size=224, num_key_value_heads=4, **experts, **_SIZES)))


_SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "vocab_size": 1280,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": None,
}

PRESETS: dict[str, Callable[[], PreTrainedModel]] = {"nano": _nano, "nano-moe": _nano_moe, "nano-street": _nano}
"""Decoders of iotlam's own, by name; `nano-street` has read streets alone, and the traffic policy stands on it."""


def _eager(config: Config) -> Config:
    config._attn_implementation = ATTENTION  # the constructor takes it too, but hides it from type checkers
    return config
