"""A spinning LiDAR on a pole: ranges and intensities of what its rays meet, the ground included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iotlam.contracts import SensorFrame
from iotlam_street.caster import cast
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


def scan(
    boxes: Boxes, pole_xyz: Floats, config: LidarConfig, rng: np.random.Generator, t_ns: int, sensor_name: str
) -> SensorFrame:
    """One sweep, taken at one instant.

    Args:
        boxes: what stands on the street.
        pole_xyz: place of the sensor, site coordinates, metres.
        config: geometry and noise.
        rng: source of range noise and dropout.
        t_ns: time of the sweep.
        sensor_name: `meta["sensor"]` of the frame.

    Returns:
        Frame with data float32 (returns, 4): x, y, z in metres and intensity 0 to 1. The sensor's axes are those of
        the site (x east, y north, z up), its origin the pole's head.

    Raises:
        BadInput: if the pole's head is not above the ground.
    """
    azimuth_A = np.linspace(0.0, 2.0 * np.pi, config.azimuths, endpoint=False, dtype=np.float32)
    rings_E = np.linspace(config.nearest_ground_m, config.farthest_ground_m, config.rings, dtype=np.float32)
    slope_E = -np.float32(pole_xyz[2]) / rings_E
    hits = cast(pole_xyz, azimuth_A, slope_E, boxes)
    slant_AE = hits.range_h_AE * np.sqrt(1.0 + slope_E * slope_E)
    kept_AE = (slant_AE < config.max_range_m) & (rng.random(slant_AE.shape, dtype=np.float32) >= config.dropout)
    a, e = np.nonzero(kept_AE)
    noise = np.float32(config.noise_m) * rng.standard_normal(len(a), dtype=np.float32)
    range_h = hits.range_h_AE[a, e] * (1.0 + noise / slant_AE[a, e])
    points_N4 = np.empty((len(a), 4), np.float32)
    points_N4[:, 0] = range_h * np.cos(azimuth_A)[a]
    points_N4[:, 1] = range_h * np.sin(azimuth_A)[a]
    points_N4[:, 2] = range_h * slope_E[e]
    points_N4[:, 3] = _reflectivity(boxes, config)[hits.box_AE[a, e]] * hits.cos_AE[a, e]
    pose = np.eye(4)
    pose[:3, 3] = pole_xyz
    return SensorFrame(t_ns, points_N4, meta={"sensor": sensor_name, "pose_site": pose})


def _reflectivity(boxes: Boxes, config: LidarConfig) -> Floats:
    """Reflectivity of each box, 0.3 (black) to 0.9 (white); the ground's comes last, at GROUND = -1."""
    lightness_N = boxes.colour_N3.mean(axis=1, dtype=np.float32) / 255.0
    return np.append(0.3 + 0.6 * lightness_N, config.ground_reflectivity).astype(np.float32)
