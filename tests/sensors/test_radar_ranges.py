from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import BadInput, SensorFrame
from iotlam_radar import RadarModality
from iotlam_radar.features import FEATURES
from iotlam_radar.synthetic import BANDWIDTH_HZ, Target, cube_of, radar_meta

SPECTRUM = RadarModality()
BIN_M = 299_792_458.0 / (2 * BANDWIDTH_HZ)


def scene(*targets: Target, seed: int = 0) -> SensorFrame:
    return cube_of(list(targets), np.random.default_rng(seed))


def feature(frame: SensorFrame, name: str) -> np.ndarray:
    return SPECTRUM.tokenize([frame]).tokens_BTD[0, :, FEATURES.index(name)].numpy()


@pytest.mark.parametrize(("rate", "band"), [(-9.0, "approaching"), (0.0, "static"), (9.0, "receding")])
@pytest.mark.parametrize("range_bin", [10, 41, 97])
def test_a_target_shows_in_its_token_and_band(range_bin: int, rate: float, band: str) -> None:
    frame = scene(Target(range_bin * BIN_M, rate))
    side = ("near", "far")[range_bin % 2]
    power_T = {name: feature(frame, f"{side}_{name}") for name in ("approaching", "static", "receding")}
    token = int(power_T[band].argmax())
    assert token == range_bin // 2
    assert all(power_T[band][token] > power_T[other][token] + 1.0 for other in power_T if other != band)
    x_m = SPECTRUM.tokenize([frame]).position_BTX[0, token, 0].item()
    assert x_m == pytest.approx(np.sqrt(((range_bin // 2 * 2 + 0.5) * BIN_M) ** 2 - 25.0), rel=1e-5)


@pytest.mark.parametrize("rate", [-13.0, 6.0, 12.0])
def test_moving_rate_is_measured(rate: float) -> None:
    rate_T = feature(scene(Target(50.3, rate, amplitude=0.1), Target(50.3, 0.0, amplitude=0.3)), "moving_rate")
    assert 10.0 * rate_T[25] == pytest.approx(rate, abs=0.8)
    assert np.abs(np.delete(rate_T, [24, 25, 26])).max() < 0.3


@pytest.mark.parametrize("angle", [-0.4, 0.0, 0.25])
def test_phase_tells_the_angle(angle: float) -> None:
    frame = scene(Target(40 * BIN_M, 5.0, angle), Target(40 * BIN_M, 0.0, -0.6))
    phase = feature(frame, "moving_phase_re")[20] + 1j * feature(frame, "moving_phase_im")[20]
    assert abs(phase) == pytest.approx(1.0, abs=0.1)
    assert np.angle(phase) == pytest.approx(np.pi * np.sin(angle), abs=0.1)


def test_silence_and_gain() -> None:
    frame = scene(Target(40.0, 5.0))
    for gain in (1e-20, 1e15):
        louder = SPECTRUM.tokenize([replace(frame, data=frame.data * np.complex64(gain))])
        torch.testing.assert_close(louder.tokens_BTD, SPECTRUM.tokenize([frame]).tokens_BTD, atol=1e-3, rtol=1e-3)
    assert SPECTRUM.tokenize([replace(frame, data=np.zeros_like(frame.data))]).tokens_BTD.isfinite().all()


def test_noise_alone_stays_near_the_floor() -> None:
    tokens_TD = SPECTRUM.tokenize([scene()]).tokens_BTD[0]
    assert tokens_TD.shape == (64, 14)
    assert tokens_TD[:, [0, 1, 2, 5, 6, 7]].abs().max() < 0.5


def test_a_lost_receiver_and_lost_values() -> None:
    frame = scene(Target(60 * BIN_M, -8.0, 0.2))
    lost = replace(frame, mask=np.array([True, True, True, False]))
    phase = feature(lost, "near_phase_re")[30] + 1j * feature(lost, "near_phase_im")[30]
    assert np.angle(phase) == pytest.approx(np.pi * np.sin(0.2), abs=0.1)
    broken = frame.data.copy()
    broken[:, 5, 7] = np.nan
    assert feature(replace(frame, data=broken), "near_approaching").argmax() == 30


def test_tokens_lie_along_boresight() -> None:
    frame = replace(scene(), meta={**radar_meta(), "pose_site": mounted_pose((3.0, 4.0, 5.0), np.pi, 0.1)})
    place_TX = SPECTRUM.tokenize([frame]).position_BTX[0]
    assert (place_TX[:, 1] - 4.0).abs().max() < 1e-5 and (place_TX[:, 0].diff() <= 0).all()
    assert place_TX[0].tolist() == pytest.approx([3.0, 4.0])


@pytest.mark.parametrize("shape", [(1, 16, 64), (2, 5, 9), (8, 64, 256)])
def test_any_size(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    batch = SPECTRUM.tokenize([SensorFrame(t_ns=0, data=data, meta=radar_meta())])
    assert batch.tokens_BTD.isfinite().all() and batch.tokens_BTD.shape[1] == min(shape[2] // 2, 80)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data": np.zeros((4, 2, 128), np.complex64)}, "at least 1 receiver"),
        ({"meta": {**radar_meta(), "bandwidth_hz": 0.0}}, "positive number"),
        ({"meta": {**radar_meta(), "bandwidth_hz": 1e6}}, "range bins"),
        ({"meta": {"pose_site": np.eye(4)}}, "bandwidth_hz"),
    ],
)
def test_bad_input(change: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        SPECTRUM.tokenize([replace(scene(), **change)])
