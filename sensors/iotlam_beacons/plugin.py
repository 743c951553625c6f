"""The beacon modality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotlam.blocks.window import age_s, latest_by_sensor, one_batch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec
from iotlam_beacons.messages import FEATURES, encode_messages, valid_rows
from iotlam_beacons.synthetic import sample_messages

MAX_TOKENS = 1024


class BeaconModality:
    """A token for each message that the latest frame of every receiver of a site holds."""

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window: one token per message; a single masked one where nobody speaks.

        Args:
            frames: data float32 (messages, 8), columns `messages.FIELDS`.

        Raises:
            BadInput: if there are no frames, a pose is missing, or there are more than 1024 messages.
        """
        latest = [frame for (frame,) in latest_by_sensor(frames, 1, "beacons")]
        valid = [valid_rows(frame) for frame in latest]
        encoded = [encode_messages(frame, valid_M) for frame, valid_M in zip(latest, valid, strict=True)]
        features, places, ages = (np.concatenate(parts) for parts in zip(*encoded, strict=True))
        frame_age = np.concatenate([np.full(len(v), age_s(f, frames)) for f, v in zip(latest, valid, strict=True)])
        spec, valid_T = self.token_spec(), np.concatenate(valid)
        if not len(valid_T):
            return one_batch(spec, np.zeros((1, spec.dim)), np.zeros(1, np.bool_), np.zeros(1), np.zeros((1, 2)))
        return one_batch(spec, features, valid_T, np.minimum(frame_age - ages, 0.0), places)

    def token_spec(self) -> TokenSpec:
        """Up to 1024 tokens of width 9 (`messages.FEATURES`), with positions."""
        return TokenSpec("beacons", dim=len(FEATURES), max_tokens=MAX_TOKENS, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """What a receiver hears of a street with a few connected vehicles."""
        return [sample_messages(seed)]
