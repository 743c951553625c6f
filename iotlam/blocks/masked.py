"""A learnt context for features on a grid: cells are hidden and predicted from their neighbours.

Masked prediction as in masked autoencoders (He et al., CVPR 2022), with depthwise convolutions over cells (Liu et al.,
CVPR 2022) in place of attention: a few milliseconds on one thread.

Shapes: B grids of H rows and W columns of cells with F features; D width inside, C width of the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from iotlam.contracts import SensorFrame

WIDTH, CONTEXT = 32, 16
DILATIONS = (1, 2, 4, 1)
HIDDEN_SHARE, HIDDEN_CELLS = 0.3, 2
REACH = 2
RIVAL_WINDOWS, RIDGE = 96, 1e-3


@dataclass(frozen=True, slots=True)
class Grid:
    """What one sensor saw, cell by cell.

    Attributes:
        values_HWF: float32 features.
        seen_HW: bool, False where nothing could be measured.
    """

    values_HWF: NDArray[np.float32]
    seen_HW: NDArray[np.bool_]


class GridBlock(nn.Module):
    """A residual layer: each feature looks around by itself, then the features of a cell mix."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.around = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """The layer's output, (B, H, W, D)."""
        seen = self.around(self.norm(x_BHWD).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y_BHWD: Tensor = x_BHWD + self.narrow(functional.silu(self.widen(seen)))
        return y_BHWD


class MaskedGridEncoder(nn.Module):
    """Context of every cell; learns by filling in hidden cells.

    Args:
        front: turns the frames of one window into grids, one or more.
        scale_F: a usual deviation of each feature; the loss counts in it.
        given: numbers of the features that are known without measuring: never hidden, never predicted.
    """

    def __init__(
        self, front: Callable[[Sequence[SensorFrame]], list[Grid]], scale_F: Sequence[float], given: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self._front = front
        self._scale_F = torch.tensor(scale_F, dtype=torch.float32)
        self._wanted = [number for number in range(len(scale_F)) if number not in given]
        self.enter = nn.Linear(2 * len(scale_F) + 1, WIDTH)
        self.blocks = nn.ModuleList(GridBlock(WIDTH, dilation) for dilation in DILATIONS)
        self.norm = nn.RMSNorm(WIDTH)
        self.leave = nn.Linear(WIDTH, CONTEXT)
        self.fill = nn.Linear(CONTEXT, len(self._wanted))

    def forward(self, values_BHWF: Tensor, shown_BHW: Tensor) -> Tensor:
        """Context of every cell, (B, H, W, C), from those that are shown."""
        shown_BHW1 = shown_BHW[..., None].float()
        known = torch.asinh(values_BHWF / self._scale_F)  # rare features can be tens of deviations large
        known[..., self._wanted] = known[..., self._wanted] * shown_BHW1
        x_BHWD = self.enter(torch.cat([known, _mean_around(known, shown_BHW1), shown_BHW1], -1))
        for block in self.blocks:
            x_BHWD = block(x_BHWD)
        context_BHWC: Tensor = self.leave(self.norm(x_BHWD))
        return context_BHWC

    @torch.no_grad()
    def context(self, grid: Grid) -> Tensor:
        """Context of every cell of one grid with nothing hidden, float32 (H, W, C)."""
        values, seen = torch.from_numpy(grid.values_HWF), torch.from_numpy(grid.seen_HW)
        context_HWC: Tensor = self(values[None], seen[None])[0]
        return context_HWC

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Mean squared error of the features of hidden cells, in units of their usual variance.

        One grid of each window; which, and which of its cells are hidden, is drawn by `seed`.
        """
        values, shown, asked = self._puzzles(windows, seed)
        filled = self.fill(self(values, shown))
        errors_NF: Tensor = (filled - (values / self._scale_F)[..., self._wanted])[asked]
        loss: Tensor = errors_NF.square().mean() if len(errors_NF) else filled.sum() * 0.0
        return loss

    @torch.no_grad()
    def rival_losses(
        self, learnt: Sequence[Sequence[SensorFrame]], held_out: Sequence[Sequence[SensorFrame]], seed: int
    ) -> dict[str, float]:
        """What simple predictors lose on held-out windows, counted as above; fitted on the learnt ones.

        - `mean`: of each feature. `neighbours`: mean of the shown cells within two.
          `linear`: least squares on all features of those cells, hidden ones 0, and on which are shown.
        """
        past_NC, target_NF, _ = self._pairs(learnt[:RIVAL_WINDOWS], seed)
        around_MC, wanted_MF, nearby_MF = self._pairs(held_out, seed + 1)
        gram_CC = past_NC.T @ past_NC + RIDGE * len(past_NC) * torch.eye(past_NC.shape[1])
        weights_CF = torch.linalg.solve(gram_CC, past_NC.T @ target_NF)
        guesses = {"mean": target_NF.mean(0), "neighbours": nearby_MF, "linear": around_MC @ weights_CF}
        scale_F = self._scale_F[self._wanted]
        return {name: float(((guess - wanted_MF) / scale_F).square().mean()) for name, guess in guesses.items()}

    def _puzzles(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, H, W, F), cells shown and cells asked for, (B, H, W) each; smaller grids are filled up."""
        rng = np.random.default_rng((seed, 4))
        choices = [self._front(window) for window in windows]
        grids = [choice[int(rng.integers(len(choice)))] for choice in choices]
        height, width = (max(grid.seen_HW.shape[axis] for grid in grids) for axis in (0, 1))
        values = torch.zeros(len(grids), height, width, len(self._scale_F))
        shown, asked = (torch.zeros(len(grids), height, width, dtype=torch.bool) for _ in range(2))
        for row, grid in enumerate(grids):
            rows, columns = grid.seen_HW.shape
            hidden_HW = _hide(rows, columns, rng)
            values[row, :rows, :columns] = torch.from_numpy(grid.values_HWF)
            shown[row, :rows, :columns] = torch.from_numpy(grid.seen_HW & ~hidden_HW)
            asked[row, :rows, :columns] = torch.from_numpy(grid.seen_HW & hidden_HW)
        return values, shown, asked

    def _pairs(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """For N hidden cells: what surrounds them (N, C), their features (N, F), and the mean of those nearby."""
        around, target, nearby = [], [], []
        for index, window in enumerate(windows):
            values, shown, asked = self._puzzles([window], seed * 1000 + index)
            known = torch.cat([values * shown[..., None], shown[..., None]], -1).permute(0, 3, 1, 2)
            size = 2 * REACH + 1
            seen_LC = functional.unfold(known, size, padding=REACH)[0].T
            seen_NFK = seen_LC[asked.flatten()].reshape(-1, known.shape[1], size**2)
            around.append(torch.cat([seen_NFK.flatten(1), torch.ones(len(seen_NFK), 1)], 1))
            nearby.append((seen_NFK[:, :-1].sum(-1) / seen_NFK[:, -1:].sum(-1).clamp(min=1))[:, self._wanted])
            target.append(values[asked][:, self._wanted])
        return torch.cat(around), torch.cat(target), torch.cat(nearby)


def _mean_around(known_BHWF: Tensor, shown_BHW1: Tensor) -> Tensor:
    """Mean of the shown cells within two of each cell, as partial convolutions count (Liu et al., ECCV 2018)."""
    both = torch.cat([known_BHWF * shown_BHW1, shown_BHW1], -1).permute(0, 3, 1, 2)
    pooled = functional.avg_pool2d(both, 2 * REACH + 1, stride=1, padding=REACH).permute(0, 2, 3, 1)
    return pooled[..., :-1] / (pooled[..., -1:] + 1e-3)


def _hide(rows: int, columns: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Squares of 2 x 2 cells that are hidden, bool (H, W): a single cell is told by its neighbours too easily."""
    top, left = rng.integers(HIDDEN_CELLS, size=2)
    coarse = rng.random((rows // HIDDEN_CELLS + 2, columns // HIDDEN_CELLS + 2)) < HIDDEN_SHARE
    fine = coarse.repeat(HIDDEN_CELLS, 0).repeat(HIDDEN_CELLS, 1)
    return np.asarray(fine[top : top + rows, left : left + columns])
