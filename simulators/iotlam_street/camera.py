"""Small colour cameras on masts, all drawn at once.

Their pictures are rectified to a level optical axis (the principal point is shifted up instead of tilting the camera),
so all pixels of a column share an azimuth and the separable caster applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.caster import ROOF, Fans
from iotlam_street.noise import drawn, real_noise
from iotlam_street.optics import NIGHT_NOISE, STREET_LAMPS, WET_ASPHALT, blurred, glare, lit, sky_of, streaks, uprights
from iotlam_street.scene import Boxes, Floats
from iotlam_street.weather import CLEAR, Weather

_SHADE = np.array([0.85, 0.7, 0.6, 1.0], np.float32)
"""Light on FRONT, REAR, LATERAL and ROOF faces."""
_ASPHALT = np.array([92.0, 92.0, 96.0], np.float32)
_GLASS = (0.55, 0.85)
"""Windows: part of a vehicle's height that they cover."""


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """A pinhole with square pixels.

    Attributes:
        width, height: pixels.
        fov_deg: horizontal field of view.
        horizon_row: rows above the horizon.
        noise: standard deviation of a pixel, of 255.
        haze_m: distance over which contrast falls to 1/e.
        texture_m: edge of the asphalt's patches.
    """

    width: int = 64
    height: int = 48
    fov_deg: float = 36.0
    horizon_row: float = 4.0
    noise: float = 4.0
    haze_m: float = 400.0
    texture_m: float = 0.5


def camera_pose(place_3: Floats, yaw: float) -> NDArray[np.float64]:
    """Pose, 4 x 4, of a level camera: columns right, down, forward and place.

    Args:
        place_3: site coordinates, metres.
        yaw: direction of the optical axis, radians counter-clockwise from east.
    """
    pose = np.eye(4)
    pose[:3, 0] = np.sin(yaw), -np.cos(yaw), 0.0
    pose[:3, 1] = 0.0, 0.0, -1.0
    pose[:3, 2] = np.cos(yaw), np.sin(yaw), 0.0
    pose[:3, 3] = place_3
    return pose


