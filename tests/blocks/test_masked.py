from collections.abc import Sequence

import numpy as np
import pytest
import torch

from iotlam.blocks.masked import CONTEXT, Grid, MaskedGridEncoder
from iotlam.contracts import SensorFrame

ROWS, COLUMNS = 10, 12


def window(seed: int) -> list[SensorFrame]:
    return [SensorFrame(seed, np.zeros(0, np.float32))]


def waves(frames: Sequence[SensorFrame]) -> list[Grid]:
    """A wave, its slope and where it is, on a grid whose last rows were not measured."""
    rng = np.random.default_rng(frames[0].t_ns)
    row, column = np.indices((ROWS, COLUMNS))
    phase = 2 * np.pi * (rng.uniform(0.05, 0.12) * row + rng.uniform(0.05, 0.12) * column + rng.random())
    values_HWF = np.stack([np.sin(phase), np.cos(phase), row / ROWS], axis=-1).astype(np.float32)
    return [Grid(values_HWF, row < ROWS - 2)]


@pytest.fixture
def encoder() -> MaskedGridEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MaskedGridEncoder(waves, (0.7, 0.7, 1.0), given=(2,))


def test_what_is_hidden_cannot_be_seen(encoder: MaskedGridEncoder) -> None:
    rng = torch.Generator().manual_seed(0)
    values, shown = torch.randn(2, 9, 11, 3, generator=rng), torch.rand(2, 9, 11, generator=rng) > 0.4
    other = values.clone()
    other[..., :2][~shown] = 1e6
    assert torch.equal(encoder(values, shown), encoder(other, shown))
    other[0, 4, 5] += shown[0, 4, 5] or torch.tensor([0.0, 0.0, 1.0])
    assert not torch.equal(encoder(values, shown), encoder(other, shown))


def test_the_loss_follows_its_seed_alone_and_reaches_every_weight(encoder: MaskedGridEncoder) -> None:
    windows = [window(0), window(1)]
    state = torch.random.get_rng_state()
    loss = encoder.self_supervised_loss(windows, 3)
    assert torch.equal(state, torch.random.get_rng_state())
    again, other = (encoder.self_supervised_loss(windows, seed) for seed in (3, 4))
    assert torch.equal(loss, again) and not torch.equal(loss, other)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in encoder.parameters())


def test_grids_of_other_sizes_learn_together(encoder: MaskedGridEncoder) -> None:
    grids = [Grid(np.ones((rows, 5, 3), np.float32), np.ones((rows, 5), np.bool_)) for rows in (3, 8)]
    encoder._front = lambda frames: [grids[frames[0].t_ns]]
    values, shown, asked = encoder._puzzles([window(0), window(1)], 0)
    assert values.shape == (2, 8, 5, 3) and not (shown | asked)[0, 3:].any() and (shown ^ asked)[1].all()
    assert encoder.context(grids[0]).shape == (3, 5, CONTEXT)


def test_nothing_hidden_costs_nothing(encoder: MaskedGridEncoder) -> None:
    encoder._front = lambda _: [Grid(np.ones((4, 4, 3), np.float32), np.zeros((4, 4), np.bool_))]
    assert encoder.self_supervised_loss([window(0)], 0).item() == 0.0


@pytest.mark.slow
def test_it_learns_what_neighbours_tell(encoder: MaskedGridEncoder) -> None:
    held_out = [window(10_000 + k) for k in range(24)]
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=8e-3)
    for step in range(80):
        optimiser.zero_grad()
        encoder.self_supervised_loss([window(8 * step + k) for k in range(8)], step).backward()
        optimiser.step()
    with torch.no_grad():
        loss = float(encoder.self_supervised_loss(held_out, 0))
    rivals = encoder.rival_losses([window(k) for k in range(96)], held_out, 0)
    assert rivals["mean"] == pytest.approx(1.0, abs=0.1) and rivals["linear"] < rivals["neighbours"] < rivals["mean"]
    assert loss < 0.1 and loss < rivals["neighbours"]
