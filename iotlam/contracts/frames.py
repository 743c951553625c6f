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
        BadInput: if a field is not what it says here, or the mask does not fit the data.
    """

    t_ns: int
    data: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = type(self.t_ns) is int or isinstance(self.t_ns, np.integer)
        if not whole or abs(int(self.t_ns)) >= 2**62:
            raise _bad("t_ns", "whole nanoseconds, less than 2^62", repr(self.t_ns), "convert the time")
        if type(self.data) is not np.ndarray:
            raise _bad(
                "data", "a numpy array", type(self.data).__name__, "convert it; masked arrays need data and mask"
            )
        if not isinstance(self.meta, Mapping):
            raise _bad("meta", "a mapping", type(self.meta).__name__, "give a dict of the calibration")
        if self.mask is not None:
            self._check_mask(self.mask)

    def _check_mask(self, mask: NDArray[np.bool_]) -> None:
        if type(mask) is not np.ndarray or mask.dtype != np.bool_ or mask.ndim == 0:
            got = f"{getattr(mask, 'dtype', type(mask).__name__)}"
            raise _bad("mask", "an array of bool with a dimension or more", got, "convert the mask")
        if self.data.shape[: mask.ndim] != mask.shape:
            expected = f"the leading dimensions of data {self.data.shape}"
            raise _bad("mask", expected, f"shape {mask.shape}", "give one mask entry per item of data")

    @property
    def sensor(self) -> str:
        """Name of the physical sensor, '' where the modality has only one."""
        return str(self.meta.get("sensor", ""))

    @property
    def pose_site(self) -> NDArray[np.float64]:
        """Sensor-to-site transform, (4, 4), metres; the identity where none is given."""
        pose = self.meta.get("pose_site")
        return np.eye(4) if pose is None else np.asarray(pose, dtype=np.float64)


def _bad(name: str, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"SensorFrame.{name}", expected=expected, got=got, fix=fix)
