"""A small camera world: coloured rectangles that slide over textured ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import SensorFrame
from iotlam_video.calibration import CAMERA_IN_MOUNT
from iotlam_video.projection import ground_points

HEIGHT, WIDTH, FOCAL = 48, 64, 50.0


@dataclass(frozen=True, slots=True)
class Slab:
    """A rectangle on the ground, along the axes: middle, size (metres) and RGB."""

    centre_m: NDArray[np.float64]
    size_m: tuple[float, float]
    colour: NDArray[np.float64]


def camera_meta(yaw: float = 0.0, height_m: float = 6.0) -> dict[str, object]:
    """Calibration of a 48 x 64 camera at the site's origin, looking 20 degrees down."""
    pose = mounted_pose((0.0, 0.0, height_m), yaw, np.radians(20.0))
    pose[:3, :3] = pose[:3, :3] @ CAMERA_IN_MOUNT
    intrinsics = np.array([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    return {"sensor": "camera", "pose_site": pose, "intrinsics": intrinsics}


def render(slabs: list[Slab], t_ns: int, rng: np.random.Generator) -> SensorFrame:
    """Picture of slabs on grey ground under a bright sky, with sensor noise."""
    meta = camera_meta()
    row, column = np.indices((HEIGHT, WIDTH))
    pixel_P2 = np.stack([column.ravel(), row.ravel()], axis=1).astype(np.float64)
    ground_PX = ground_points(pixel_P2, np.asarray(meta["pose_site"]), np.asarray(meta["intrinsics"]))
    image_P3 = np.where(np.isnan(ground_PX[:, :1]), (170.0, 190.0, 220.0), (90.0, 90.0, 95.0))
    for slab in slabs:
        inside_P = (np.abs(ground_PX - slab.centre_m) <= np.divide(slab.size_m, 2.0)).all(axis=1)
        image_P3[inside_P] = slab.colour
    noisy_P3 = image_P3 + rng.normal(0.0, 2.0, image_P3.shape)
    data = np.clip(np.rint(noisy_P3), 0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
    return SensorFrame(t_ns=t_ns, data=data, meta=meta)


def sample_pair(seed: int) -> list[SensorFrame]:
    """Two pictures, a second apart, of two to five vehicles driving along x."""
    rng = np.random.default_rng(seed)
    frames = []
    place_N2 = rng.uniform((8.0, -8.0), (50.0, 8.0), (rng.integers(2, 6), 2))
    speed_N, colour_N3 = rng.uniform(-14.0, 14.0, len(place_N2)), rng.uniform(20.0, 240.0, (len(place_N2), 3))
    for second in (0, 1):
        moved_N2 = place_N2 + np.outer(speed_N * second, (1.0, 0.0))
        slabs = [Slab(centre, (4.5, 1.8), colour) for centre, colour in zip(moved_N2, colour_N3, strict=True)]
        frames.append(render(slabs, second * 1_000_000_000, rng))
    return frames
