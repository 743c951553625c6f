"""The task that the encoder learns by: hidden patches of a spectrogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from iotlam.blocks.window import latest_by_sensor
from iotlam.contracts import SensorFrame
from iotlam_spectrum.patches import BANDS, cut_patches

HIDDEN_SHARE, SLOT_SHARE, SHORT_SHARE = 0.5, 0.3, 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """Patches of B windows, padded to the longest.

    Attributes:
        cells_BTP: float32, by `patches.CHANNELS`.
        context_BTF: float32, by `patches.CONTEXT`.
        mask_BT: bool, False for what is missing or padding.
        hidden_BT: bool, patches that are asked for and must not be seen.
    """

    cells_BTP: Tensor
    context_BTF: Tensor
    mask_BT: Tensor
    hidden_BT: Tensor

    def to(self, device: torch.device) -> Task:
        """The task on another device."""
        return Task(*(part.to(device) for part in (self.cells_BTP, self.context_BTF, self.mask_BT, self.hidden_BT)))

    def error(self, guess_BTP: Tensor) -> Tensor:
        """Mean squared error of a guess over the hidden patches that are present."""
        error_NP: Tensor = (guess_BTP - self.cells_BTP)[self.hidden_BT & self.mask_BT]
        return (error_NP**2).sum() / max(error_NP.numel(), 1)


def pose(windows: Sequence[Sequence[SensorFrame]], seed: int) -> Task:
    """Hide patches of the latest frame of every receiver; a quarter of them cut short first, for lengths differ.

    Three of ten time slots are hidden as a whole and half of the remaining patches: whole slots cannot be guessed
    from their neighbours in frequency, single patches not from those in time alone.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = [frame for window in windows for (frame,) in latest_by_sensor(window, 1, "spectrum")]
    heard = [cut_patches(_shortened(frame, generator)) for frame in frames]
    heard = [patches for patches in heard if patches.valid_T.any()]
    cells_BTP = pad_sequence([torch.from_numpy(patches.cells_TP) for patches in heard], batch_first=True)
    context_BTF = pad_sequence([torch.from_numpy(patches.context_TF) for patches in heard], batch_first=True)
    mask_BT = pad_sequence([torch.from_numpy(patches.valid_T) for patches in heard], batch_first=True)
    rows, count = mask_BT.shape
    slot_BS = torch.rand(rows, count // BANDS, generator=generator) < SLOT_SHARE
    single_BT = torch.rand(rows, count, generator=generator) < HIDDEN_SHARE
    return Task(cells_BTP, context_BTF, mask_BT, slot_BS.repeat_interleave(BANDS, dim=1) | single_BT)


def _shortened(frame: SensorFrame, generator: torch.Generator) -> SensorFrame:
    chance, share = torch.rand(2, generator=generator).tolist()
    if chance >= SHORT_SHARE:
        return frame
    count = max(1, int(share * len(frame.data)))
    return replace(frame, data=frame.data[:count], mask=None if frame.mask is None else frame.mask[:count])
