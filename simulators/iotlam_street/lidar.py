"""A spinning LiDAR on a pole: ranges and intensities of what its rays meet, the ground included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam_street.caster import Fans
from iotlam_street.scene import Boxes, Floats
from iotlam_street.weather import CLEAR, Weather

Doubles = NDArray[np.float64]

_DROP_REFLECTIVITY = 0.005
"""Of a drop's cross-section, were it matt: the front of a sphere of water mirrors 2 % evenly all around."""
_DROPS_FROM_M, _DROPS_TO_M, _DROPS_STEP_M = 1.5, 30.0, 0.25
"""Where single drops are looked for: beyond the blind zone, and as far as any is bright enough."""
_WET_GROUND = 0.5
"""Light that wet ground returns, of what it returns dry."""


@dataclass(frozen=True, slots=True)
class LidarConfig:
    """A 24-ring LiDAR that looks down on a junction.

    Attributes:
        azimuths: rays per ring, evenly over the full circle.
        rings: number of elevations; on empty ground the rings are evenly spaced.
        nearest_ground_m, farthest_ground_m: radius of the first and last ring on empty ground.
        max_range_m: slant range beyond which nothing returns.
        noise_m: standard deviation of the range.
        dropout: share of returns that are lost.
        ground_reflectivity: of asphalt, 0 to 1.
        weakest_echo: least reflectivity, times the cosine of incidence, over the square of the range in metres, that is
            noticed in rain: a tenth at 220 m.
        beam_m, beam_rad: width of a beam where it leaves the sensor, and by how much it widens per metre.
    """

    azimuths: int = 360
    rings: int = 24
    nearest_ground_m: float = 4.0
    farthest_ground_m: float = 110.0
    max_range_m: float = 140.0
    noise_m: float = 0.03
    dropout: float = 0.02
    ground_reflectivity: float = 0.2
    weakest_echo: float = 2e-6
    beam_m: float = 0.01
    beam_rad: float = 3e-3


