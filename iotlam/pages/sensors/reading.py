"""One reading of one modality with the bits of its tokens, and what kind of picture suits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import ModalityManifest, SensorFrame, TokenBatch
from iotlam.pages.sensors.streams import is_waveform

PANEL_IN, TALL_IN = 4.4, 3.4
"""Width and height of a picture, inches."""

Array = NDArray[Any]
Kind = Literal["picture", "points", "spectrogram", "waveform", "series", "map"]


@dataclass(frozen=True)
class Reading:
    """One window of a modality with its tokens and their bits.

    Attributes:
        manifest: of the modality.
        frames: the window.
        tokens: its tokens, B = 1.
        looked_T: indices of the tokens that bits are known of.
        bits_T: bits of each of those.
        paint: name of the modality's colour.
    """

    manifest: ModalityManifest
    frames: Sequence[SensorFrame]
    tokens: TokenBatch
    looked_T: Array
    bits_T: Array
    paint: str

    @property
    def of_one_sensor(self) -> list[SensorFrame]:
        """The readings of the first sensor, oldest first."""
        first = min(frame.sensor for frame in self.frames)
        return sorted((frame for frame in self.frames if frame.sensor == first), key=lambda frame: frame.t_ns)

    @property
    def newest(self) -> SensorFrame:
        """The last reading of the first sensor."""
        return self.of_one_sensor[-1]

    @property
    def now_ns(self) -> int:
        """Time of the newest reading; the times of tokens are relative to it."""
        return max(frame.t_ns for frame in self.frames)

    @property
    def time_T(self) -> Array:
        """Times of the tokens, seconds after now."""
        return np.asarray(self.tokens.time_BT[0].numpy()[self.looked_T])

    @property
    def place_TX(self) -> Array | None:
        """Places of the tokens, metres; None where they have none."""
        place_BTX = self.tokens.position_BTX
        return None if place_BTX is None else np.asarray(place_BTX[0].numpy()[self.looked_T])

    @property
    def quantity(self) -> str:
        """What an axis of values is called, with the unit."""
        return f"reading ({units})" if (units := units_in_words(self.manifest)) else "reading"


def kind_of(manifest: ModalityManifest) -> Kind:
    """What kind of picture suits the data of a modality: its manifest decides, never its name."""
    dims, shape = manifest.dims, manifest.shape
    if dims[:2] == ("row", "column") and (len(dims) == 2 or (len(dims) == 3 and shape[2] in (1, 3, 4))):
        return "picture"
    if dims[0] == "point" and manifest.units[:3] in (("m", "m", "m"), ("m",)):
        return "points"
    if is_waveform(manifest) and len(dims) <= 2:
        return "spectrogram" if manifest.dtype.startswith("complex") else "waveform"
    return "series" if len(dims) == 1 else "map"


def units_in_words(manifest: ModalityManifest) -> str:
    """The units of a modality as one writes them, each once; '' for a mere ratio."""
    units = dict.fromkeys(unit for unit in manifest.units if unit != "/")
    return ", ".join({"m/s2": "m/s²", "Cel": "°C"}.get(unit, unit) for unit in units)
