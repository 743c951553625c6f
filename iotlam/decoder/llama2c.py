"""Checkpoints of llama2.c (Karpathy 2023) as folders that transformers, and so `--decoder FOLDER`, can load.

Version 0: seven int32 (dim, hidden dim, layers, heads, key-value heads, vocabulary, context; a negative vocabulary
means that the classifier has weights of its own), then float32 weights, layer upon layer of each kind. Its vocabulary
file: an int32, then for each entry a float32 score, an int32 length and as many bytes.

Run it: convert(Path("stories260K.bin"), Path("tok512.bin"), Path("my-decoder"))
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import BadInput, check_writable, whole_files
from iotlam.decoder.vocabulary import TOKENIZER

UNKNOWN, BEGIN, END = 0, 1, 2
SPACE = "\u2581"
HEADER = struct.Struct("<7i")


class Sizes(NamedTuple):
    """The header."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights in the order of the file; `|vocab|` entries."""
        kv = self.dim // self.heads * self.kv_heads
        vocab, layers = abs(self.vocab), self.layers
        rope = (self.context, self.dim // self.heads // 2)
        shapes: dict[str, tuple[int, ...]] = {
            "embed_tokens": (vocab, self.dim),
            "input_layernorm": (layers, self.dim),
            "self_attn.q_proj": (layers, self.dim, self.dim),
            "self_attn.k_proj": (layers, kv, self.dim),
            "self_attn.v_proj": (layers, kv, self.dim),
            "self_attn.o_proj": (layers, self.dim, self.dim),
            "post_attention_layernorm": (layers, self.dim),
            "mlp.gate_proj": (layers, self.hidden, self.dim),
            "mlp.down_proj": (layers, self.dim, self.hidden),
            "mlp.up_proj": (layers, self.hidden, self.dim),
            "norm": (self.dim,),
            "rope_cos": rope,
            "rope_sin": rope,
        }
        return shapes | ({"lm_head": (vocab, self.dim)} if self.vocab < 0 else {})


def convert(checkpoint: Path, vocabulary: Path, out: Path) -> None:
    """Write `config.json`, `model.safetensors` and `tokenizer.json` into `out`.

    Raises:
        BadInput: if a file is not of the format, or `out` cannot be written.
    """
    sizes, weights = read_checkpoint(checkpoint)
    tokenizer = read_vocabulary(vocabulary, abs(sizes.vocab))
    check_writable("The decoder's folder", out)
    decoder = LlamaForCausalLM(_config(sizes))
    decoder.load_state_dict(dict(_state(sizes, weights)))
    with whole_files(out, last="config.json") as new:
        decoder.save_pretrained(new, safe_serialization=True)
        tokenizer.save(str(new / TOKENIZER))


def read_checkpoint(path: Path) -> tuple[Sizes, dict[str, NDArray[np.float32]]]:
    """Header and weights by name; nothing is allocated before the file's size has been found right.

    Raises:
        BadInput: if the file is missing or its size is not what its header says.
    """
    raw = _bytes(path)
    if len(raw) < HEADER.size:
        raise _broken(path, "a llama2.c checkpoint", f"{len(raw)} bytes")
    sizes = Sizes(*HEADER.unpack_from(raw))
    heads_fit = min(sizes[:5]) > 0 and sizes.dim % (2 * sizes.heads) == 0 and sizes.heads % sizes.kv_heads == 0
    if not heads_fit or not sizes.vocab or sizes.context <= 0:
        raise _broken(path, "positive sizes that divide each other", f"{tuple(sizes)}")
    wanted = HEADER.size + 4 * sum(_count(shape) for shape in sizes.shapes.values())
    if len(raw) != wanted:
        raise _broken(path, f"{wanted} bytes, as its header says", f"{len(raw)}")
    weights, offset = {}, HEADER.size
    for name, shape in sizes.shapes.items():
        weights[name] = np.frombuffer(raw, "<f4", _count(shape), offset).reshape(shape)
        offset += 4 * _count(shape)
    return sizes, weights


def read_vocabulary(path: Path, size: int) -> Tokenizer:
    """The vocabulary as a byte-pair encoding whose merges are all that its pieces allow, best scores first.

    Raises:
        BadInput: if the file is missing, broken, or has not `size` entries.
    """
    pieces = list(_pieces(path))
    if len(pieces) != size or len({piece for piece, _ in pieces}) != size:
        raise _broken(path, f"{size} different entries, as in the checkpoint", str(len(pieces)))
    vocab = {piece: entry for entry, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab, _merges(pieces, vocab), unk_token=pieces[UNKNOWN][0], byte_fallback=True, fuse_unk=True)
    )
    tokenizer.add_special_tokens([AddedToken(pieces[entry][0], normalized=False) for entry in (UNKNOWN, BEGIN, END)])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    begin = pieces[BEGIN][0]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, BEGIN)])
    return tokenizer


