"""Causal decoders of other families, saved by transformers: loaded by path, adapted, merged, and made to write."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from iotlam.decoder import adapted_modules, add_lora, build_decoder, decoder_sha256, one_of, write

HIDDEN = 16
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 32,
}
ATTENTION = [f"self_attn.{x}_proj" for x in "koqv"]
MLP = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"]
EXPERTS = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
MOE = {"num_experts_per_tok": 2, "num_key_value_heads": 2}
OPT = OPTConfig(
    hidden_size=HIDDEN,
    num_hidden_layers=2,
    num_attention_heads=2,
    ffn_dim=24,
    vocab_size=32,
    word_embed_proj_dim=HIDDEN,
    max_position_embeddings=64,
)
FAMILIES: dict[str, tuple[PreTrainedConfig, list[str]]] = {
    "llama": (LlamaConfig(**SIZES), MLP + ATTENTION),
    "qwen2": (Qwen2Config(**SIZES, num_key_value_heads=1), MLP + ATTENTION),
    "qwen3": (Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8), MLP + ATTENTION),
    "gpt2": (
        GPT2Config(n_embd=HIDDEN, n_layer=2, n_head=2, vocab_size=32, n_positions=64),
        ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    ),
    "gpt-neox": (
        GPTNeoXConfig(**SIZES),
        ["attention.dense", "attention.query_key_value", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h"],
    ),
    "opt": (OPT, ["fc1", "fc2", *[f"self_attn.{x}_proj" for x in ("k", "out", "q", "v")]]),
    "mixtral": (MixtralConfig(**SIZES, **MOE, num_local_experts=4), EXPERTS + ATTENTION),
    "qwen3-moe": (
        Qwen3MoeConfig(**SIZES, **MOE, num_experts=4, moe_intermediate_size=12, head_dim=8),
        EXPERTS + ATTENTION,
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, list[str]]:
    """A tiny decoder loaded by path, and the linears of one of its blocks."""
    config, linears = FAMILIES[request.param]
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / request.param)
    return build_decoder(str(tmp_path / request.param)), linears


@torch.no_grad()
def test_every_linear_of_every_block_and_nothing_else_is_adapted(family: tuple[Any, list[str]]) -> None:
    decoder, linears = family
    embeds_BSD = torch.randn(2, 5, HIDDEN, generator=torch.Generator().manual_seed(1))
    before, sha256 = decoder(inputs_embeds=embeds_BSD).logits, decoder_sha256(decoder)
    adapted = add_lora(decoder, rank=2, alpha=4, seed=1)
    names = sorted(adapted_modules(adapted))
    blocks = {name[: -len(linear)] for name in names for linear in linears if name.endswith("." + linear)}
    assert len(blocks) == 2 and names == sorted(block + linear for block in blocks for linear in linears)
    assert all(("lora_" in name) == p.requires_grad for name, p in adapted.named_parameters())
    assert torch.equal(before, adapted(inputs_embeds=embeds_BSD).logits)
    _move(adapted)
    moved = adapted(inputs_embeds=embeds_BSD).logits
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert (moved - before).abs().max() > 1e-3
    torch.testing.assert_close(merged(inputs_embeds=embeds_BSD).logits, moved, atol=1e-6, rtol=0)
    assert decoder_sha256(adapted.get_base_model()) == sha256 == decoder_sha256(decoder)


def test_every_family_writes_what_it_would_score_highest(family: tuple[Any, list[str]]) -> None:
    """Greedy text through embeddings, a mask with a hole and the cache, against one pass an entry without a cache."""
    decoder = family[0]
    embeds_BSD = torch.randn(1, 6, HIDDEN, generator=torch.Generator().manual_seed(1))
    mask_BS = torch.tensor([[True, True, False, True, True, True]])
    written = write(decoder, embeds_BSD, mask_BS, end=31, allowed=None, beams=1, longest=4)[0]
    expected: list[int] = []
    while len(expected) < 4 and (not expected or expected[-1] != 31):
        text_BL = torch.tensor([expected], dtype=torch.long)
        whole_BSD = torch.cat([embeds_BSD, decoder.get_input_embeddings()(text_BL)], dim=1)
        seen_BS = torch.cat([mask_BS, torch.ones_like(text_BL, dtype=torch.bool)], dim=1).long()
        position_BS = (seen_BS.cumsum(1) - 1).clamp_min(0)
        with torch.no_grad():
            logits = decoder(inputs_embeds=whole_BSD, attention_mask=seen_BS, position_ids=position_BS).logits
        expected.append(int(logits[0, -1].argmax()))
    assert written == [entry for entry in expected if entry != 31]


@pytest.mark.parametrize("beams", [1, 3])
def test_only_allowed_texts_are_written(family: tuple[Any, list[str]], beams: int) -> None:
    texts = [[5, 6, 7], [5, 6], [9, 2, 2, 2]]
    embeds_BSD = torch.randn(3, 4, HIDDEN, generator=torch.Generator().manual_seed(2))
    mask_BS = torch.ones(3, 4, dtype=torch.bool)
    for written in write(family[0], embeds_BSD, mask_BS, end=3, allowed=one_of(texts, 3), beams=beams, longest=8):
        assert written in texts


def _move(adapted: Any) -> None:
    """Give the adapter something to say."""
    draw = torch.Generator().manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
