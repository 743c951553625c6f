"""One vocabulary for text and sensor streams: specials, then byte-level pieces of text, then stream codes.

Kept as a plain `tokenizer.json`, so that transformers' AutoTokenizer and any other reader of that format can use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from iotlam.contracts import BadInput

SPECIALS = ("<begin>", "<next>", "<say>", "<end>")
BEGIN, NEXT, SAY, END = range(len(SPECIALS))
"""Start of a line; before the codes of each look at a place; before text; after it."""

TEXT_ENTRIES = 512
"""Most entries that specials and pieces of text take."""

TOKENIZER = "tokenizer.json"


def train_tokenizer(texts: Iterable[str], modalities: Sequence[str], vocab: int) -> Tokenizer:
    """Learn byte-level pieces from `texts` (byte-pair encoding, Sennrich et al. 2016); codes share the rest.

    Every byte has an entry of its own, so that any text can be written; digits are never joined.

    Args:
        texts: what the pieces are learnt from.
        modalities: names of the modalities that have codes, in order.
        vocab: entries in all.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_ENTRIES,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    codes = (vocab - tokenizer.get_vocab_size()) // max(len(modalities), 1)
    names = [f"<{modality}:{code}>" for modality in modalities for code in range(codes)]
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
    return tokenizer


def code_range(tokenizer: Tokenizer, modality: str) -> range:
    """Entries of a modality's codes.

    Raises:
        BadInput: if the vocabulary has none.
    """
    first = tokenizer.token_to_id(f"<{modality}:0>")
    if first is None:
        raise BadInput(
            f"Stream of modality '{modality}'",
            expected="codes in the decoder's vocabulary",
            got="none",
            fix="pretrain a decoder on this modality, or leave it out",
        )
    last = first
    while tokenizer.token_to_id(f"<{modality}:{last + 1 - first}>") == last + 1:
        last += 1
    return range(first, last + 1)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The vocabulary of a decoder's folder.

    Raises:
        BadInput: if there is none or it cannot be read.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        fix = "pretrain the decoder anew (iotlam pretrain), or name a folder that holds one"
        raise BadInput(f"Vocabulary of '{folder}'", expected=TOKENIZER, got="no such file", fix=fix)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise BadInput(str(path), expected="a tokenizer", got=str(error).rstrip("."), fix="restore the file") from error
