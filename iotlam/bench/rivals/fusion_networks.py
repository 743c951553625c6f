"""Four other ways to fuse tokens: concatenation, bottleneck attention, Perceiver and late fusion.

Each whitens, embeds and masks as iotlam's fusion does and has the same head, so that only the fusion differs.
Shapes: B windows, T tokens, S tokens of a sequence, D width, H heads, C answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.bench.fusion.network import Answer, head
from iotlam.contracts import TokenBatch, TokenSpec
from iotlam.fusion import Whitening

WIDTH, HEADS = 32, 4

Batches = Mapping[str, TokenBatch]


class Block(nn.Module):
    """Pre-norm attention and a feed-forward layer; queries look at keys that the mask allows, themselves among them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key_value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x_BQD: Tensor, keys_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Updated queries."""
        q_BHQE, k_BHSE, v_BHSE = self._project(x_BQD, keys_BSD)
        seen_BHQE = functional.scaled_dot_product_attention(q_BHQE, k_BHSE, v_BHSE, attn_mask=mask_BS[:, None, None])
        x_BQD = x_BQD + self.out(seen_BHQE.transpose(1, 2).flatten(2))
        updated_BQD: Tensor = x_BQD + self.mlp(self.norm_mlp(x_BQD))
        return updated_BQD

    def attention(self, x_BQD: Tensor, keys_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Attention weights (B, Q, S), mean of the heads."""
        q_BHQE, k_BHSE, _ = self._project(x_BQD, keys_BSD)
        logits_BHQS = q_BHQE @ k_BHSE.transpose(-1, -2) / q_BHQE.shape[-1] ** 0.5
        weight_BQS: Tensor = logits_BHQS.masked_fill(~mask_BS[:, None, None], -torch.inf).softmax(-1).mean(1)
        return weight_BQS

    def _project(self, x_BQD: Tensor, keys_BSD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, value = self.key_value(self.norm(keys_BSD)).chunk(2, -1)
        parts = [t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (self.query(self.norm(x_BQD)), key, value)]
        return parts[0], parts[1], parts[2]


class Embedding(nn.Module):
    """Tokens of every modality, whitened, at one width, with their time and modality added."""

    def __init__(self, specs: Sequence[TokenSpec]) -> None:
        super().__init__()
        self.whitening = nn.ModuleDict({spec.modality: Whitening(spec.dim) for spec in specs})
        self.embed = nn.ModuleDict({spec.modality: nn.Linear(spec.dim + 1, WIDTH) for spec in specs})

    def forward(self, batches: Batches) -> dict[str, Tensor]:
        """By modality (B, T, D)."""
        return {
            name: self.embed[name](
                torch.cat([self.whitening[name](b.tokens_BTD, b.mask_BT), b.time_BT[..., None]], dim=-1)
            )
            for name, b in batches.items()
        }


class Rival(nn.Module):
    """An embedding, learned latents, and a head over their mean."""

    def __init__(self, specs: Sequence[TokenSpec], answers: int, latents: int) -> None:
        super().__init__()
        self.embedding = Embedding(specs)
        self.latents_KD = nn.Parameter(0.02 * torch.randn(latents, WIDTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), head(WIDTH, answers)

    def start(self, batches: Batches) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Embedded tokens and masks by modality, and the latents (B, K, D)."""
        tokens = self.embedding(batches)
        masks = {name: batch.mask_BT for name, batch in batches.items()}
        count = next(iter(masks.values())).shape[0]
        return tokens, masks, self.latents_KD.expand(count, -1, -1)

    def finish(self, latents_BKD: Tensor) -> Answer:
        """The head's answer, without bits."""
        return Answer(self.head(self.norm(latents_BKD.mean(1))), latents_BKD.new_zeros(()), {})


class Concatenation(Rival):
    """All tokens of all modalities in one sequence under two layers of self-attention, read by a class token."""

    def __init__(self, specs: Sequence[TokenSpec], answers: int) -> None:
        super().__init__(specs, answers, latents=1)
        self.blocks = nn.ModuleList([Block() for _ in range(2)])

    def forward(self, batches: Batches) -> Answer:
        """Answer B windows."""
        x_BSD, mask_BS = self._sequence(batches)
        for block in self.blocks:
            x_BSD = block(x_BSD, x_BSD, mask_BS)
        return self.finish(x_BSD[:, :1])

    @torch.no_grad()
    def rollout(self, batches: Batches) -> dict[str, Tensor]:
        """Attention that reaches the class token through both layers and the residuals (Abnar and Zuidema, 2020)."""
        x_BSD, mask_BS = self._sequence(batches)
        flow_BSS = torch.eye(x_BSD.shape[1])
        for block in self.blocks:
            assert isinstance(block, Block)
            flow_BSS = 0.5 * (block.attention(x_BSD, x_BSD, mask_BS) + torch.eye(x_BSD.shape[1])) @ flow_BSS
            x_BSD = block(x_BSD, x_BSD, mask_BS)
        sizes = [batch.mask_BT.shape[1] for batch in batches.values()]
        return dict(zip(batches, torch.split(flow_BSS[:, 0, 1:], sizes, dim=1), strict=True))

    def _sequence(self, batches: Batches) -> tuple[Tensor, Tensor]:
        tokens, masks, latents_BKD = self.start(batches)
        own_BK = torch.ones(latents_BKD.shape[:2], dtype=torch.bool)
        return torch.cat([latents_BKD, *tokens.values()], 1), torch.cat([own_BK, *masks.values()], 1)


class BottleneckAttention(Rival):
    """MBT (Nagrani et al., 2021): modalities exchange through four bottleneck tokens only."""

    def __init__(self, specs: Sequence[TokenSpec], answers: int) -> None:
        super().__init__(specs, answers, latents=4)
        self.layers = nn.ModuleList([nn.ModuleDict({spec.modality: Block() for spec in specs}) for _ in range(2)])

    def forward(self, batches: Batches) -> Answer:
        """Answer B windows."""
        tokens, masks, latents_BKD = self.start(batches)
        own_BK = torch.ones(latents_BKD.shape[:2], dtype=torch.bool)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            views = []
            for name, x_BTD in tokens.items():
                x_BSD = torch.cat([latents_BKD, x_BTD], 1)
                x_BSD = layer[name](x_BSD, x_BSD, torch.cat([own_BK, masks[name]], 1))
                views.append(x_BSD[:, : own_BK.shape[1]])
                tokens[name] = x_BSD[:, own_BK.shape[1] :]
            latents_BKD = torch.stack(views).mean(0)
        return self.finish(latents_BKD)


class Perceiver(Rival):
    """Perceiver (Jaegle et al., 2021): eight latents look at all tokens, then at themselves, twice."""

    def __init__(self, specs: Sequence[TokenSpec], answers: int) -> None:
        super().__init__(specs, answers, latents=8)
        self.cross, self.own = (nn.ModuleList([Block() for _ in range(2)]) for _ in range(2))

    def forward(self, batches: Batches) -> Answer:
        """Answer B windows."""
        tokens, masks, latents_BKD = self.start(batches)
        own_BK = torch.ones(latents_BKD.shape[:2], dtype=torch.bool)
        mask_BS = torch.cat([own_BK, *masks.values()], 1)
        for cross, own in zip(self.cross, self.own, strict=True):
            latents_BKD = cross(latents_BKD, torch.cat([latents_BKD, *tokens.values()], 1), mask_BS)
            latents_BKD = own(latents_BKD, latents_BKD, own_BK)
        return self.finish(latents_BKD)


class LateFusion(Rival):
    """Every modality answers for itself, and the scores are added."""

    def __init__(self, specs: Sequence[TokenSpec], answers: int) -> None:
        super().__init__(specs, answers, latents=1)
        self.blocks = nn.ModuleDict({spec.modality: nn.ModuleList([Block(), Block()]) for spec in specs})
        self.heads = nn.ModuleDict({spec.modality: head(WIDTH, answers) for spec in specs})

    def forward(self, batches: Batches) -> Answer:
        """Answer B windows."""
        tokens, masks, latents_BKD = self.start(batches)
        own_BK = torch.ones(latents_BKD.shape[:2], dtype=torch.bool)
        logits_BC = latents_BKD.new_zeros(())
        for name, x_BTD in tokens.items():
            x_BSD, mask_BS = torch.cat([latents_BKD, x_BTD], 1), torch.cat([own_BK, masks[name]], 1)
            blocks = self.blocks[name]
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x_BSD = block(x_BSD, x_BSD, mask_BS)
            logits_BC = logits_BC + self.heads[name](self.norm(x_BSD[:, 0]))
        return Answer(logits_BC, logits_BC.new_zeros(()), {})
