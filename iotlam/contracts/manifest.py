"""The static description of a modality, read without importing its plugin."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta

from iotlam.contracts.records import Record
from iotlam.contracts.units import UNITS

API_VERSION = 1
MANIFEST_NAME = "modality.toml"

Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=0)]


class ModalityManifest(Record, frozen=True):
    """What `modality.toml` says of a modality.

    Attributes:
        name: name of the modality, the same as its entry point's.
        api_version: version of this contract that the plugin was written for.
        summary: one line for people.
        units: unit of the data (`iotlam.contracts.UNITS`): one for all, or one for each entry of the last dimension.
        dtype: numpy dtype of the data.
        dims: names of the data's dimensions, in order.
        shape: length of each dimension; 0 where it varies.
        rate_hz: least and greatest sample rate, hertz: of the samples within a reading where `meta` has `rate_hz`
            (waveforms, I/Q), else of the readings of one sensor.
        clock: what `t_ns` counts on: `site`, the clock that all sensors of a site share; `utc`; or `device`, the
            sensor's own, which cannot be compared with others.
        stamp: which instant of a reading `t_ns` marks.
        frame: coordinate frame of the data, in words.
        value_range: least and greatest value that the sensor can give; of complex data, of its parts.
        missing: how missing data are marked: not at all, by `SensorFrame.mask`, or by the mask or any value that is
            not finite.
        token_budget: the most tokens that one window may cost.
        licence: SPDX identifier of the plugin's licence.
        meta: keys that `SensorFrame.meta` must carry, each with what it is and its unit.
        causal: whether a token depends on nothing that was measured after the token's time.
        latency_budget_ms: the most that one window may take to tokenise on one CPU thread, milliseconds.
        memory_budget_mb: the most memory that loading and one window may add, megabytes.
        files: suffixes of the files that `reader` reads, such as ".wav".
        reader: `package.module:function` that turns a path into frames; "" where there is none.
    """

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    api_version: Literal[1]
    summary: Annotated[str, Meta(min_length=1)]
    units: Annotated[tuple[str, ...], Meta(min_length=1)]
    dtype: Literal["uint8", "int8", "uint16", "int16", "int32", "float32", "float64", "complex64"]
    dims: Annotated[tuple[str, ...], Meta(min_length=1)]
    shape: tuple[Count, ...]
    rate_hz: tuple[Positive, Positive]
    clock: Literal["site", "utc", "device"]
    stamp: Literal["start", "middle", "end"]
    frame: Annotated[str, Meta(min_length=1)]
    value_range: tuple[float, float]
    missing: Literal["none", "mask", "nan"]
    token_budget: Annotated[int, Meta(ge=1)]
    licence: Annotated[str, Meta(min_length=1)]
    meta: dict[str, str] = {}
    causal: bool = False
    latency_budget_ms: Positive = 50.0
    memory_budget_mb: Positive = 100.0
    files: tuple[Annotated[str, Meta(pattern=r"^\.[a-z0-9.-]+$")], ...] = ()
    reader: Annotated[str, Meta(pattern=r"^([\w.]+:\w+)?$")] = ""

    def __post_init__(self) -> None:
        """Hold the fields against each other.

        Raises:
            ValueError: naming the field; `Record` makes a `BadInput` of it.
        """
        if len(self.dims) != len(self.shape):
            raise ValueError(f"shape of {len(self.shape)} lengths for {len(self.dims)} dims")
        if len(self.units) not in (1, self.shape[-1]):
            raise ValueError(f"{len(self.units)} units for {self.shape[-1] or 'any number of'} {self.dims[-1]}s")
        if unknown := [unit for unit in self.units if unit not in UNITS]:
            raise ValueError(f"units {', '.join(unknown)}, not among {', '.join(UNITS)}")
        for name in ("rate_hz", "value_range"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"{name} from {low} to {high}, expected finite numbers in order")
        if bool(self.files) != bool(self.reader):
            raise ValueError("files without a reader" if self.files else "reader without files")

    @property
    def rate_in_meta(self) -> bool:
        """Whether `rate_hz` is that of the samples within a reading, given in `SensorFrame.meta`."""
        return "rate_hz" in self.meta
