"""Heads on the decoder's last hidden states. B queries, P candidates, D hidden width."""

from __future__ import annotations

from torch import Tensor, nn


class CandidateHead(nn.Module):
    """One score per candidate, from its own hidden state; near zero at the start."""

    def __init__(self, hidden: int, width: int = 32) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.GELU(), last)

    def forward(self, hidden_BPD: Tensor) -> Tensor:
        """Scores (B, P), unbounded."""
        scores_BP1: Tensor = self.net(hidden_BPD)
        return scores_BP1.squeeze(-1)


class ValueHead(nn.Module):
    """The value of the state, from the mean of the candidates' hidden states (for actor-critic training)."""

    def __init__(self, hidden: int, width: int = 32) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, hidden_BPD: Tensor, mask_BP: Tensor) -> Tensor:
        """Values (B,); `mask_BP` False marks padded candidates."""
        weight_BP1 = mask_BP[..., None].to(hidden_BPD.dtype)
        mean_BD = (hidden_BPD * weight_BP1).sum(1) / weight_BP1.sum(1).clamp_min(1.0)
        value_B1: Tensor = self.net(mean_BD)
        return value_B1.squeeze(-1)
