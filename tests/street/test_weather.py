"""Rain, night, glare and blur: what each does to which sensor, against published figures where there are some."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.camera import CameraConfig, Cameras, camera_pose
from iotlam_street.lidar import Lidar, LidarConfig
from iotlam_street.radar import RadarConfig, Radars, radar_pose
from iotlam_street.rig import SensorRig
from iotlam_street.scene import Approach, Boxes, Floats, Snapshot
from iotlam_street.weather import CLEAR, WEATHERS, Weather

BoxesOf = Callable[..., Boxes]
CAR = (4.5, 1.8, 1.5)
POLE_3 = np.array([0.0, 0.0, 6.0], np.float32)
POSES = {"west": camera_pose(POLE_3, np.pi), "east": camera_pose(POLE_3, 0.0)}


def pictures(boxes: Boxes, weather: Weather, noise: float = 0.0) -> list[Floats]:
    frames = Cameras(POSES, CameraConfig(noise=noise), weather).render(boxes, 0, np.random.default_rng(0))
    return [frame.data.astype(np.float32) for frame in frames]


def sweep(boxes: Boxes, weather: Weather) -> Floats:
    config = LidarConfig(noise_m=0.0, dropout=0.0)
    points_N4: Floats = Lidar(POLE_3, "lidar", config, weather).scan(boxes, 0, np.random.default_rng(0)).data
    return points_N4


@pytest.mark.parametrize("rain_mm_h", [5.0, 25.0, 50.0])
def test_rain_takes_as_much_light_and_radio_as_published(rain_mm_h: float) -> None:
    rain = Weather(rain_mm_h=rain_mm_h)
    assert rain.extinction_per_m == pytest.approx(0.365e-3 * rain_mm_h**0.63, rel=0.02)  # Shettle's fit, 1990
    assert rain.radio_db_per_m * 1000.0 == pytest.approx(1.13 * rain_mm_h**0.7177, rel=0.01)


def test_clear_weather_takes_nothing() -> None:
    assert CLEAR.extinction_per_m == CLEAR.radio_db_per_m == 0.0
    assert CLEAR.drops_per_m3(np.array(0.1)) < 1e-30


def test_rain_dims_far_ground_and_answers_near_the_lidar(boxes_of: BoxesOf) -> None:
    boxes = boxes_of((40.0, 0.0, 0.0, *CAR))
    near, farthest, bright = [], [], []
    for rain_mm_h in (0.0, 10.0, 50.0):
        points = sweep(boxes, Weather(rain_mm_h=rain_mm_h))
        range_m, ground = np.linalg.norm(points[:, :3], axis=1), points[:, 2] < -5.95
        on_car = (np.abs(points[:, 0] - 40.0) < 2.4) & (np.abs(points[:, 1]) < 1.0) & (points[:, 2] > -5.9)
        near.append(int((range_m < 5.0).sum()))
        farthest.append(float(range_m[ground].max()))
        bright.append(float(points[on_car, 3].max()))
    assert near[0] == 0 < near[1] < near[2] < 0.3 * 8640
    assert farthest[0] > 105.0 > farthest[1] > farthest[2] > 30.0
    assert bright[0] > bright[1] > bright[2] > 0.5 * bright[0]


def test_a_drop_is_seen_before_what_is_behind_it(boxes_of: BoxesOf) -> None:
    wet, dry = sweep(boxes_of(), Weather(rain_mm_h=50.0)), sweep(boxes_of(), CLEAR)
    assert wet[:, 2].max() < 0.0  # the beams look down: no drop above the sensor
    azimuths = [np.unique(np.degrees(np.arctan2(points[:, 1], points[:, 0])).round(1)) for points in (wet, dry)]
    assert np.isin(azimuths[0], azimuths[1]).all()


def test_rain_takes_contrast_and_draws_streaks(boxes_of: BoxesOf) -> None:
    rain, fog_free = Weather(rain_mm_h=50.0), CLEAR
    near, far = (boxes_of((-x, -1.0, 0.0, 9.0, 2.5, 3.6)) for x in (30.0, 90.0))
    contrasts = []
    for weather in (fog_free, rain):
        empty = pictures(boxes_of(), weather)[0]
        contrasts.append([np.abs(pictures(boxes, weather)[0] - empty).max() for boxes in (near, far)])
    (clear_near, clear_far), (wet_near, wet_far) = contrasts
    assert wet_far / clear_far < wet_near / clear_near < 1.0
    plain = pictures(boxes_of(), Weather(rain_mm_h=1e-6))[0]  # as overcast and wet, without a drop
    streaked = pictures(boxes_of(), rain)[0]
    brighter = (streaked[20:] - plain[20:]).mean(axis=2)
    down, across = (np.corrcoef(brighter[:-1].ravel(), brighter[1:].ravel())[0, 1],
                    np.corrcoef(brighter[:, :-1].ravel(), brighter[:, 1:].ravel())[0, 1])  # fmt: skip
    assert brighter.mean() > 1.0 and down > across + 0.2


def test_at_night_only_lights_show(boxes_of: BoxesOf) -> None:
    coming, going = boxes_of((-30.0, 0.0, 0.0, *CAR)), boxes_of((-30.0, 0.0, np.pi, *CAR))
    night = Weather(night=True)
    empty = pictures(boxes_of(), night)[0]
    assert empty.max() < 25.0
    white = pictures(coming, night)[0][(pictures(coming, night)[0] != empty).any(axis=2)]
    red = pictures(going, night)[0][(pictures(going, night)[0] != empty).any(axis=2)]
    assert white.max(axis=0).min() > 210.0
    assert red[:, 0].max() > 150.0 > 60.0 > red[:, 1:].max()
    noisy, calm = (pictures(boxes_of(), weather, noise=4.0)[0] for weather in (night, CLEAR))
    assert noisy[30:].std() > 0.0 and empty.mean() < 0.2 * calm.mean()


def test_a_low_sun_blinds_who_looks_at_it(boxes_of: BoxesOf) -> None:
    sun_in_the_west = Weather(sun_azimuth=np.pi)
    (west, east), (west_clear, east_clear) = pictures(boxes_of(), sun_in_the_west), pictures(boxes_of(), CLEAR)
    assert (west == 255.0).all(axis=2).mean() > 0.05 and not (west_clear == 255.0).all(axis=2).any()
    assert np.abs(east - east_clear).max() < 2.0


def test_blur_spreads_and_keeps_the_light(boxes_of: BoxesOf) -> None:
    boxes = boxes_of((-30.0, 0.0, 0.0, *CAR))
    sharp, soft = pictures(boxes, CLEAR)[0], pictures(boxes, Weather(blur_px=1.5))[0]
    assert soft.mean() == pytest.approx(sharp.mean(), abs=1.5)
    assert np.abs(np.diff(soft, axis=1)).max() < 0.5 * np.abs(np.diff(sharp, axis=1)).max()
    assert np.abs(np.diff(soft, axis=0)).max() < 0.5 * np.abs(np.diff(sharp, axis=0)).max()


def test_rain_weakens_echoes_there_and_back(boxes_of: BoxesOf) -> None:
    config, pose = RadarConfig(noise=0.0, post_rcs_m2=0.0), {"radar": radar_pose(np.array([0.0, 0.0, 5.0]), 0.0)}
    boxes, rain = boxes_of((80.1, 0.0, 0.0, 0.2, 1.8, 1.5)), Weather(rain_mm_h=25.0)
    dry, wet = (np.abs(Radars(pose, config, weather).observe(boxes, 0, np.random.default_rng(0))[0].data) ** 2
                for weather in (CLEAR, rain))  # fmt: skip
    assert 10.0 * np.log10(dry.sum() / wet.sum()) == pytest.approx(2.0 * 0.0114 * 80.1, rel=0.01)


@pytest.mark.parametrize("name", list(WEATHERS))
def test_a_rig_measures_in_any_weather_and_a_seed_fixes_it(
    approaches: list[Approach], traffic: Callable[[int, int], Boxes], name: str
) -> None:
    shots, rig = [Snapshot(s * 10**9, traffic(40, s)) for s in range(2)], SensorRig(approaches, weather=WEATHERS[name])
    one, same = (rig.sense(shots, np.random.default_rng(5)) for _ in range(2))
    clear = SensorRig(approaches).sense(shots, np.random.default_rng(5))
    for modality, frames in one.items():
        assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, same[modality], strict=True))
        assert all(np.isfinite(frame.data).all() and frame.data.dtype == clear[modality][0].data.dtype
                   for frame in frames)  # fmt: skip
    changed = any(not np.array_equal(a.data, b.data) for a, b in zip(one["video"], clear["video"], strict=True))
    assert changed == (name != "clear")


def test_impossible_weather_is_refused() -> None:
    for wrong in ({"rain_mm_h": -1.0}, {"blur_px": float("nan")}):
        with pytest.raises(BadInput, match="0 or more"):
            Weather(**wrong)
