"""What a pretrained decoder knows: the next code of a stream, and words that are true of it; simple rivals beside.

Shapes: S lines, L entries, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from iotlam.decoder.vocabulary import BEGIN, END, SAY, SPECIALS
from iotlam.training.lines import Line, pad

PART = 16
LONGEST_WORDS = 64


@torch.no_grad()
def stream_figures(decoder: Any, looks_SL: Tensor, learnt_codes: Tensor, instants: int) -> dict[str, float]:
    """How well the codes of held-out places over time are predicted; marks do not count.

    Returns:
        `held_out_nats` per code against `unigram_nats` (the best guess without context), and the share of codes hit
        by the decoder's best guess, `held_out_hits`, against `repeat_hits` (what was there an instant before).
    """
    nats, hits = [], []
    for part_SL in torch.split(looks_SL, PART):
        log_SLV = decoder(input_ids=part_SL).logits[:, :-1].float().log_softmax(-1)
        code_SL = part_SL[:, 1:] >= len(SPECIALS)
        nats.append(-log_SLV.gather(2, part_SL[:, 1:, None])[..., 0][code_SL])
        hits.append((log_SLV.argmax(-1) == part_SL[:, 1:])[code_SL])
    period = (looks_SL.shape[1] - 1) // instants
    later_SL, before_SL = looks_SL[:, 1 + period :], looks_SL[:, 1:-period]
    counts = torch.bincount(learnt_codes, minlength=int(looks_SL.max()) + 1).double()
    smoothed = counts + (torch.arange(len(counts)) >= int(learnt_codes.min()))
    unigram = -(smoothed / smoothed.sum()).log()[looks_SL[looks_SL >= len(SPECIALS)]]
    return {
        "held_out_nats": float(torch.cat(nats).mean()),
        "unigram_nats": float(unigram.mean()),
        "held_out_hits": float(torch.cat(hits).float().mean()),
        "repeat_hits": float((later_SL == before_SL)[later_SL >= len(SPECIALS)].float().mean()),
    }


def word_figures(decoder: Any, lines: Sequence[Line], tokenizer: Tokenizer) -> dict[str, float]:
    """How well words follow from the stream before them.

    Returns:
        `words_nats` per entry of the words, against `words_alone_nats` (the same decoder without the stream);
        `sentence_right`, the share of first sentences that it writes exactly, against `sentence_guess` (the most
        frequent one).
    """
    said = [_first_sentence(tokenizer, line.words) for line in lines]
    written = [_first_sentence(tokenizer, words) for words in write_after(decoder, [line.looks for line in lines])]
    return {
        "words_nats": words_nats(decoder, [(line.looks, line.words) for line in lines]),
        "words_alone_nats": words_nats(decoder, [((BEGIN,), line.words) for line in lines]),
        "sentence_right": sum(a == b for a, b in zip(said, written, strict=True)) / len(lines),
        "sentence_guess": Counter(said).most_common(1)[0][1] / len(lines),
    }


@torch.no_grad()
def words_nats(decoder: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Mean nats per entry of the words that follow a context, `<say>` not counted."""
    total, count = 0.0, 0
    for start in range(0, len(pairs), PART):
        part = pairs[start : start + PART]
        entries_SL, labels_SL = pad([(*context, *words) for context, words in part])
        for row, (context, _) in enumerate(part):
            labels_SL[row, : len(context) + 1] = -100
        log_SLV = decoder(input_ids=entries_SL).logits[:, :-1].float().log_softmax(-1)
        kept_SL = labels_SL[:, 1:] >= 0
        total -= float(log_SLV.gather(2, entries_SL[:, 1:, None])[..., 0][kept_SL].sum())
        count += int(kept_SL.sum())
    return total / count


@torch.no_grad()
def write_after(decoder: Any, contexts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Entries that the decoder writes after each context and `<say>`, greedily; equal contexts' lengths go together."""
    by_length: dict[int, list[int]] = {}
    for index, context in enumerate(contexts):
        by_length.setdefault(len(context), []).append(index)
    written: dict[int, list[int]] = {}
    for indices in by_length.values():
        for start in range(0, len(indices), PART):
            part = indices[start : start + PART]
            prompt_SL = torch.tensor([[*contexts[index], SAY] for index in part])
            new_SL = decoder.generate(
                input_ids=prompt_SL,
                attention_mask=torch.ones_like(prompt_SL),
                max_new_tokens=LONGEST_WORDS,
                do_sample=False,
                eos_token_id=END,
                pad_token_id=END,
            )[:, prompt_SL.shape[1] :]
            written |= dict(zip(part, new_SL.tolist(), strict=True))
    return [written[index] for index in range(len(contexts))]


def _first_sentence(tokenizer: Tokenizer, words: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(words), skip_special_tokens=True)
    return text.partition(".")[0].strip()
