"""A decoder that reads a stream of codes and says in which of C states it ends.

Shapes: B streams, L entries, D hidden width, C states.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn


class StreamClassifier(nn.Module):
    """The decoder's hidden state at the last entry, and a linear head that is zero at the start.

    Args:
        decoder: a causal language model of transformers, with or without LoRA.
        states: number C of states.
    """

    def __init__(self, decoder: Any, states: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = nn.Linear(decoder.get_input_embeddings().weight.shape[1], states)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def hidden(self, entries_BL: Tensor) -> Tensor:
        """What the decoder makes of each stream (B, D)."""
        causal: Any = self.decoder.get_base_model() if isinstance(self.decoder, PeftModel) else self.decoder
        hidden_BD: Tensor = causal.base_model(input_ids=entries_BL, use_cache=False).last_hidden_state[:, -1]
        return hidden_BD

    def forward(self, entries_BL: Tensor) -> Tensor:
        """Scores of the states (B, C)."""
        scores_BC: Tensor = self.head(self.hidden(entries_BL).to(torch.float32))
        return scores_BC
