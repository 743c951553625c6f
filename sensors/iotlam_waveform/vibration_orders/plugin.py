"""The modality of vibration lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iotlam.blocks.window import one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_waveform.vibration.synthetic import sample_vibration
from iotlam_waveform.vibration_orders.lines import ENVELOPE_LINES, FEATURES, SIGNAL_LINES, find_lines
from iotlam_waveform.vibration_orders.places import ENVELOPE_Y, SIGNAL_Y, place_of
from iotlam_waveform.window import Doubles, stretches

NAME = "vibration_orders"
MOST_AXES = 32
FEWEST_VALID = 0.5
"""Share of an axis that must have been measured."""


class VibrationOrdersModality:
    """Lines of accelerometers over orders of the shaft: what stands out, where, and how far.

    Nothing is learnt, and nothing of the bearing is known: a model that asks about faults gives their orders as places
    (`places.place_of`), and looks at the lines that lie there. Without the shaft's speed there are no tokens.
    """

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window of any length; of more than four seconds the newest count.

        Args:
            frames: data float32 (samples, axes), m/s2; `shaft_hz` in the metadata.

        Raises:
            BadInput: if frames do not fit together, or a speed is none.
        """
        orders, features, times, valid = (
            [np.zeros(0)],
            [np.zeros((0, len(FEATURES)))],
            [np.zeros(0)],
            [np.zeros(0, bool)],
        )
        for stretch in stretches(frames, NAME, "shaft_hz"):
            if stretch.speed_N is None:
                continue
            for values_N, valid_N in zip(stretch.values_CN, stretch.valid_CN, strict=True):
                lines = find_lines(centred(values_N, valid_N), stretch.rate_hz, stretch.speed_N)
                orders.append(lines.order_L)
                features.append(lines.features_LF)
                times.append(np.full(len(lines.order_L), stretch.end_s))
                valid.append(np.full(len(lines.order_L), valid_N.mean() >= FEWEST_VALID))
        order_T, features_TF = np.concatenate(orders), np.concatenate(features)
        position_TX = places(order_T, features_TF[:, FEATURES.index("is_signal")] > 0.5)
        return one_batch(self.token_spec(), features_TF, np.concatenate(valid), np.concatenate(times), position_TX)

    def token_spec(self) -> TokenSpec:
        """Tokens of width 12 (`lines.FEATURES`), with positions in the plane of orders; 32 axes at most."""
        most = MOST_AXES * (ENVELOPE_LINES + SIGNAL_LINES)
        return TokenSpec(NAME, dim=len(FEATURES), max_tokens=most, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """A second of a simulated bearing on a shaft."""
        return [sample_vibration(seed)]


def centred(values_N: Doubles, valid_N: NDArray[np.bool_]) -> Tensor:
    """An axis, float32; with gaps less the mean of what was measured: beside an offset their zeros would be jolts."""
    if not valid_N.all() and valid_N.any():
        values_N = np.where(valid_N, values_N - values_N[valid_N].mean(), 0.0)
    return torch.from_numpy(values_N).float()


def places(order_T: Doubles, is_signal_T: NDArray[np.bool_]) -> Doubles:
    """Where lines lie in the plane of orders, (T, 2)."""
    return np.stack([place_of(order_T), np.where(is_signal_T, SIGNAL_Y, ENVELOPE_Y)], 1)
