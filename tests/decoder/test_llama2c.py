"""A real foreign checkpoint: stories260K of llama2.c, against a forward pass written here in numpy alone."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iotlam.contracts import BadInput
from iotlam.decoder import adapted_modules, add_lora, build_decoder, load_tokenizer
from iotlam.decoder.llama2c import HEADER, Sizes, convert, read_checkpoint, read_vocabulary

DATA = Path(os.environ.get("IOTLAM_DATA", "nowhere")) / "stories260K" / "data"
CHECKPOINT, VOCABULARY = DATA / "stories260K.bin", DATA / "tok512.bin"
needs_data = pytest.mark.skipif(not CHECKPOINT.is_file(), reason="IOTLAM_DATA names no folder with stories260K")
TINY = Sizes(dim=8, hidden=12, layers=2, heads=2, kv_heads=1, vocab=6, context=5)
PIECES = [b"<unk>", b"<s>", b"</s>", b"a", b"b", b"ab"]


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    convert(CHECKPOINT, VOCABULARY, folder)
    return folder


def forward(path: Path, entries: list[int]) -> np.ndarray:
    """Logits (L, V) as llama2.c computes them: pairs of neighbours rotate, keys and values are shared by heads."""
    s, w = read_checkpoint(path)
    size, length = s.dim // s.heads, len(entries)
    angle = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)
    turn = np.exp(1j * angle)[:, None]  # (L, 1, size / 2)

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain

    def rotate(x: np.ndarray) -> np.ndarray:
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)

    x = w["embed_tokens"][entries].astype(np.float64)
    for n in range(s.layers):
        h = norm(x, w["input_layernorm"][n])
        q = rotate((h @ w["self_attn.q_proj"][n].T).reshape(length, s.heads, size))
        k = rotate((h @ w["self_attn.k_proj"][n].T).reshape(length, s.kv_heads, size))
        v = (h @ w["self_attn.v_proj"][n].T).reshape(length, s.kv_heads, size)
        k, v = (np.repeat(each, s.heads // s.kv_heads, axis=1) for each in (k, v))
        score = np.einsum("lhd,mhd->hlm", q, k) / np.sqrt(size)
        score = np.where(np.tri(length, dtype=bool), score, -np.inf)
        share = np.exp(score - score.max(-1, keepdims=True))
        mixed = np.einsum("hlm,mhd->lhd", share / share.sum(-1, keepdims=True), v).reshape(length, s.dim)
        x = x + mixed @ w["self_attn.o_proj"][n].T
        h = norm(x, w["post_attention_layernorm"][n])
        gate = h @ w["mlp.gate_proj"][n].T
        x = x + (gate / (1.0 + np.exp(-gate)) * (h @ w["mlp.up_proj"][n].T)) @ w["mlp.down_proj"][n].T
    return norm(x, w["norm"]) @ w["embed_tokens"].T


@needs_data
def test_logits_are_those_of_an_independent_forward_pass(stories: Path) -> None:
    decoder, tokenizer = build_decoder(str(stories)), load_tokenizer(stories)
    entries = tokenizer.encode("Once upon a time, there was a little girl named Lily. She had a red ball.").ids
    with torch.no_grad():
        ours = decoder(input_ids=torch.tensor([entries])).logits[0].numpy()
    theirs = forward(CHECKPOINT, entries)
    assert theirs.std() > 1.0
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@needs_data
def test_it_tells_a_story_in_english(stories: Path) -> None:
    decoder, tokenizer = build_decoder(str(stories)), load_tokenizer(stories)
    prompt_BL = torch.tensor([tokenizer.encode("Once upon a time").ids])
    told = decoder.generate(
        prompt_BL, attention_mask=torch.ones_like(prompt_BL), max_new_tokens=60, do_sample=False, pad_token_id=2
    )
    text = tokenizer.decode(told[0].tolist())
    assert text.startswith("Once upon a time, there was a little girl named Lily. She loved to play")
    assert tokenizer.encode(text).ids == told[0].tolist()  # the vocabulary cuts text as the decoder wrote it


@needs_data
def test_it_can_be_adapted(stories: Path) -> None:
    assert len(adapted_modules(add_lora(build_decoder(str(stories)), 2, 4.0, 0))) == 5 * 7


@needs_data
def test_bytes_without_a_piece_survive(stories: Path) -> None:
    tokenizer = load_tokenizer(stories)
    text = "A caf\u00e9 \N{BICYCLE} and  two spaces"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


# --- without the data


def checkpoint(sizes: Sizes, seed: int = 0) -> bytes:
    draw = np.random.default_rng(seed)
    weights = [0.1 * draw.normal(size=shape).astype("<f4") for shape in sizes.shapes.values()]
    return HEADER.pack(*sizes) + b"".join(array.tobytes() for array in weights)


def vocabulary() -> bytes:
    entries = (struct.pack("<fi", -float(turn), len(piece)) + piece for turn, piece in enumerate(PIECES))
    return struct.pack("<i", 5) + b"".join(entries)


@pytest.mark.parametrize("vocab", [6, -6])
def test_shared_and_own_classifiers(tmp_path: Path, vocab: int) -> None:
    (tmp_path / "c.bin").write_bytes(checkpoint(TINY._replace(vocab=vocab)))
    (tmp_path / "v.bin").write_bytes(vocabulary())
    convert(tmp_path / "c.bin", tmp_path / "v.bin", tmp_path / "out")
    decoder = build_decoder(str(tmp_path / "out"))
    _, weights = read_checkpoint(tmp_path / "c.bin")
    head = weights["embed_tokens" if vocab > 0 else "lm_head"]
    assert torch.equal(decoder.get_output_embeddings().weight, torch.from_numpy(head.copy()))
    assert load_tokenizer(tmp_path / "out").encode("ab").tokens[0] == "<s>"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_broken_files_end_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Truncations and flipped bytes: an error of ours or a result."""
    path = tmp_path_factory.mktemp("broken") / "file.bin"
    whole = data.draw(st.sampled_from([checkpoint(TINY), vocabulary()]))
    cut = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(len(cut) - 1, 0)), max_size=4)):
        if cut:
            cut[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(cut)
    for read in (read_checkpoint, lambda path: read_vocabulary(path, len(PIECES))):
        try:
            read(path)
        except BadInput as error:
            assert "\n" not in str(error)


def test_a_missing_file_and_a_foreign_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "c.bin").write_bytes(checkpoint(TINY._replace(vocab=7)))
    (tmp_path / "v.bin").write_bytes(vocabulary())
    with pytest.raises(BadInput, match="7 different entries, as in the checkpoint, got 6"):
        convert(tmp_path / "c.bin", tmp_path / "v.bin", tmp_path / "out")
    with pytest.raises(BadInput, match="a readable file, got No such file"):
        read_checkpoint(tmp_path / "none.bin")
    assert not (tmp_path / "out").exists()