class Cameras:
    """C cameras that stay where they are, so the empty street is drawn once.

    Args:
        pose_site: name of each camera (`meta["sensor"]` of its frames) and its pose, 4 x 4, camera (x right, y down, z
            forward) to site, metres; the optical axes must be level.
        config: optics and noise, the same for all.
        weather: what is in their way.

    Attributes:
        fans: the rays of all pixels, a fan per column, camera after camera.

    Raises:
        BadInput: if an optical axis is not level or a camera not above the ground.
    """

    def __init__(
        self,
        pose_site: Mapping[str, NDArray[np.float64]],
        config: CameraConfig | None = None,
        weather: Weather = CLEAR,
    ) -> None:
        self._config = config = config or CameraConfig()
        self._weather, self._sky = weather, sky_of(weather)
        self._haze_m = np.float32(config.haze_m / (1.0 + config.haze_m * weather.extinction_per_m))
        focal = 0.5 * config.width / np.tan(np.radians(config.fov_deg) / 2.0)
        u0, v0 = config.width / 2.0 - 0.5, config.horizon_row - 0.5  # whole numbers are centres of pixels
        intrinsics = np.array([[focal, 0.0, u0], [0.0, focal, v0], [0.0, 0.0, 1.0]])
        self._metas = [
            {"sensor": name, "pose_site": pose.astype(np.float64), "intrinsics": intrinsics}
            for name, pose in pose_site.items()
        ]
        x_W = (np.arange(config.width) - u0) / focal
        y_H = (np.arange(config.height) - v0) / focal
        yaw_C = np.array([_yaw(pose) for pose in pose_site.values()])
        place_C3 = np.array([pose[:3, 3] for pose in pose_site.values()], np.float32)
        azimuth_A = (yaw_C[:, None] - np.arctan(x_W)).astype(np.float32).ravel()
        slope_WH = (-y_H / np.sqrt(1.0 + x_W**2)[:, None]).astype(np.float32)
        self.fans = Fans(np.repeat(place_C3, config.width, axis=0), azimuth_A, np.tile(slope_WH, (len(yaw_C), 1)))
        self._street_CHW3 = self._draw_street()
        # Fresh memory costs more than what is computed in it.
        self._image_CHW3, self._seen_CHW3 = (np.empty_like(self._street_CHW3) for _ in range(2))
        self._noise_N = real_noise(config.noise * (NIGHT_NOISE if weather.night else 1.0), self._image_CHW3.size)
        self._pixel_rad, sun = 1.0 / focal, weather.sun_azimuth
        self._glare_CHW1 = None if sun is None else uprights(glare(self.fans, sun), len(self._metas))

    def render(self, boxes: Boxes, t_ns: int, rng: np.random.Generator) -> list[SensorFrame]:
        """Take one picture with each camera.

        Args:
            boxes: what stands on the street.
            t_ns: time of the pictures.
            rng: source of pixel noise.

        Returns:
            Frames with data uint8 (height, width, 3), RGB, and meta `sensor`, `pose_site`, `intrinsics` (3 x 3, pixels;
            whole numbers are centres of pixels).
        """
        seen_CHW3 = self._through_weather(self._see(boxes), rng)
        image_CHW3 = np.add(seen_CHW3, drawn(self._noise_N, seen_CHW3.shape, rng), out=self._image_CHW3)
        image_CHW3 += np.float32(0.5)
        pictures_CHW3 = np.clip(image_CHW3, 0.0, 255.0, out=image_CHW3).astype(np.uint8)
        return [SensorFrame(t_ns, pictures_CHW3[c], meta=meta) for c, meta in enumerate(self._metas)]

    def _see(self, boxes: Boxes) -> Floats:
        """What a perfect camera would see: float32 (C, height, width, 3), 0 to 255."""
        hits = self.fans.meet(boxes)
        height_R = self.fans.origin_A3[hits.fan_R, 2] + self.fans.slope_AE[hits.fan_R, hits.ray_R] * hits.range_h_R
        level_R = height_R / boxes.size_N3[hits.box_R, 2]
        glass_R = (hits.face_R != ROOF) & (level_R > _GLASS[0]) & (level_R < _GLASS[1])
        light_R = _SHADE[hits.face_R] * np.where(glass_R, np.float32(0.3), np.float32(1.0))
        camera_R, column_R = np.divmod(hits.fan_R, self._config.width)
        pixel_R = (camera_R * self._config.height + hits.ray_R) * self._config.width + column_R
        colour_R3 = boxes.colour_N3[hits.box_R] * light_R[:, None]
        if self._weather.night:
            colour_R3 = lit(colour_R3, hits, level_R)
        seen_CHW3 = self._seen_CHW3
        np.copyto(seen_CHW3, self._street_CHW3)
        seen_CHW3.reshape(-1, 3)[pixel_R] = self._through_haze(colour_R3, hits.range_h_R)
        return seen_CHW3

    def _through_weather(self, seen_CHW3: Floats, rng: np.random.Generator) -> Floats:
        """What is left of the perfect picture in the air near the camera and in its lens."""
        if self._weather.rain_mm_h > 0.0:
            seen_CHW3 = streaks(seen_CHW3, self._weather, self._pixel_rad, rng)
        if self._weather.blur_px > 0.0:
            seen_CHW3 = blurred(seen_CHW3, self._weather.blur_px)
        return seen_CHW3 if self._glare_CHW1 is None else seen_CHW3 + self._glare_CHW1

    def _draw_street(self) -> Floats:
        """The empty street, float32 (C, height, width, 3): asphalt with a texture fixed to the ground, and sky."""
        range_AE = self.fans.empty.range_h_AE
        sky_AE = np.isinf(range_AE)
        range_AE = np.where(sky_AE, np.float32(0.0), range_AE)
        x_AE = self.fans.origin_A3[:, :1] + range_AE * self.fans.direction_A2[:, :1]
        y_AE = self.fans.origin_A3[:, 1:2] + range_AE * self.fans.direction_A2[:, 1:]
        grain_AE = 0.85 + 0.3 * _hash_of_cell(x_AE / self._config.texture_m, y_AE / self._config.texture_m)
        light = (STREET_LAMPS if self._weather.night else 1.0) * (WET_ASPHALT if self._weather.rain_mm_h else 1.0)
        street_AE3 = self._through_haze(_ASPHALT * grain_AE[..., None] * np.float32(light), range_AE)
        street_AE3 = np.where(sky_AE[..., None], self._sky, street_AE3)
        street_CWH3 = street_AE3.reshape(len(self._metas), self._config.width, -1, 3)
        return np.ascontiguousarray(street_CWH3.swapaxes(1, 2), np.float32)

    def _through_haze(self, colour: Floats, range_h: Floats) -> Floats:
        """Blend colours (..., 3) with the sky's by distance (...)."""
        clear = np.exp(range_h / -self._haze_m)[..., None]
        return np.asarray(self._sky + (colour - self._sky) * clear, dtype=np.float32)


def _yaw(pose_site: NDArray[np.float64]) -> float:
    """Direction of a level optical axis, radians counter-clockwise from east.

    Raises:
        BadInput: if it is not level.
    """
    down, forward = pose_site[:3, 1], pose_site[:3, 2]
    if abs(forward[2]) > 1e-6 or down[2] > -1.0 + 1e-6:
        raise BadInput(
            "Pose of a camera", expected="a level optical axis", got=f"forward {forward}, down {down}",
            fix="rectify the pose and shift horizon_row instead",
        )  # fmt: skip
    return float(np.arctan2(forward[1], forward[0]))


def _hash_of_cell(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> Floats:
    """A number 0 to 1 that depends on the unit cell of (x, y) alone; integer hashing with large odd factors."""
    column, row = (np.floor(value).astype(np.int32).view(np.uint32) for value in (x, y))
    bits = column * np.uint32(374761393) + row * np.uint32(668265263)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(1274126177)
    return np.asarray(bits ^ (bits >> np.uint32(16)), np.float32) / np.float32(2**32)
