"""Guesses at hidden patches that need no training: what the encoder has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from iotlam.blocks.window import latest_by_sensor
from iotlam.contracts import SensorFrame
from iotlam_spectrum.masking import Task
from iotlam_spectrum.patches import BANDS, CHANNELS, PATCH_BINS, PATCH_COLUMNS, PATCH_SIZE, cut_patches


def rival_losses(learnt: Sequence[Sequence[SensorFrame]], task: Task) -> dict[str, float]:
    """Mean squared error of every guess, by its name."""
    mean_KP = mean_patches(learnt)
    return {name: float(task.error(guess(task, mean_KP))) for name, guess in GUESSES.items()}


def mean_patches(windows: Sequence[Sequence[SensorFrame]]) -> Tensor:
    """The mean patch of every band, float32 (8, 192)."""
    total_KP, count_K1 = torch.zeros(BANDS, PATCH_SIZE), torch.zeros(BANDS, 1)
    for window in windows:
        for (frame,) in latest_by_sensor(window, 1, "spectrum"):
            patches = cut_patches(frame)
            valid_SK1 = torch.from_numpy(patches.valid_T).reshape(-1, BANDS, 1)
            total_KP += (torch.from_numpy(patches.cells_TP).reshape(-1, BANDS, PATCH_SIZE) * valid_SK1).sum(0)
            count_K1 += valid_SK1.sum(0)
    return total_KP / count_K1.clamp(min=1.0)


def mean(task: Task, mean_KP: Tensor) -> Tensor:
    """The mean of the band over all that was learnt."""
    return mean_KP.repeat(task.mask_BT.shape[1] // BANDS, 1).expand_as(task.cells_BTP)


def window_mean(task: Task, mean_KP: Tensor) -> Tensor:
    """The mean of the band over what is seen of this window."""
    smooth_BSKP, seen_BSK1 = _seen(task)
    count_B1K1 = seen_BSK1.sum(1, keepdim=True)
    known_B1KP = (smooth_BSKP * seen_BSK1).sum(1, keepdim=True) / count_B1K1.clamp(min=1)
    guess_B1KP = torch.where(count_B1K1 > 0, known_B1KP, mean_KP)
    return guess_B1KP.expand_as(smooth_BSKP).reshape(task.cells_BTP.shape)


def neighbours(task: Task, mean_KP: Tensor) -> Tensor:
    """Linear interpolation in time between the nearest patches that are seen in the band."""
    smooth_BSKP, seen_BSK1 = _seen(task)
    slots = smooth_BSKP.shape[1]
    slot_S11 = torch.arange(slots).reshape(slots, 1, 1)
    before_BSK1 = torch.where(seen_BSK1, slot_S11, -1).cummax(1).values
    after_BSK1 = torch.where(seen_BSK1, slot_S11, slots).flip(1).cummin(1).values.flip(1)
    has_before, has_after = before_BSK1 >= 0, after_BSK1 < slots
    share_BSK1 = (slot_S11 - before_BSK1) / (after_BSK1 - before_BSK1).clamp(min=1)
    share_BSK1 = torch.where(has_before & has_after, share_BSK1, has_after.float())
    one, other = (
        smooth_BSKP.gather(1, index.clamp(0, slots - 1).expand_as(smooth_BSKP)) for index in (before_BSK1, after_BSK1)
    )
    known = has_before | has_after
    return torch.where(known, one + (other - one) * share_BSK1, mean_KP).reshape(task.cells_BTP.shape)


def _seen(task: Task) -> tuple[Tensor, Tensor]:
    """Patches (B, S, 8, 192), averaged over their columns lest speckle be copied, and which of them are seen."""
    rows, count, _ = task.cells_BTP.shape
    cells = task.cells_BTP.reshape(rows, count // BANDS, BANDS, len(CHANNELS), PATCH_COLUMNS, PATCH_BINS)
    smooth_BSKP = cells.mean(4, keepdim=True).expand_as(cells).reshape(rows, count // BANDS, BANDS, PATCH_SIZE)
    return smooth_BSKP, (task.mask_BT & ~task.hidden_BT).reshape(rows, count // BANDS, BANDS, 1)


GUESSES: dict[str, Callable[[Task, Tensor], Tensor]] = {
    "mean": mean,
    "window_mean": window_mean,
    "neighbours": neighbours,
}
