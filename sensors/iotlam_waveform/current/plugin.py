"""The current modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.causal import running_mean
from iotlam.contracts import BadInput, SensorFrame
from iotlam_waveform.current.park import park_vector, supply_hz
from iotlam_waveform.current.synthetic import sample_current
from iotlam_waveform.files import read_recordings
from iotlam_waveform.files.recording import Quantity
from iotlam_waveform.modality import Lines, WaveformModality
from iotlam_waveform.window import Doubles, Stretch

PHASES = (1, 3)
QUANTITY = Quantity("current", "A", (500.0, 2e5))


class CurrentModality(WaveformModality):
    """Tokens of motor currents: every phase, with three the modulus of their Park vector, and their supply orders.

    Args:
        weights: other weights of the encoder.
    """

    name = "current"
    rate_hz = 2_000.0
    speed_key = "supply_hz"
    order_width = 0.05

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__(Path(__file__).parent, weights)

    def lines(self, stretch: Stretch) -> Lines:
        """The phases and, of three, the modulus less its mean so far: flat in a sound motor fed evenly."""
        if len(stretch.values_CN) not in PHASES:
            raise BadInput(
                "Modality 'current', data",
                expected="one phase or three",
                got=f"{len(stretch.values_CN)}",
                fix="give one frame a motor; leave out neutral and other columns",
            )
        phases_CM = self.at_common_rate(stretch.values_CN, stretch)
        valid_CM = self.held(stretch.valid_CN, stretch, phases_CM.shape[1])
        if len(phases_CM) == 1:
            return Lines(phases_CM, valid_CM, np.zeros(1, np.intp))
        modulus_1M = np.abs(park_vector(phases_CM.astype(np.float64)))[None]
        valid_1M = np.all(valid_CM, axis=0)[None]
        modulus_1M = np.where(valid_1M, modulus_1M - running_mean(modulus_1M, valid_1M), 0.0)
        values_LM = np.concatenate([phases_CM, modulus_1M.astype(np.float32)])
        return Lines(values_LM, np.concatenate([valid_CM, valid_1M]), np.array([0, 0, 0, 1]))

    def cyclic(self, stretch: Stretch, lines: Lines) -> tuple[Doubles, NDArray[np.intp], Doubles] | None:
        """All lines, and the supply's frequency: given, or that of the window."""
        values_LN = lines.values_LN.astype(np.float64)
        count = values_LN.shape[1]
        if stretch.speed_N is not None:
            speed_N = self.held(stretch.speed_N, stretch, count)
        else:
            speed_N = np.full(count, supply_hz(values_LN[lines.signal_L == 0], self.rate_hz))
        return values_LN, lines.signal_L, speed_N

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """A second of three simulated phases."""
        return [sample_current(seed)]


def read(path: Path) -> Iterator[SensorFrame]:
    """Frames of recorded currents: .mat (ITSC), .csv, .wav or .npz; README tells what each must say.

    Raises:
        BadInput: if the file cannot be read as such.
    """
    return read_recordings(path, QUANTITY)
