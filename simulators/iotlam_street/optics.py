"""What weather, light and lens do to the picture that a perfect camera would take.

Letters: C cameras, H rows, W columns; 3 colours, 0 to 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam_street.caster import FRONT, REAR, BoxHits, Fans
from iotlam_street.scene import Floats
from iotlam_street.weather import Weather

SKY = np.array([150.0, 185.0, 225.0], np.float32)
_OVERCAST = np.array([165.0, 170.0, 176.0], np.float32)
_NIGHT_SKY = np.array([6.0, 7.0, 12.0], np.float32)
_HEADLIGHT = np.array([255.0, 250.0, 235.0], np.float32)
_TAIL_LIGHT = np.array([190.0, 25.0, 20.0], np.float32)
_LAMPS = (0.3, 0.6)
"""Part of a vehicle's height at which its lights sit; brighter than all else, they fill the pixels that see them."""
STREET_LAMPS = 0.12
"""Light of the night's street, of the day's as pictures show it, after the camera has opened its aperture."""
NIGHT_NOISE = 2.5
"""Noise of the night's gain, of the day's."""
WET_ASPHALT = 0.6
"""Light that wet asphalt returns, of that when dry (Lekner and Dorf, "Why some things are darker when wet", 1988)."""
_SUN_ELEVATION, _SATURATED_DEG = np.radians(5.0), 6.0
"""A low sun, and how far from it a pixel is still white."""
_STREAK_MM, _NEAREST_M, _FARTHEST_M, _EXPOSURE_S = 1.0, 0.3, 3.0, 0.01
"""Least drop that shows, where drops show one by one, and how long a picture is exposed."""


def sky_of(weather: Weather) -> Floats:
    """Colour of the sky."""
    return _NIGHT_SKY if weather.night else _OVERCAST if weather.rain_mm_h > 0.0 else SKY


def lit(colour_R3: Floats, hits: BoxHits, level_R: Floats) -> Floats:
    """Vehicles at night: street lamps on their paint, their own lights at front and rear."""
    lamps_R = (level_R > _LAMPS[0]) & (level_R < _LAMPS[1])
    night_R3 = STREET_LAMPS * colour_R3
    night_R3[lamps_R & (hits.face_R == FRONT)] = _HEADLIGHT
    night_R3[lamps_R & (hits.face_R == REAR)] = _TAIL_LIGHT
    return night_R3.astype(np.float32)


def glare(fans: Fans, sun_azimuth: float) -> Floats:
    """Light that a low sun scatters in the lens, for each ray (A, E).

    It falls with the square of the angle to the sun (Stiles and Holladay's law of disability glare, CIE 31-1976).
    """
    sun_2 = np.cos(_SUN_ELEVATION) * np.array([np.cos(sun_azimuth), np.sin(sun_azimuth)])
    along_AE = (fans.direction_A2 @ sun_2)[:, None] + fans.slope_AE * np.sin(_SUN_ELEVATION)
    angle_AE = np.degrees(np.arccos(np.clip(along_AE / np.sqrt(1.0 + fans.slope_AE**2), -1.0, 1.0)))
    return np.asarray(255.0 * (_SATURATED_DEG / np.maximum(angle_AE, _SATURATED_DEG)) ** 2, np.float32)


def blurred(image_CHW3: Floats, sigma_px: float) -> Floats:
    """The pictures under a Gaussian blur; what lies beyond their edges is like the edges."""
    reach = int(np.ceil(3.0 * sigma_px))
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    for axis in (1, 2):
        pad = [(reach, reach) if axis == other else (0, 0) for other in range(4)]
        padded = np.pad(image_CHW3, pad, mode="edge")
        shifted = (np.roll(padded, -step, axis) for step in range(len(weight)))
        total = sum(w * part for w, part in zip(weight / weight.sum(), shifted, strict=True))
        image_CHW3 = np.asarray(total, np.float32).take(np.arange(image_CHW3.shape[axis]), axis)
    return image_CHW3


def streaks(image_CHW3: Floats, weather: Weather, pixel_rad: float, rng: np.random.Generator) -> Floats:
    """The pictures with drops that fall close by: upright streaks as bright as the sky.

    A drop covers as much of a pixel as it is wide, for the rows that it falls through while the picture is exposed
    (Garg and Nayar, "Vision and rain", IJCV 75, 2007). Terminal speed: Atlas and Ulbrich, 1977, 3.78 D^0.67 m/s.
    """
    cameras, height, width, _ = image_CHW3.shape
    cone_sr = height * width * pixel_rad**2
    count = float(weather.drops_per_m3(np.array(_STREAK_MM))) * cone_sr * (_FARTHEST_M**3 - _NEAREST_M**3) / 3.0
    camera_D = np.repeat(np.arange(cameras), rng.poisson(count, cameras))
    away_D = np.cbrt(rng.uniform(_NEAREST_M**3, _FARTHEST_M**3, len(camera_D)))
    fall_m, drop_m = 3.78 * _STREAK_MM**0.67 * _EXPOSURE_S, _STREAK_MM / 1000.0
    rows = int(np.ceil(fall_m / _NEAREST_M / pixel_rad))
    row_DL = rng.integers(0, height, len(camera_D))[:, None] + np.arange(rows)
    shown_DL = (np.arange(rows) < fall_m / away_D[:, None] / pixel_rad) & (row_DL < height)
    pixel_DL = (camera_D[:, None] * height + row_DL) * width + rng.integers(0, width, len(camera_D))[:, None]
    cover_DL = np.broadcast_to(np.minimum(drop_m / away_D / pixel_rad, 1.0)[:, None], shown_DL.shape)
    cover = np.bincount(pixel_DL[shown_DL], cover_DL[shown_DL], cameras * height * width)
    cover_CHW1 = np.minimum(cover, 1.0).reshape(cameras, height, width, 1).astype(np.float32)
    return np.asarray(image_CHW3 + cover_CHW1 * (sky_of(weather) - image_CHW3), np.float32)


def uprights(values_AE: NDArray[np.float32], cameras: int) -> Floats:
    """Values of rays (A, E), a fan per column, as pictures (C, H, W, 1)."""
    return np.ascontiguousarray(values_AE.reshape(cameras, -1, values_AE.shape[1]).swapaxes(1, 2)[..., None])