class Lidar:
    """A LiDAR that stays where it is.

    Args:
        place_3: place of the sensor, site coordinates, metres.
        name: `meta["sensor"]` of its frames.
        config: geometry and noise.
        weather: what is in its way.

    Attributes:
        fans: its rays, a fan per azimuth.

    Raises:
        BadInput: if the sensor is not above the ground.
    """

    def __init__(self, place_3: Floats, name: str, config: LidarConfig | None = None, weather: Weather = CLEAR) -> None:
        self._config, self._weather = config, weather = config or LidarConfig(), weather
        self._drop_chance_D, self._drop_range_D = _drops(config, weather)
        azimuth_A = np.linspace(0.0, 2.0 * np.pi, config.azimuths, endpoint=False, dtype=np.float32)
        rings_E = np.linspace(config.nearest_ground_m, config.farthest_ground_m, config.rings, dtype=np.float32)
        slope_E = -np.float32(place_3[2]) / rings_E
        self.fans = Fans(np.asarray(place_3)[None], azimuth_A, slope_E)
        self._slant_E = np.sqrt(1.0 + slope_E * slope_E)
        ray_AE3 = np.empty((config.azimuths, config.rings, 3), np.float32)
        ray_AE3[..., :2], ray_AE3[..., 2] = self.fans.direction_A2[:, None], slope_E
        self._ray_R3 = ray_AE3.reshape(-1, 3)
        pose = np.eye(4)
        pose[:3, 3] = place_3
        self._meta = {"sensor": name, "pose_site": pose}

    def scan(self, boxes: Boxes, t_ns: int, rng: np.random.Generator) -> SensorFrame:
        """One sweep, taken at one instant.

        Args:
            boxes: what stands on the street.
            t_ns: time of the sweep.
            rng: source of range noise and dropout.

        Returns:
            Frame with data float32 (returns, 4): x, y, z in metres and intensity 0 to 1. The sensor's axes are those
            of the site (x east, y north, z up), its origin the pole's head.
        """
        config = self._config
        hits = self.fans.cast(boxes)
        echo_AE = self._reflectivity(boxes)[hits.box_AE] * hits.cos_AE
        slant_AE = hits.range_h_AE * self._slant_E
        kept_AE = (slant_AE < config.max_range_m) & (rng.random(slant_AE.shape, dtype=np.float32) >= config.dropout)
        range_h_AE = hits.range_h_AE
        if self._weather.rain_mm_h > 0.0:
            kept_AE, slant_AE, echo_AE = self._in_rain(kept_AE, slant_AE, echo_AE, rng)
            range_h_AE = np.asarray(slant_AE / self._slant_E, np.float32)
        kept_N = np.flatnonzero(kept_AE)
        noise_N = np.float32(config.noise_m) * rng.standard_normal(len(kept_N), dtype=np.float32)
        range_h_N = range_h_AE.ravel()[kept_N] * (1.0 + noise_N / slant_AE.ravel()[kept_N])
        points_N4 = np.empty((len(kept_N), 4), np.float32)
        np.multiply(range_h_N[:, None], self._ray_R3[kept_N], out=points_N4[:, :3])
        points_N4[:, 3] = echo_AE.ravel()[kept_N]
        return SensorFrame(t_ns, points_N4, meta=self._meta)

    def _in_rain(
        self, kept_AE: NDArray[np.bool_], slant_AE: Floats, echo_AE: Floats, rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """Which rays return, from where and how strongly: rain weakens echoes, and near drops answer themselves.

        Beer and Lambert's law over the way there and back; drops bright enough for the sensor are met at random along
        the beam, and the strongest echo counts (Kilic et al., "Lidar light scattering augmentation", arXiv 2107.07004).
        """
        config, weather = self._config, self._weather
        chance_AE = rng.random(slant_AE.shape)
        drop_AE = np.interp(chance_AE, self._drop_chance_D, self._drop_range_D, right=2.0 * config.max_range_m)
        drop_mm_AE = _least_drop_mm(drop_AE, config) + weather.drop_mm * rng.standard_exponential(slant_AE.shape)
        filled_AE = np.minimum(drop_mm_AE / 1000.0 / _beam_m(drop_AE, config), 1.0)
        drop_power_AE = _DROP_REFLECTIVITY * (filled_AE / drop_AE) ** 2
        echo_AE = echo_AE * np.exp(-2.0 * np.float32(weather.extinction_per_m) * slant_AE)
        power_AE = echo_AE / slant_AE**2
        is_drop_AE = (drop_AE < slant_AE) & (drop_power_AE > power_AE)
        kept_AE = kept_AE & (is_drop_AE | (power_AE > config.weakest_echo))
        slant_AE = np.where(is_drop_AE, drop_AE, slant_AE).astype(np.float32)
        return kept_AE, slant_AE, np.where(is_drop_AE, drop_power_AE * drop_AE**2, echo_AE).astype(np.float32)

    def _reflectivity(self, boxes: Boxes) -> Floats:
        """Reflectivity of each box, 0.3 (black) to 0.9 (white); nothing's and the ground's come last, at -2 and -1."""
        lightness_N = boxes.colour_N3.mean(axis=1, dtype=np.float32) / 255.0
        ground = self._config.ground_reflectivity * (_WET_GROUND if self._weather.rain_mm_h > 0.0 else 1.0)
        return np.append(0.3 + 0.6 * lightness_N, [0.0, ground]).astype(np.float32)


def _drops(config: LidarConfig, weather: Weather) -> tuple[Doubles, Doubles]:
    """The chance that a beam meets a bright drop before each range, and the ranges, metres."""
    range_D = np.arange(_DROPS_FROM_M, _DROPS_TO_M, _DROPS_STEP_M)
    per_m_D = weather.drops_per_m3(_least_drop_mm(range_D, config)) * np.pi / 4.0 * _beam_m(range_D, config) ** 2
    return 1.0 - np.exp(-np.cumsum(per_m_D) * _DROPS_STEP_M), range_D


def _beam_m(range_D: Doubles, config: LidarConfig) -> Doubles:
    """Width of a beam at a range."""
    return config.beam_m + config.beam_rad * range_D


def _least_drop_mm(range_D: Doubles, config: LidarConfig) -> Doubles:
    """Diameter of the least drop that is noticed at a range."""
    return 1000.0 * _beam_m(range_D, config) * range_D * float(np.sqrt(config.weakest_echo / _DROP_REFLECTIVITY))
