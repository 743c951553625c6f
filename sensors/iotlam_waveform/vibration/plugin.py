"""The vibration modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.causal import running_mean
from iotlam.contracts import SensorFrame
from iotlam_waveform.files import read_recordings
from iotlam_waveform.files.recording import Quantity
from iotlam_waveform.modality import Lines, WaveformModality
from iotlam_waveform.orders import squared_envelopes
from iotlam_waveform.vibration.synthetic import sample_vibration
from iotlam_waveform.window import Doubles, Stretch

QUANTITY = Quantity("vibration", "m/s2", (1e3, 2e5))
BANDS_HZ = ((500.0, 2000.0), (2000.0, 4900.0))


class VibrationModality(WaveformModality):
    """Tokens of accelerometers: waveform tokens of every axis and, with `shaft_hz`, the orders of its envelope.

    Args:
        weights: other weights of the encoder.
    """

    name = "vibration"
    rate_hz = 12_000.0
    speed_key = "shaft_hz"
    order_width = 0.1

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__(Path(__file__).parent, weights)

    def lines(self, stretch: Stretch) -> Lines:
        """Every axis, less its mean so far: gravity and offset say nothing of the machine."""
        mean_CN = running_mean(stretch.values_CN, stretch.valid_CN)
        values_CN = np.where(stretch.valid_CN, stretch.values_CN - mean_CN, 0.0)
        values_LM = self.at_common_rate(values_CN, stretch)
        valid_LM = self.held(stretch.valid_CN, stretch, values_LM.shape[1])
        return Lines(values_LM, valid_LM, np.zeros(len(values_LM), np.intp))

    def cyclic(self, stretch: Stretch, lines: Lines) -> tuple[Doubles, NDArray[np.intp], Doubles] | None:
        """The squared envelope of every axis in two bands, and the shaft's speed."""
        if stretch.speed_N is None:
            return None
        count = lines.values_LN.shape[1]
        envelopes = squared_envelopes(lines.values_LN.astype(np.float64), self.rate_hz, BANDS_HZ)
        signal_S = np.tile(np.arange(len(BANDS_HZ)) + 1, len(envelopes))
        return envelopes.reshape(-1, count), signal_S, self.held(stretch.speed_N, stretch, count)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """A second of a simulated bearing on a shaft."""
        return [sample_vibration(seed)]


def read(path: Path) -> Iterator[SensorFrame]:
    """Frames of a recorded vibration: .mat (CWRU), .csv, .wav or .npz; README tells what each must say.

    Raises:
        BadInput: if the file cannot be read as such.
    """
    return read_recordings(path, QUANTITY)