def _pieces(path: Path) -> Iterator[tuple[str, float]]:
    """Pieces and scores; the names of the special entries are those of SentencePiece."""
    raw, offset, entry = _bytes(path), 4, 0
    special = {UNKNOWN: "<unk>", BEGIN: "<s>", END: "</s>"}
    while offset < len(raw):
        if offset + 8 > len(raw):
            raise _broken(path, "a score and a length for each entry", "an end in the midst of them")
        score, length = struct.unpack_from("<fi", raw, offset)
        text = raw[offset + 8 : offset + 8 + length] if length >= 0 else b""
        if len(text) != length:
            raise _broken(path, "as many bytes as each entry's length says", f"{len(text)} of {length}")
        yield special.get(entry, text.decode("utf-8", "replace").replace(" ", SPACE)), score
        offset, entry = offset + 8 + length, entry + 1


def _merges(pieces: list[tuple[str, float]], vocab: dict[str, int]) -> list[tuple[str, str]]:
    splits = (
        (score, piece[:at], piece[at:])
        for piece, score in pieces
        for at in range(1, len(piece))
        if piece[:at] in vocab and piece[at:] in vocab
    )
    ordered = sorted(splits, key=lambda split: (-split[0], vocab[split[1]], vocab[split[2]]))
    return [(left, right) for _, left, right in ordered]


def _state(sizes: Sizes, weights: dict[str, NDArray[np.float32]]) -> Iterator[tuple[str, Tensor]]:
    """Weights under the names of transformers' Llama."""
    weights = {"lm_head": weights["embed_tokens"], **weights}  # shared unless the file has one of its own
    for name, array in weights.items():
        tensor = torch.from_numpy(array.copy())
        if name.startswith("rope"):
            continue  # computed anew
        if name in ("embed_tokens", "norm"):
            yield f"model.{name}.weight", tensor
        elif name == "lm_head":
            yield "lm_head.weight", tensor
        else:
            heads = {"self_attn.q_proj": sizes.heads, "self_attn.k_proj": sizes.kv_heads}.get(name)
            for layer, weight in enumerate(tensor):
                yield f"model.layers.{layer}.{name}.weight", _halves(weight, heads) if heads else weight


def _halves(weight_OD: Tensor, heads: int) -> Tensor:
    """Rows of each head from pairs that rotate together (llama2.c) to two halves that do (transformers)."""
    out, dim = weight_OD.shape
    return weight_OD.view(heads, out // heads // 2, 2, dim).transpose(1, 2).reshape(out, dim)


def _config(sizes: Sizes) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=sizes.dim,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        vocab_size=abs(sizes.vocab),
        max_position_embeddings=sizes.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=sizes.vocab > 0,
        bos_token_id=BEGIN,
        eos_token_id=END,
    )


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod([int(size) for size in shape], dtype=object))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _broken(path, "a readable file", os.strerror(error.errno or 0)) from error


def _broken(path: Path, expected: str, got: str) -> BadInput:
    return BadInput(f"File {path}", expected=expected, got=got, fix="download it again")
