"""Modalities with a learnt context: the fixed tokens stay what they are, the context adds what surroundings tell."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.blocks.masked import CONTEXT
from iotlam.contracts import BadInput, SelfSupervised, SensorFrame
from iotlam.plugins import LoadedModality, load
from iotlam_lidar.context import LidarContextModality
from iotlam_video.context import VideoContextModality

NAMES = ("lidar", "video")
every_kind = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def loaded() -> dict[str, LoadedModality]:
    return {name: load(name) for base in NAMES for name in (base, f"{base}_context")}


@every_kind
def test_the_fixed_tokens_stand_unchanged_beside_the_context(loaded: dict[str, LoadedModality], name: str) -> None:
    frames = loaded[f"{name}_context"].sample(1)
    fixed, wide = loaded[name].tokenize(frames), loaded[f"{name}_context"].tokenize(frames)
    assert wide.dim == fixed.dim + CONTEXT and torch.equal(wide.tokens_BTD[..., : fixed.dim], fixed.tokens_BTD)
    assert torch.equal(wide.position_BTX, fixed.position_BTX) and torch.equal(wide.mask_BT, fixed.mask_BT)
    context_TC = wide.tokens_BTD[0, :, fixed.dim :]
    assert context_TC.std(0).min() > 0.05 and context_TC.abs().max() < 30.0


@every_kind
def test_samples_follow_their_seed_and_the_loss_is_a_number(loaded: dict[str, LoadedModality], name: str) -> None:
    modality = loaded[f"{name}_context"]
    one, again, other = (modality.sample(seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(one, again, strict=True))
    assert one[0].data.shape != other[0].data.shape or not np.array_equal(one[0].data, other[0].data)
    assert isinstance(modality.encoder, SelfSupervised)
    assert 0.05 < modality.encoder.self_supervised_loss([one, other], 0).item() < 1.5


def test_the_order_of_points_does_not_change_a_bit(loaded: dict[str, LoadedModality]) -> None:
    (sweep,) = loaded["lidar_context"].sample(2)
    order = np.random.default_rng(0).permutation(len(sweep.data))
    one, other = (
        loaded["lidar_context"].tokenize([replace(sweep, data=data)]) for data in (sweep.data, sweep.data[order])
    )
    assert torch.equal(one.tokens_BTD, other.tokens_BTD)


def test_every_camera_has_its_own_context(loaded: dict[str, LoadedModality]) -> None:
    def named(frames: Sequence[SensorFrame], name: str) -> list[SensorFrame]:
        return [replace(frame, t_ns=k * 10**9, meta={**frame.meta, "sensor": name}) for k, frame in enumerate(frames)]

    modality = loaded["video_context"]
    first, second = named(modality.sample(0), "a"), named(modality.sample(2), "b")
    both = modality.tokenize([*second, *first]).tokens_BTD
    alone = [modality.tokenize(frames).tokens_BTD for frames in (first, second)]
    assert torch.equal(both, torch.cat(alone, 1))


@every_kind
def test_what_is_missing_has_no_context(loaded: dict[str, LoadedModality], name: str) -> None:
    frames = [replace(f, mask=np.zeros(f.data.shape[:1], bool)) for f in loaded[f"{name}_context"].sample(0)]
    batch = loaded[f"{name}_context"].tokenize(frames)
    assert not batch.mask_BT.any() and not batch.tokens_BTD[0, :, -CONTEXT:].any()


@pytest.mark.parametrize("kind", [LidarContextModality, VideoContextModality])
def test_weights_of_something_else_are_refused(kind: type, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        kind(tmp_path / "none.safetensors")


@pytest.mark.slow
@every_kind
def test_shipped_weights_fill_in_better_than_simple_rules(loaded: dict[str, LoadedModality], name: str) -> None:
    modality = loaded[f"{name}_context"]
    held_out = [modality.sample(2_000_000 + seed) for seed in range(48)]
    rivals = modality.encoder.rival_losses([modality.sample(seed) for seed in range(96)], held_out, 1)
    with torch.no_grad():  # the same cells are hidden as the rivals fill in
        losses = [modality.encoder.self_supervised_loss([window], 2000 + k).item() for k, window in enumerate(held_out)]
    assert np.mean(losses) < min(rivals.values()), (np.mean(losses), rivals)
    recipe = Path(__file__).parents[2] / "sensors" / f"iotlam_{name}" / "context" / "encoder.json"
    assert json.loads(recipe.read_text())["losses"]["simulated"]["encoder"] == pytest.approx(np.mean(losses), rel=0.25)
