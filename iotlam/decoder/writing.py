"""Text from the decoder's own language-model head, and its projection onto what may be said.

Shapes: B queries, S positions of context, L entries of text, D hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from iotlam.contracts import BadInput

Allowed = Callable[[int, Tensor], list[int]]
"""Which entries may come next, from the row of the batch and what it has written so far."""


def one_of(texts: Iterable[Sequence[int]], end: int) -> Allowed:
    """Only these texts may be written, each as a whole and followed by `end`.

    Raises:
        BadInput: if there is no text.
    """
    follow: dict[tuple[int, ...], set[int]] = {}
    for text in texts:
        whole = (*text, end)
        for length, entry in enumerate(whole):
            follow.setdefault(whole[:length], set()).add(entry)
    if not follow:
        raise BadInput("Allowed texts", expected="one or more", got="none", fix="allow a text")
    return lambda _, written_L: sorted(follow.get(tuple(written_L.tolist()), {end}))


def only(entries: Iterable[int], end: int) -> Allowed:
    """Only these entries may be written, any number of them in any order, and then `end`."""
    allowed = sorted({*entries, end})
    return lambda _, __: allowed


@torch.no_grad()
def write(
    decoder: Any, embeds_BSD: Tensor, mask_BS: Tensor, end: int, allowed: Allowed | None, beams: int, longest: int
) -> list[list[int]]:
    """Write text after a context, greedily or by beam search, with a cache of keys and values.

    Args:
        decoder: a causal language model of transformers, with or without LoRA.
        embeds_BSD: the context; its last position must not be masked.
        mask_BS: bool, False marks padding.
        end: entry that ends a text.
        allowed: projection onto allowed texts; None allows all.
        beams: width of the search, 1 for greedy.
        longest: entries of a text, at most.

    Returns:
        Entries of each text, without `end`.
    """
    written_BL = decoder.generate(
        inputs_embeds=embeds_BSD,
        attention_mask=mask_BS.long(),
        max_new_tokens=longest,
        do_sample=False,
        num_beams=beams,
        prefix_allowed_tokens_fn=allowed,
        eos_token_id=end,
        pad_token_id=end,
    )
    return [[entry for entry in row if entry != end] for row in written_BL.tolist()]
