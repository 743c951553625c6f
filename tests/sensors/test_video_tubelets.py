from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, SensorFrame
from iotlam_video import VideoModality
from iotlam_video.projection import ground_patches
from iotlam_video.synthetic import Slab, camera_meta, render
from iotlam_video.tubelets import FEATURES

VIDEO = VideoModality()
CHANGE, HAS_PAIR, TEXTURE = (FEATURES.index(name) for name in ("log_change", "has_pair", "log_texture"))
WHITE = np.array([250.0, 250.0, 250.0])


def pair(first: tuple[float, float], then: tuple[float, float]) -> list[SensorFrame]:
    rng = np.random.default_rng(0)
    places = (first, then)
    return [render([Slab(np.array(p), (4.5, 2.5), WHITE)], k * 10**9, rng) for k, p in enumerate(places)]


def plain(level: int, t_ns: int = 0, size: tuple[int, int] = (48, 64)) -> SensorFrame:
    return SensorFrame(t_ns=t_ns, data=np.full((*size, 3), level, np.uint8), meta=camera_meta())


def test_a_box_that_moves_raises_change_where_it_was_and_is() -> None:
    batch = VIDEO.tokenize(pair((15.0, 2.0), (22.0, 2.0)))
    place_TX, change_T = batch.position_BTX[0], batch.tokens_BTD[0, :, CHANGE]
    near_T = torch.minimum(*((place_TX - torch.tensor([x, 2.0])).norm(dim=1) for x in (15.0, 22.0)))
    strongest_T = change_T.topk(4).indices
    # At 22 m a patch is 6.5 m long on the ground, so its middle lies up to 3.3 m from what it shows.
    assert near_T[strongest_T].max() < 4.0
    assert change_T[near_T > 12.0].max() < 0.5 * change_T[strongest_T].min()


def test_a_box_that_stands_changes_nothing_but_has_texture() -> None:
    batch = VIDEO.tokenize(pair((15.0, 2.0), (15.0, 2.0)))
    assert batch.tokens_BTD[0, :, CHANGE].max() < 0.8
    busiest_T = batch.tokens_BTD[0, :, TEXTURE].topk(2).indices
    assert (batch.position_BTX[0, busiest_T] - torch.tensor([15.0, 2.0])).norm(dim=1).max() < 4.0


def test_one_frame_has_no_temporal_part() -> None:
    batch = VIDEO.tokenize(pair((15.0, 2.0), (22.0, 2.0))[1:])
    temporal = [FEATURES.index(n) for n in FEATURES if "change" in n] + [HAS_PAIR]
    assert not batch.tokens_BTD[0][:, temporal].any()


def test_only_the_latest_two_count_and_time_runs_forward() -> None:
    newest = VIDEO.tokenize([plain(90, 1), plain(140, 2)])
    assert torch.equal(VIDEO.tokenize([plain(30, 0), plain(90, 1), plain(140, 2)]).tokens_BTD, newest.tokens_BTD)
    brighter_T = newest.tokens_BTD[0, :, FEATURES.index("change_dct_00")]
    np.testing.assert_allclose(brighter_T.numpy(), 4 * 50 / 255, rtol=1e-4)


def test_the_dct_sees_direction() -> None:
    stripes = plain(0)
    stripes.data[:, ::8], stripes.data[:, 1::8] = 255, 255
    batch = VIDEO.tokenize([stripes])
    across, down = (batch.tokens_BTD[0, :, FEATURES.index(n)].abs() for n in ("dct_01", "dct_10"))
    assert across.min() > 0.1 and down.max() < 1e-4


def test_projection_by_hand() -> None:
    meta = camera_meta(yaw=0.0, height_m=6.0)
    level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    meta["pose_site"] = np.block([[level, np.array([[10.0], [20.0], [6.0]])], [np.zeros((1, 3)), np.ones((1, 1))]])
    # Level camera, focal length 50: row r lies (r - 23.5) / 50 below the axis, column c (c - 31.5) / 50 to the right.
    patches = ground_patches(SensorFrame(t_ns=0, data=np.zeros((48, 64, 3), np.uint8), meta=meta))
    k = patches.index_T.tolist().index(11 * 8 + 7)
    ahead_m = 6.0 / ((45.5 - 23.5) / 50)
    np.testing.assert_allclose(patches.position_TX[k], (10 + ahead_m, 20 - ahead_m * (59.5 - 31.5) / 50), rtol=1e-12)
    assert patches.range_T.max() <= 120.0 and patches.index_T.min() >= 6 * 8


def test_crops_and_many_cameras() -> None:
    small, large = plain(80, size=(24, 40)), plain(80, size=(96, 128))
    batch = VIDEO.tokenize([replace(f, meta={**f.meta, "sensor": str(i)}) for i, f in enumerate([small, large])])
    alone = [VIDEO.tokenize([f]).tokens_BTD.shape[1] for f in (small, large)]
    assert batch.tokens_BTD.shape[1] == sum(alone)
    odd = VIDEO.tokenize([plain(80, size=(27, 45))])
    assert torch.equal(odd.position_BTX, VIDEO.tokenize([small]).position_BTX)


def test_missing_pixels_are_filled_from_their_patch() -> None:
    picture, mask = plain(100), np.ones((48, 64), bool)
    mask[::2] = False
    picture.data[~mask] = 255
    half = VIDEO.tokenize([replace(picture, mask=mask)])
    np.testing.assert_allclose(half.tokens_BTD, VIDEO.tokenize([plain(100)]).tokens_BTD, atol=1e-5)
    mask[:, :8] = False
    first_column = torch.as_tensor(ground_patches(picture).index_T % 8 == 0)
    assert torch.equal(VIDEO.tokenize([replace(picture, mask=mask)]).mask_BT[0], ~first_column)


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([plain(0, size=(4, 64))], "at least 8 x 8"),
        ([plain(0), plain(0, 1, size=(56, 64))], "one size"),
        ([replace(plain(0), meta={"pose_site": np.eye(4)})], "intrinsics"),
        ([replace(plain(0), meta={**camera_meta(), "pose_site": np.eye(4)})], "view of the ground"),
        ([plain(0, size=(720, 1280))], "at most 4096 tokens"),
    ],
)
def test_bad_input(frames: list[SensorFrame], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        VIDEO.tokenize(frames)
