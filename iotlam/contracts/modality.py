"""What a modality plugin is: a static manifest and at most four methods."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from iotlam.contracts.errors import BadInput
from iotlam.contracts.frames import SensorFrame
from iotlam.contracts.tokens import TokenBatch, TokenSpec

API_VERSION = 1
MANIFEST_NAME = "modality.toml"


@dataclass(frozen=True, slots=True)
class ModalityManifest:
    """The static description of a modality (`modality.toml`), read without importing the plugin.

    Attributes:
        name: name of the modality, the same as its entry point's.
        api_version: version of this contract that the plugin was written for.
        summary: one line for people.
        units: unit of `SensorFrame.data`.
        dtype: numpy dtype of the data.
        dims: names of the data's dimensions, in order.
        shape: length of each dimension; 0 where it varies.
        rate_hz: least and greatest rate of readings, hertz.
        clock: how `t_ns` is stamped.
        frame: coordinate frame of the data.
        value_range: least and greatest value that the sensor can give.
        missing: how missing data are marked.
        token_budget: the most tokens that one window may cost.
        licence: licence of the plugin.
        meta: keys that `SensorFrame.meta` must carry.
    """

    name: str
    api_version: int
    summary: str
    units: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    rate_hz: tuple[float, float]
    clock: str
    frame: str
    value_range: tuple[float, float]
    missing: str
    token_budget: int
    licence: str
    meta: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> ModalityManifest:
        """Read a manifest file.

        Raises:
            BadInput: if the file is missing, is no TOML, lacks a key or has an unknown one, or was
                written for another version of the contract.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadInput(
                f"Manifest {path}", expected="a readable TOML file", got=str(error), fix="write one beside the plugin"
            ) from error
        known = {field.name for field in fields(cls)}
        required = known - {"meta"}
        if missing := sorted(required - raw.keys()):
            raise _bad_key(path, f"the keys {', '.join(missing)}", "none of them", "add them")
        if unknown := sorted(raw.keys() - known):
            raise _bad_key(path, "only known keys", ", ".join(unknown), "remove or rename them")
        if raw["api_version"] != API_VERSION:
            raise _bad_key(path, f"api_version {API_VERSION}", str(raw["api_version"]), "install a matching plugin")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in raw.items()}
        return cls(**values)

    def check(self, frame: SensorFrame) -> None:
        """Compare a frame with the manifest: dtype, dimensions, metadata.

        Raises:
            BadInput: naming the field that does not fit.
        """
        subject = f"Frame of modality '{self.name}'"
        if str(frame.data.dtype) != self.dtype:
            raise BadInput(subject, expected=f"dtype {self.dtype}", got=str(frame.data.dtype), fix="convert the data")
        fits = frame.data.ndim == len(self.dims) and all(
            want in (0, have) for want, have in zip(self.shape, frame.data.shape, strict=True)
        )
        if not fits:
            named = ", ".join(f"{dim}={size or 'any'}" for dim, size in zip(self.dims, self.shape, strict=True))
            raise BadInput(subject, expected=f"shape ({named})", got=str(frame.data.shape), fix="reshape the data")
        if absent := [key for key in self.meta if key not in frame.meta]:
            wanted = f"meta {', '.join(self.meta)}"
            raise BadInput(subject, expected=wanted, got=f"no {', '.join(absent)}", fix="add the calibration")


def _bad_key(path: Path, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"Manifest {path}", expected=expected, got=got, fix=fix)


@runtime_checkable
class Modality(Protocol):
    """A plugin: turns frames of one modality into tokens. `reconstruct(tokens)` is optional."""

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode one window of one site (all sensors of the modality) as a batch of B = 1.

        Frames may come from several sensors (`frame.sensor`) and instants; the latest `t_ns` is now.
        """
        ...

    def token_spec(self) -> TokenSpec:
        """Width and number of the tokens."""
        ...

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One window of plausible data to try the plugin on."""
        ...


FramesByModality = Mapping[str, Sequence[SensorFrame]]
Json = dict[str, Any]
