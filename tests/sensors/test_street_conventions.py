"""Encoders and the street simulator, written apart, mean the same axes and signs."""

import numpy as np
import pytest
import torch

from iotlam.contracts import SensorFrame
from iotlam_lidar import LidarModality
from iotlam_lidar.pillars import FEATURES as LIDAR_FEATURES
from iotlam_radar import RadarModality
from iotlam_radar.features import FEATURES as RADAR_FEATURES
from iotlam_street.camera import CameraConfig, Cameras, camera_pose
from iotlam_street.caster import GROUND
from iotlam_street.rig import SensorRig
from iotlam_street.scene import Approach, Boxes, Snapshot
from iotlam_video import VideoModality
from iotlam_video.projection import ground_points
from iotlam_video.tubelets import FEATURES as VIDEO_FEATURES

# Traffic from the east: it drives along -x and stops at x = 10.
APPROACH = Approach("east", np.array([10.0, 2.0], np.float32), np.pi, 7.0)
SPEED_M_S = -10.0
START_2 = np.array([38.0, 4.0])
NOBODY = Boxes(*(np.zeros((0, *rest), np.float32) for rest in ((2,), (), (3,), (2,))), np.zeros((0, 3), np.uint8))


def snapshot(second: int) -> Snapshot:
    centre_2 = START_2 + (SPEED_M_S * second, 0.0)
    boxes = Boxes(
        centre_N2=centre_2[None].astype(np.float32),
        heading_N=np.array([np.pi], np.float32),
        size_N3=np.array([[4.5, 1.8, 1.5]], np.float32),
        velocity_N2=np.array([[SPEED_M_S, 0.0]], np.float32),
        colour_N3=np.array([[240, 240, 240]], np.uint8),
    )
    return Snapshot(t_ns=second * 10**9, boxes=boxes)


@pytest.fixture(scope="module")
def frames() -> dict[str, list[SensorFrame]]:
    return SensorRig([APPROACH]).sense([snapshot(0), snapshot(1)], np.random.default_rng(0))


def test_lidar_finds_the_car(frames: dict[str, list[SensorFrame]]) -> None:
    batch = LidarModality().tokenize(frames["lidar"])
    occupied_T = batch.tokens_BTD[0, :, LIDAR_FEATURES.index("occupied")] > 0
    away_m = (batch.position_BTX[0, occupied_T] - torch.tensor([28.0, 4.0])).norm(dim=1)
    assert occupied_T.any() and away_m.max() < 3.5


def test_video_sees_change_where_the_car_was_and_is(frames: dict[str, list[SensorFrame]]) -> None:
    batch = VideoModality().tokenize(frames["video"])
    changed_T = batch.tokens_BTD[0, :, VIDEO_FEATURES.index("log_change")].topk(3).indices
    x_m, y_m = batch.position_BTX[0, changed_T].T
    # A car hides ground up to a third farther off, and patches there are 20 m long.
    assert x_m.min() > 24.0 and x_m.max() < 65.0 and (y_m - 4.0).abs().max() < 4.0


@pytest.mark.parametrize("yaw", [0.0, 2.1, np.pi])
@pytest.mark.parametrize("config", [CameraConfig(), CameraConfig(width=33, height=21, fov_deg=70.0, horizon_row=-2.5)])
def test_a_pixel_sees_the_ground_where_the_calibration_says(yaw: float, config: CameraConfig) -> None:
    place_3 = np.array([14.0, -1.0, 6.0], np.float32)
    cameras = Cameras({"camera": camera_pose(place_3, yaw)}, config)
    (frame,) = cameras.render(NOBODY, 0, np.random.default_rng(0))
    hits = cameras.fans.cast(NOBODY)
    column_P, row_P = np.nonzero(hits.box_AE == GROUND)
    met_PX = place_3[:2] + hits.range_h_AE[column_P, row_P, None] * cameras.fans.direction_A2[column_P]
    pixel_P2 = np.stack([column_P, row_P], axis=1).astype(np.float64)
    seen_PX = ground_points(pixel_P2, frame.pose_site, frame.meta["intrinsics"])
    below = config.height - np.ceil(max(config.horizon_row, 0.0))
    assert len(pixel_P2) == below * config.width and np.abs(seen_PX - met_PX).max() < 0.01


def test_radar_agrees_on_range_approach_and_side(frames: dict[str, list[SensorFrame]]) -> None:
    batch = RadarModality().tokenize(frames["radar"])
    feature = dict(zip(RADAR_FEATURES, batch.tokens_BTD[0].T, strict=True))
    token = int(torch.maximum(feature["near_approaching"], feature["far_approaching"]).argmax())
    pose = frames["radar"][0].pose_site
    offset_3 = np.array([28.0, 4.0, 0.7]) - pose[:3, 3]
    assert token == pytest.approx(np.linalg.norm(offset_3) / 3.0, abs=1.5)
    assert 10.0 * feature["moving_rate"][token] == pytest.approx(SPEED_M_S, abs=1.0)
    sine = float(offset_3 @ pose[:3, 1] / np.linalg.norm(offset_3))
    phase = np.angle(complex(feature["moving_phase_re"][token], feature["moving_phase_im"][token]))
    assert sine > 0.03 and phase == pytest.approx(np.pi * sine, abs=0.12)
