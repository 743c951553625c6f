"""The learnt part: a small transformer over patches, trained to tell hidden patches from visible ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.contracts import SensorFrame
from iotlam_spectrum.masking import pose
from iotlam_spectrum.patches import BANDS, CONTEXT, PATCH_SIZE, SLOTS, Patches
from iotlam_spectrum.rivals import rival_losses

WIDTH, HEADS, LAYERS = 64, 4, 2


class Block(nn.Module):
    """One pre-norm transformer layer (Xiong et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.before_mixing, self.before_widening = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden_BTD: Tensor, bias_BNTT: Tensor) -> Tensor:
        """Mix tokens (B, T, 64); the bias is added to the logits of attention."""
        batch, count, _ = hidden_BTD.shape
        joint_BTD = self.query_key_value(self.before_mixing(hidden_BTD))
        query, key, value = joint_BTD.view(batch, count, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed_BNTH = functional.scaled_dot_product_attention(query, key, value, bias_BNTT)
        hidden_BTD = hidden_BTD + self.mixed(mixed_BNTH.transpose(1, 2).reshape(batch, count, WIDTH))
        wide_BTD = functional.gelu(self.widen(self.before_widening(hidden_BTD)))
        return hidden_BTD + self.narrow(wide_BTD)  # type: ignore[no-any-return]


class RelativeBias(nn.Module):
    """What attention adds for how far apart two patches lie in time and frequency (T5, Raffel et al. 2020).

    It begins as a preference for near ones, steeper from head to head, and is learnt from there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.empty(HEADS, 2 * SLOTS - 1))
        self.bands = nn.Parameter(torch.empty(HEADS, 2 * BANDS - 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew."""
        slope_N1 = 0.5 ** torch.arange(float(HEADS))[:, None]
        with torch.no_grad():
            for table, count in ((self.slots, SLOTS), (self.bands, BANDS)):
                table.copy_(-slope_N1 * torch.arange(1.0 - count, count).abs())

    def forward(self, mask_BT: Tensor) -> Tensor:
        """Bias of T x T patches, float32 (B, heads, T, T); minus infinity towards those whose mask is False."""
        slots = mask_BT.shape[1] // BANDS
        apart_SS, apart_KK = (_apart(count, most, mask_BT.device) for count, most in ((slots, SLOTS), (BANDS, BANDS)))
        bias_NSKSK = self.slots[:, apart_SS][:, :, None, :, None] + self.bands[:, apart_KK][:, None, :, None]
        bias_NTT = bias_NSKSK.reshape(HEADS, slots * BANDS, slots * BANDS)
        return bias_NTT.masked_fill(~mask_BT[:, None, None], -torch.inf)


def _apart(count: int, most: int, device: torch.device) -> Tensor:
    """How far apart each two of `count` places lie, as an index into a table of 2 `most` - 1 distances."""
    place = torch.arange(count, device=device)
    return place[:, None] - place + most - 1


class SpectrumEncoder(nn.Module):
    """Patches to vectors of width 64, by masked patch prediction (MAE, He et al. 2022; AST, Gong et al. 2022).

    It never sees the level of the noise floor, so a gain changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH_SIZE, WIDTH)
        self.context = nn.Linear(len(CONTEXT), WIDTH)
        self.band = nn.Embedding(BANDS, WIDTH)
        self.bias = RelativeBias()
        self.hidden = nn.Parameter(torch.zeros(WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.predict = nn.Linear(WIDTH, PATCH_SIZE)

    def reset_parameters(self) -> None:
        """Begin anew with the one parameter that belongs to no layer."""
        nn.init.zeros_(self.hidden)

    def forward(self, cells_BTP: Tensor, context_BTF: Tensor, mask_BT: Tensor, hidden_BT: Tensor) -> Tensor:
        """Encode patches.

        Args:
            cells_BTP: float32 (B, T, 192), by `patches.CHANNELS`; T is a multiple of the 8 bands.
            context_BTF: float32 (B, T, 5), by `patches.CONTEXT`.
            mask_BT: bool, False for what is missing or padding; each row needs one that is not.
            hidden_BT: bool, patches that the encoder may not see.

        Returns:
            float32 (B, T, 64); arbitrary where the mask is False.
        """
        seen_BTD = torch.where(hidden_BT[..., None], self.hidden, self.embed(cells_BTP))
        band_TD = self.band.weight.repeat(mask_BT.shape[1] // BANDS, 1)
        hidden_BTD, bias_BNTT = seen_BTD + self.context(context_BTF) + band_TD, self.bias(mask_BT)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, bias_BNTT)
        encoded_BTD: Tensor = self.norm(hidden_BTD)
        return encoded_BTD

    def encode(self, patches: Patches) -> Tensor:
        """Tokens of one window without gradient, float32 (T, 64); 0 where missing."""
        mask_1T = torch.from_numpy(patches.valid_T)[None]
        if not mask_1T.any():
            return torch.zeros(mask_1T.shape[1], WIDTH)
        cells_1TP, context_1TF = torch.from_numpy(patches.cells_TP)[None], torch.from_numpy(patches.context_TF)[None]
        with torch.no_grad():
            encoded_1TD: Tensor = self(cells_1TP, context_1TF, mask_1T, torch.zeros_like(mask_1T))
        return (encoded_1TD * mask_1T[..., None])[0]

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Mean squared error of hidden cells, in units of `patches.CHANNELS` (log power: 20 dB).

        Args:
            windows: windows of frames; the latest frame of every receiver counts.
            seed: of the choice of hidden patches, and of where some windows are cut short.
        """
        task = pose(windows, seed).to(self.hidden.device)
        predicted_BTP = self.predict(self(task.cells_BTP, task.context_BTF, task.mask_BT, task.hidden_BT))
        return task.error(predicted_BTP)

    def rival_losses(
        self, learnt: Sequence[Sequence[SensorFrame]], held_out: Sequence[Sequence[SensorFrame]], seed: int
    ) -> dict[str, float]:
        """The same loss of guesses that need no training, by name (`rivals.GUESSES`)."""
        return rival_losses(learnt, pose(held_out, seed))
