"""A spinning LiDAR on a pole: ranges and intensities of what its rays meet, the ground included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iotlam.contracts import SensorFrame
from iotlam_street.caster import Fans
from iotlam_street.scene import Boxes, Floats


@dataclass(frozen=True, slots=True)
class LidarConfig:
    """A 16-ring LiDAR that looks down on a junction.

    Attributes:
        azimuths: rays per ring, evenly over the full circle.
        rings: number of elevations; on empty ground the rings are evenly spaced.
        nearest_ground_m, farthest_ground_m: radius of the first and last ring on empty ground.
        max_range_m: slant range beyond which nothing returns.
        noise_m: standard deviation of the range.
        dropout: share of returns that are lost.
        ground_reflectivity: of asphalt, 0 to 1.
    """

    azimuths: int = 360
    rings: int = 16
    nearest_ground_m: float = 4.0
    farthest_ground_m: float = 75.0
    max_range_m: float = 100.0
    noise_m: float = 0.03
    dropout: float = 0.02
    ground_reflectivity: float = 0.2


class Lidar:
    """A LiDAR that stays where it is.

    Args:
        place_3: place of the sensor, site coordinates, metres.
        name: `meta["sensor"]` of its frames.
        config: geometry and noise.

    Attributes:
        fans: its rays, a fan per azimuth.

    Raises:
        BadInput: if the sensor is not above the ground.
    """

    def __init__(self, place_3: Floats, name: str, config: LidarConfig | None = None) -> None:
        self._config = config = config or LidarConfig()
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
        slant_AE = hits.range_h_AE * self._slant_E
        kept_AE = (slant_AE < config.max_range_m) & (rng.random(slant_AE.shape, dtype=np.float32) >= config.dropout)
        kept_N = np.flatnonzero(kept_AE)
        noise_N = np.float32(config.noise_m) * rng.standard_normal(len(kept_N), dtype=np.float32)
        range_h_N = hits.range_h_AE.ravel()[kept_N] * (1.0 + noise_N / slant_AE.ravel()[kept_N])
        points_N4 = np.empty((len(kept_N), 4), np.float32)
        np.multiply(range_h_N[:, None], self._ray_R3[kept_N], out=points_N4[:, :3])
        reflectivity_N = _reflectivity(boxes, config)[hits.box_AE.ravel()[kept_N]]
        np.multiply(reflectivity_N, hits.cos_AE.ravel()[kept_N], out=points_N4[:, 3])
        return SensorFrame(t_ns, points_N4, meta=self._meta)


def _reflectivity(boxes: Boxes, config: LidarConfig) -> Floats:
    """Reflectivity of each box, 0.3 (black) to 0.9 (white); the ground's comes last, at GROUND = -1."""
    lightness_N = boxes.colour_N3.mean(axis=1, dtype=np.float32) / 255.0
    return np.append(0.3 + 0.6 * lightness_N, config.ground_reflectivity).astype(np.float32)
