"""The sensors of one junction: a LiDAR over its centre, a camera and a radar per approach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.beacons import BeaconConfig, Receiver
from iotlam_street.camera import CameraConfig, Cameras, camera_pose
from iotlam_street.lidar import Lidar, LidarConfig
from iotlam_street.radar import RadarConfig, Radars, radar_pose
from iotlam_street.scene import Approach, Floats, Snapshot
from iotlam_street.weather import CLEAR, Weather

MEASURED = ("lidar", "video", "radar")
"""Modalities of which every rig has sensors for; the others are measured when asked for."""

SENSORS = {
    "lidar": "one LiDAR over the junction's centre, a sweep of now",
    "video": "one camera per approach, pictures of now and of the snapshot before",
    "radar": "one 77 GHz radar per approach, a frame of now",
    "beacons": "one receiver over the centre, the messages of connected vehicles that are valid now",
}
"""Modalities that a rig can measure, and with what."""


@dataclass(frozen=True, slots=True)
class RigConfig:
    """Where the sensors hang and what they are.

    Attributes:
        lidar_height_m: height of the LiDAR, hung from a cable over the junction's centre.
        camera_height_m, radar_height_m: heights on the mast on the far side of the junction.
        mast_m: distance of the mast beyond the stop line.
        mast_right_m: how far right of the approach's axis, in the direction of travel, the camera hangs.
        aim_m: distance upstream of the stop line of the point on the axis that camera and radar look at.
        lidar, camera, radar, beacons: the sensors themselves.
    """

    lidar_height_m: float = 6.0
    camera_height_m: float = 6.0
    radar_height_m: float = 5.0
    mast_m: float = 14.0
    mast_right_m: float = 1.0
    aim_m: float = 30.0
    lidar: LidarConfig = field(default_factory=LidarConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    radar: RadarConfig = field(default_factory=RadarConfig)
    beacons: BeaconConfig = field(default_factory=BeaconConfig)


class SensorRig:
    """All sensors of one junction.

    Args:
        approaches: roads that enter the junction; each gets a camera `camera/<name>` and a radar `radar/<name>`.
        config: places and sensors.
        weather: what is in the sensors' way.

    Attributes:
        lidar, cameras, radars, receiver: the sensors.
    """

    def __init__(
        self, approaches: Sequence[Approach], config: RigConfig | None = None, weather: Weather = CLEAR
    ) -> None:
        self._config = config = config or RigConfig()
        masts = {approach.name: self._mast(approach) for approach in approaches}
        over_centre_3 = np.array([0.0, 0.0, config.lidar_height_m], np.float32)
        self.lidar = Lidar(over_centre_3, "lidar", config.lidar, weather)
        self.receiver = Receiver(over_centre_3, "v2x", config.beacons)
        self.cameras = Cameras(
            {
                f"camera/{name}": camera_pose(np.append(mast_2, config.camera_height_m), yaw)
                for name, (mast_2, yaw) in masts.items()
            },
            config.camera,
            weather,
        )
        self.radars = Radars(
            {
                f"radar/{name}": radar_pose(np.append(mast_2, config.radar_height_m), yaw)
                for name, (mast_2, yaw) in masts.items()
            },
            config.radar,
            weather,
        )

    def sense(
        self,
        snapshots: Sequence[Snapshot],
        rng: np.random.Generator,
        modalities: Sequence[str] = MEASURED,
    ) -> dict[str, list[SensorFrame]]:
        """Measure the street.

        Args:
            snapshots: the street at successive instants, oldest first; the last is now. Cameras take the last two,
                all others the last.
            rng: source of all noise; the same generator state gives the same frames.
            modalities: names among `SENSORS`.

        Returns:
            The frames of each modality asked for; video frames are ordered by instant, then by approach.

        Raises:
            BadInput: if a modality is unknown or there is no snapshot.
        """
        if unknown := sorted(set(modalities) - SENSORS.keys()):
            raise BadInput("Modalities of the street", expected=f"names among {', '.join(SENSORS)}",
                           got=", ".join(unknown), fix="leave the others out")  # fmt: skip
        if not snapshots:
            raise BadInput("Snapshots", expected="at least one", got="none", fix="step the street before sensing")
        measure = {"lidar": self._sweep, "video": self._film, "radar": self._listen, "beacons": self._hear}
        return {modality: measure[modality](snapshots, rng) for modality in modalities}

    def _sweep(self, snapshots: Sequence[Snapshot], rng: np.random.Generator) -> list[SensorFrame]:
        now = snapshots[-1]
        return [self.lidar.scan(now.boxes, now.t_ns, rng)]

    def _film(self, snapshots: Sequence[Snapshot], rng: np.random.Generator) -> list[SensorFrame]:
        return [frame for shot in snapshots[-2:] for frame in self.cameras.render(shot.boxes, shot.t_ns, rng)]

    def _listen(self, snapshots: Sequence[Snapshot], rng: np.random.Generator) -> list[SensorFrame]:
        now = snapshots[-1]
        return self.radars.observe(now.boxes, now.t_ns, rng)

    def _hear(self, snapshots: Sequence[Snapshot], rng: np.random.Generator) -> list[SensorFrame]:
        now = snapshots[-1]
        return [self.receiver.hear(now.boxes, now.t_ns, rng)]

    def _mast(self, approach: Approach) -> tuple[Floats, float]:
        """Place of the mast's head on the ground plane, (2,), and the direction in which its sensors look."""
        travel_2 = np.array([np.cos(approach.heading), np.sin(approach.heading)])
        right_2 = np.array([travel_2[1], -travel_2[0]])
        config = self._config
        mast_2 = approach.stop_2 + config.mast_m * travel_2 + config.mast_right_m * right_2
        gaze_2 = approach.stop_2 - config.aim_m * travel_2 - mast_2
        return mast_2.astype(np.float32), float(np.arctan2(gaze_2[1], gaze_2[0]))
