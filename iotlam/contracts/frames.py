"""What a sensor delivers: one reading of one modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts.errors import BadInput


@dataclass(frozen=True, slots=True)
class SensorFrame:
    """One reading of one sensor.

    Attributes:
        t_ns: time of the reading in nanoseconds; one clock per site.
        data: the reading; shape, dtype and unit are those of the modality's manifest.
        mask: bool, shape = leading dimensions of `data`; False marks missing data. None: all valid.
        meta: calibration of the sensor. Spatial sensors give `sensor` (name) and `pose_site`
            (4 x 4, sensor to site coordinates, metres; site: x east, y north, z up). Further keys
            are named by the manifest under `meta`.

    Raises:
        BadInput: if the mask does not fit the data.
    """

    t_ns: int
    data: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask is not None and self.data.shape[: self.mask.ndim] != self.mask.shape:
            raise BadInput(
                "SensorFrame.mask",
                expected=f"the leading dimensions of data {self.data.shape}",
                got=f"shape {self.mask.shape}",
                fix="give one mask entry per item of data",
            )

    @property
    def sensor(self) -> str:
        """Name of the physical sensor, '' where the modality has only one."""
        return str(self.meta.get("sensor", ""))

    @property
    def pose_site(self) -> NDArray[np.float64]:
        """Sensor-to-site transform, (4, 4), metres; the identity where none is given."""
        pose = self.meta.get("pose_site")
        return np.eye(4) if pose is None else np.asarray(pose, dtype=np.float64)
