"""A small colour camera on a mast.

Its picture is rectified to a level optical axis (the principal point is shifted up instead of tilting the camera), so
all pixels of a column share an azimuth and the separable caster applies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.caster import NOTHING, ROOF, cast
from iotlam_street.scene import Boxes, Floats

_SHADE = np.array([0.85, 0.7, 0.6, 1.0, 1.0], np.float32)
"""Light on FRONT, REAR, LATERAL, ROOF and FLAT faces."""
_ASPHALT = np.array([92.0, 92.0, 96.0], np.float32)
_SKY = np.array([150.0, 185.0, 225.0], np.float32)
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


class Camera:
    """A camera that stays where it is, so the empty street is drawn once.

    Args:
        pose_site: 4 x 4, camera (x right, y down, z forward) to site, metres; the optical axis must be level.
        name: `meta["sensor"]` of its frames.
        config: optics and noise.

    Raises:
        BadInput: if the optical axis is not level or the camera not above the ground.
    """

    def __init__(self, pose_site: NDArray[np.float64], name: str, config: CameraConfig | None = None) -> None:
        self._config = config = config or CameraConfig()
        right, down, forward, place = (pose_site[:3, column] for column in range(4))
        if abs(forward[2]) > 1e-6 or down[2] > -1.0 + 1e-6:
            raise BadInput(
                "Camera.pose_site", expected="a level optical axis", got=f"forward {forward}, down {down}",
                fix="rectify the pose and shift horizon_row instead",
            )  # fmt: skip
        focal = 0.5 * config.width / np.tan(np.radians(config.fov_deg) / 2.0)
        u0, v0 = config.width / 2.0 - 0.5, config.horizon_row - 0.5  # whole numbers are centres of pixels
        intrinsics = np.array([[focal, 0.0, u0], [0.0, focal, v0], [0.0, 0.0, 1.0]])
        self._meta = {"sensor": name, "pose_site": pose_site.astype(np.float64), "intrinsics": intrinsics}
        x_A = (np.arange(config.width) - u0) / focal
        y_E = (np.arange(config.height) - v0) / focal
        self._origin_3 = place.astype(np.float32)
        self._azimuth_A = (np.arctan2(forward[1], forward[0]) - np.arctan(x_A)).astype(np.float32)
        self._slope_AE = (-y_E / np.sqrt(1.0 + x_A**2)[:, None]).astype(np.float32)
        self._street_HW3 = self._draw_street()

    def render(self, boxes: Boxes, t_ns: int, rng: np.random.Generator) -> SensorFrame:
        """Take one picture.

        Args:
            boxes: what stands on the street.
            t_ns: time of the picture.
            rng: source of pixel noise.

        Returns:
            Frame with data uint8 (height, width, 3), RGB, and meta `sensor`, `pose_site`, `intrinsics` (3 x 3, pixels;
            whole numbers are centres of pixels).
        """
        hits = cast(self._origin_3, self._azimuth_A, self._slope_AE, boxes)
        a, e = np.nonzero(hits.box_AE >= 0)
        n, face, range_h = hits.box_AE[a, e], hits.face_AE[a, e], hits.range_h_AE[a, e]
        level = (self._origin_3[2] + self._slope_AE[a, e] * range_h) / boxes.size_N3[n, 2]
        glass = (face != ROOF) & (level > _GLASS[0]) & (level < _GLASS[1])
        light = _SHADE[face] * np.where(glass, np.float32(0.3), np.float32(1.0))
        image_HW3 = self._config.noise * rng.standard_normal(self._street_HW3.shape, dtype=np.float32)
        seen_HW3 = self._street_HW3.copy()
        seen_HW3[e, a] = self._through_haze(boxes.colour_N3[n] * light[:, None], range_h)
        image_HW3 += seen_HW3
        return SensorFrame(t_ns, np.clip(image_HW3 + 0.5, 0.0, 255.0).astype(np.uint8), meta=self._meta)

    def _draw_street(self) -> Floats:
        """The empty street, float32 (height, width, 3): asphalt with a texture fixed to the ground, and sky."""
        nobody = Boxes(
            np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.float32),
            np.zeros((0, 2), np.float32), np.zeros((0, 3), np.uint8),
        )  # fmt: skip
        hits = cast(self._origin_3, self._azimuth_A, self._slope_AE, nobody)
        sky_AE = hits.box_AE == NOTHING
        range_AE = np.where(sky_AE, np.float32(0.0), hits.range_h_AE)
        x_AE = self._origin_3[0] + range_AE * np.cos(self._azimuth_A)[:, None]
        y_AE = self._origin_3[1] + range_AE * np.sin(self._azimuth_A)[:, None]
        grain_AE = 0.85 + 0.3 * _hash_of_cell(x_AE / self._config.texture_m, y_AE / self._config.texture_m)
        street_AE3 = self._through_haze(_ASPHALT * grain_AE[..., None], range_AE)
        return np.where(sky_AE[..., None], _SKY, street_AE3).swapaxes(0, 1).astype(np.float32)

    def _through_haze(self, colour: Floats, range_h: Floats) -> Floats:
        """Blend colours (..., 3) with the sky's by distance (...)."""
        clear = np.exp(range_h / np.float32(-self._config.haze_m))[..., None]
        return np.asarray(_SKY + (colour - _SKY) * clear, dtype=np.float32)


def _hash_of_cell(x: Floats, y: Floats) -> Floats:
    """A number 0 to 1 that depends on the unit cell of (x, y) alone; integer hashing with large odd factors."""
    column, row = (np.floor(value).astype(np.int32).view(np.uint32) for value in (x, y))
    bits = column * np.uint32(374761393) + row * np.uint32(668265263)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(1274126177)
    return np.asarray(bits ^ (bits >> np.uint32(16)), np.float32) / np.float32(2**32)
