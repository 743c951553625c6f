"""The learnt part of spectrum tokens: what it sees, what it does not, and what it is worth."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import iotlam_spectrum
from iotlam.blocks.weights import trained
from iotlam.contracts import BadInput, SensorFrame
from iotlam_spectrum import SpectrumModality
from iotlam_spectrum.encoder import SpectrumEncoder
from iotlam_spectrum.masking import Task, pose
from iotlam_spectrum.patches import BANDS, PATCH_SIZE, cut_patches
from iotlam_spectrum.plugin import WEIGHTS
from iotlam_spectrum.rivals import GUESSES, mean_patches, rival_losses
from iotlam_spectrum.synthetic import sample_bursts

UNSEEN_SEED = 2_000_000  # pretraining draws below 1,000,000 and measures from there on
ENCODER = trained(SpectrumEncoder, WEIGHTS)


def windows(count: int, first: int = UNSEEN_SEED, samples: int = 4096) -> list[list[SensorFrame]]:
    return [[sample_bursts(first + index, samples)] for index in range(count)]


def test_it_is_small_and_its_making_is_told() -> None:
    assert 50_000 < sum(parameter.numel() for parameter in ENCODER.parameters()) < 200_000
    assert WEIGHTS.stat().st_size < 1_000_000
    told = json.loads((Path(iotlam_spectrum.__file__).parent / "encoder.json").read_text())
    assert told["modality"] == "spectrum" and told["recordings"] and told["held_out_recordings"]
    assert not set(told["recordings"]) & set(told["held_out_recordings"])
    assert set(told["losses"]["recorded"]) == {"encoder", *GUESSES} == set(told["losses"]["simulated"])


@torch.no_grad()
def test_it_beats_guesses_on_bursts_it_never_saw() -> None:
    unseen = windows(24)
    own = np.mean([float(ENCODER.self_supervised_loss(unseen[at : at + 8], seed=9)) for at in (0, 8, 16)])
    rivals = ENCODER.rival_losses(windows(48, first=0), unseen, seed=9)
    assert own < 0.95 * min(rivals.values()), (own, rivals)
    untrained = SpectrumEncoder().eval()
    assert own < 0.3 * float(untrained.self_supervised_loss(unseen[:8], seed=9))


def test_hidden_patches_are_not_seen_and_missing_ones_do_not_matter() -> None:
    task = pose(windows(2), seed=0)
    changed = task.cells_BTP.clone()
    changed[task.hidden_BT] = 99.0
    with torch.no_grad():
        one = ENCODER(task.cells_BTP, task.context_BTF, task.mask_BT, task.hidden_BT)
        other = ENCODER(changed, task.context_BTF, task.mask_BT, task.hidden_BT)
        assert torch.equal(one, other)
        mask_BT = task.mask_BT.clone()
        mask_BT[:, 100:120] = False
        changed[:, 100:120] = -99.0
        seen = [
            ENCODER(cells, task.context_BTF, mask_BT, task.hidden_BT)[mask_BT] for cells in (task.cells_BTP, changed)
        ]
    torch.testing.assert_close(*seen)


def test_padding_changes_nothing() -> None:
    """Windows of several lengths in one batch give the loss that they give alone."""
    task = pose(windows(6), seed=3)  # some of which are cut short
    row, short = int(task.mask_BT.sum(1).argmin()), int(task.mask_BT.sum(1).min())
    assert short < task.mask_BT.shape[1] and not task.cells_BTP[row, short:].any()
    parts = (task.cells_BTP, task.context_BTF, task.mask_BT, task.hidden_BT)
    with torch.no_grad():
        both = ENCODER(*parts)[row, :short]
        alone = ENCODER(*(part[row : row + 1, :short] for part in parts))
    torch.testing.assert_close(both, alone[0], atol=1e-5, rtol=1e-5)


def test_the_task_follows_its_seed_and_hides_a_fair_part() -> None:
    one, same, other = (pose(windows(6), seed) for seed in (1, 1, 2))
    assert (
        torch.equal(one.hidden_BT, same.hidden_BT)
        and one.hidden_BT.shape != other.hidden_BT.shape
        or not torch.equal(one.hidden_BT, other.hidden_BT)
    )
    shares = [float(pose(windows(6), seed).hidden_BT.float().mean()) for seed in range(5)]
    assert 0.55 < np.mean(shares) < 0.75
    assert torch.isfinite(ENCODER.self_supervised_loss(windows(3, samples=70), seed=0))
    lost = [replace(frame, mask=np.zeros(4096, bool)) for (frame,) in windows(1)]
    assert torch.isfinite(ENCODER.self_supervised_loss([lost, *windows(1)], seed=0))


def test_gradients_reach_every_weight() -> None:
    encoder = SpectrumEncoder()
    encoder.self_supervised_loss(windows(2), seed=0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_rivals_guess_as_they_say() -> None:
    """A spectrogram that rises evenly: interpolation is exact, the means are off by what the rise makes them."""
    slots = 9
    rise_S = torch.arange(float(slots))
    cells_BTP = rise_S.repeat_interleave(BANDS)[None, :, None].expand(1, slots * BANDS, PATCH_SIZE)
    hidden_BT = torch.zeros(1, slots * BANDS, dtype=torch.bool)
    hidden_BT[:, 3 * BANDS : 5 * BANDS] = True
    task = Task(cells_BTP, torch.zeros(1, slots * BANDS, 5), torch.ones_like(hidden_BT), hidden_BT)
    error = {
        name: float(task.error(guess(task, torch.full((BANDS, PATCH_SIZE), 2.0)))) for name, guess in GUESSES.items()
    }
    seen = [0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0]
    assert error["neighbours"] == pytest.approx(0.0, abs=1e-9)
    assert error["mean"] == pytest.approx((1.0 + 4.0) / 2)
    assert error["window_mean"] == pytest.approx(np.mean([(value - np.mean(seen)) ** 2 for value in (3.0, 4.0)]))
    hidden_BT[:, : 5 * BANDS] = True
    assert float(task.error(GUESSES["neighbours"](task, cells_BTP[0, :BANDS]))) == pytest.approx(
        np.mean(np.arange(1, 6) ** 2.0)
    )
    assert set(rival_losses(windows(2), pose(windows(2), 0))) == set(GUESSES)


def test_the_mean_patch_is_that_of_noise() -> None:
    mean_KP = mean_patches([[sample_bursts(seed)] for seed in range(3)])
    assert mean_KP.shape == (BANDS, PATCH_SIZE) and mean_KP.isfinite().all()
    by_hand = np.stack([cut_patches(sample_bursts(seed)).cells_TP.reshape(-1, BANDS, PATCH_SIZE) for seed in range(3)])
    np.testing.assert_allclose(mean_KP, by_hand.mean(axis=(0, 1)), atol=1e-5)


def test_other_weights_are_taken_and_wrong_ones_refused(tmp_path: Path) -> None:
    frames = sample_bursts(UNSEEN_SEED)
    again = SpectrumModality(WEIGHTS)
    assert torch.equal(again.tokenize([frames]).tokens_BTD, SpectrumModality().tokenize([frames]).tokens_BTD)
    with pytest.raises(BadInput, match="no such file"):
        SpectrumModality(tmp_path / "none.safetensors")
