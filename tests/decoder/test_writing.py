"""Projection of text onto what may be said, and the vocabulary that text and streams share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from iotlam.contracts import BadInput
from iotlam.decoder import load_tokenizer, one_of, only, write
from iotlam.decoder.vocabulary import BEGIN, END, NEXT, SAY, SPECIALS, TOKENIZER, code_range, train_tokenizer

TEXTS = ["3 vehicles, none standing.", "12 vehicles, 4 standing.", "The lane is empty."] * 20


def llama() -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=32)).eval()


def likelihood(decoder: LlamaForCausalLM, embeds_BSD: torch.Tensor, text: list[int]) -> float:
    text_BL = torch.tensor([text])
    whole_BSD = torch.cat([embeds_BSD, decoder.get_input_embeddings()(text_BL)], dim=1)
    with torch.no_grad():
        log_LV = decoder(inputs_embeds=whole_BSD).logits[0].log_softmax(-1)[embeds_BSD.shape[1] - 1 : -1]
    return float(log_LV.gather(1, text_BL.T).sum())


def test_a_wide_beam_finds_the_likeliest_of_the_allowed_texts() -> None:
    decoder, end = llama(), 3
    texts = [[a, b, 7] for a in (5, 6, 8) for b in (9, 10)]
    for seed in range(5):
        embeds_BSD = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(seed))
        written = write(decoder, embeds_BSD, torch.ones(1, 4, dtype=torch.bool), end, one_of(texts, end), 6, 8)[0]
        assert written == max(texts, key=lambda text: likelihood(decoder, embeds_BSD, [*text, end]))


def test_only_allowed_entries_are_written_and_the_rest_is_free() -> None:
    decoder = llama()
    embeds_BSD = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    mask_BS = torch.ones(2, 4, dtype=torch.bool)
    free = write(decoder, embeds_BSD, mask_BS, 3, None, 1, 12)
    held = write(decoder, embeds_BSD, mask_BS, 3, only([20, 21], 3), 1, 12)
    assert not {entry for text in free for entry in text} <= {20, 21}
    assert {entry for text in held for entry in text} <= {20, 21}


def test_no_allowed_text_is_refused() -> None:
    with pytest.raises(BadInput, match="one or more, got none"):
        one_of([], 3)


@given(st.lists(st.lists(st.integers(4, 9), max_size=4), min_size=1, max_size=6))
def test_every_walk_through_one_of_spells_one_of(texts: list[list[int]]) -> None:
    allowed = one_of(texts, 3)
    for choose in (0, -1):
        walk: list[int] = []
        while not walk or walk[-1] != 3:
            walk.append(allowed(0, torch.tensor(walk, dtype=torch.long))[choose])
        assert walk[:-1] in texts


# --- vocabulary


def test_text_and_codes_share_one_vocabulary(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, ["lidar", "video"], 400)
    assert [tokenizer.token_to_id(name) for name in SPECIALS] == [BEGIN, NEXT, SAY, END] == [0, 1, 2, 3]
    lidar, video = code_range(tokenizer, "lidar"), code_range(tokenizer, "video")
    assert lidar.stop == video.start and len(lidar) == len(video) and 398 < video.stop <= 400
    text = "7 vehicles, 1 standing. \N{BICYCLE} caf\u00e9"
    entries = tokenizer.encode(text).ids
    assert tokenizer.decode(entries) == text and max(entries) < lidar.start
    assert len(tokenizer.encode(" vehicles").ids) == 1 and len(tokenizer.encode("127").ids) == 3  # digits stay alone
    assert tokenizer.decode([lidar.start + 5]) == "<lidar:5>"
    tokenizer.save(str(tmp_path / TOKENIZER))
    assert load_tokenizer(tmp_path).encode(text).ids == entries
    LlamaConfig().save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == entries


def test_a_missing_or_broken_vocabulary_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tokenizer.json, got no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / TOKENIZER).write_text("{")
    with pytest.raises(BadInput, match="expected a tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(BadInput, match="'sonar'"):
        code_range(train_tokenizer(TEXTS, ["lidar"], 300), "sonar")
