"""What holds for every built-in spatial modality."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import iotlam_lidar
import iotlam_radar
import iotlam_video
from iotlam.contracts import MANIFEST_NAME, BadInput, Modality, ModalityManifest, SensorFrame, TokenBatch, check_window

PLUGINS = {
    "lidar": (iotlam_lidar, iotlam_lidar.LidarModality()),
    "radar": (iotlam_radar, iotlam_radar.RadarModality()),
    "video": (iotlam_video, iotlam_video.VideoModality()),
}
every_plugin = pytest.mark.parametrize("name", PLUGINS)


def manifest_of(name: str) -> ModalityManifest:
    return ModalityManifest.from_toml(Path(str(PLUGINS[name][0].__file__)).parent / MANIFEST_NAME)


def same(one: TokenBatch, other: TokenBatch) -> bool:
    fields = ("tokens_BTD", "mask_BT", "time_BT", "position_BTX")
    return all(torch.equal(getattr(one, field), getattr(other, field)) for field in fields)


@every_plugin
def test_manifest_code_and_sample_agree(name: str) -> None:
    manifest, modality = manifest_of(name), PLUGINS[name][1]
    spec = modality.token_spec()
    assert isinstance(modality, Modality)
    assert (manifest.name, manifest.token_budget) == (name, spec.max_tokens) and spec.modality == name
    check_window(manifest, modality.sample(0))


@every_plugin
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tokens_keep_the_promises_of_the_spec(name: str, seed: int) -> None:
    modality = PLUGINS[name][1]
    batch, spec = modality.tokenize(modality.sample(seed)), modality.token_spec()
    assert batch.tokens_BTD.shape[0] == 1 and batch.dim == spec.dim and batch.tokens_BTD.shape[1] <= spec.max_tokens
    assert batch.tokens_BTD.dtype == batch.time_BT.dtype == batch.position_BTX.dtype == torch.float32
    assert batch.tokens_BTD.isfinite().all() and batch.position_BTX.isfinite().all()
    assert batch.tokens_BTD.abs().max() < 6.0 and (batch.time_BT <= 0).all() and batch.mask_BT.all()
    assert batch.tokens_BTD.shape[1] == modality.tokenize(modality.sample(seed + 9)).tokens_BTD.shape[1]


@every_plugin
def test_same_input_same_bits_and_other_seeds_differ(name: str) -> None:
    modality = PLUGINS[name][1]
    first = modality.tokenize(modality.sample(4))
    assert same(first, modality.tokenize(modality.sample(4)[::-1]))
    assert not torch.equal(first.tokens_BTD, modality.tokenize(modality.sample(5)).tokens_BTD)


@every_plugin
def test_a_second_older_sensor_is_dated_by_its_age(name: str) -> None:
    modality = PLUGINS[name][1]
    frames = list(modality.sample(1))
    older = [replace(f, t_ns=f.t_ns - 500_000_000, meta={**f.meta, "sensor": "z"}) for f in frames]
    batch = modality.tokenize(frames + older)
    assert batch.time_BT.min() < 0 and batch.time_BT.max() == 0 and batch.time_BT.min() >= -0.5


@every_plugin
def test_all_missing_masks_every_token(name: str) -> None:
    modality = PLUGINS[name][1]
    frames = [replace(f, mask=np.zeros(f.data.shape[:1], bool)) for f in modality.sample(1)]
    batch = modality.tokenize(frames)
    assert not batch.mask_BT.any() and batch.tokens_BTD.isfinite().all()
    assert batch.mask_BT.shape == modality.tokenize(modality.sample(1)).mask_BT.shape


@every_plugin
def test_masked_values_do_not_matter(name: str) -> None:
    modality = PLUGINS[name][1]
    rng = np.random.default_rng(0)

    def spoilt(frame: SensorFrame, value: float, mask: np.ndarray) -> SensorFrame:
        data = frame.data.copy()
        data[~mask] = value
        return replace(frame, data=data, mask=mask)

    frames = modality.sample(2)
    masks = [rng.random(f.data.shape[:2] if name != "lidar" else f.data.shape[:1]) > 0.3 for f in frames]
    one, other = ([spoilt(f, value, m) for f, m in zip(frames, masks, strict=True)] for value in (7.0, 200.0))
    assert same(modality.tokenize(one), modality.tokenize(other))
    assert not same(modality.tokenize(one), modality.tokenize(frames))


@every_plugin
def test_no_frames_and_no_pose_are_bad_input(name: str) -> None:
    modality = PLUGINS[name][1]
    with pytest.raises(BadInput, match="at least one frame"):
        modality.tokenize([])
    frame = modality.sample(0)[0]
    with pytest.raises(BadInput, match="pose_site"):
        modality.tokenize([replace(frame, meta={k: v for k, v in frame.meta.items() if k != "pose_site"})])
