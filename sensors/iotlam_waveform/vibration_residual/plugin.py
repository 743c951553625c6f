"""The modality of what vibration has gained since the machine was sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from iotlam.blocks.window import age_s, one_batch
from iotlam.contracts import BadInput, SensorFrame, TokenBatch, TokenSpec
from iotlam_waveform.vibration.synthetic import sample_vibration
from iotlam_waveform.vibration_orders.lines import Lines, Spectra, find_spectra
from iotlam_waveform.vibration_orders.plugin import FEWEST_VALID, MOST_AXES, centred, places
from iotlam_waveform.vibration_residual.rises import ENVELOPE_RISES, FEATURES, SIGNAL_RISES, find_rises
from iotlam_waveform.window import Stretch, stretches

NAME = "vibration_residual"
HEALTHY = "healthy"
"""Metadata of frames that are of the machine while it was sound: true."""

SAME_RATE = 0.01
"""Share by which the sample rate of both may differ."""


class VibrationResidualModality:
    """Lines of accelerometers over orders of the shaft, and how far they have risen since the machine was sound.

    A window holds frames as of `vibration_orders` and, of the same sensors, frames marked `healthy`, of any time
    before. Nothing is learnt and nothing of the bearing is known. Without healthy frames there are no tokens, and
    without the shaft's speed in both.
    """

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode a window of any length; of more than four seconds the newest count, and of the healthy frames.

        Args:
            frames: data float32 (samples, axes), m/s2; `shaft_hz` in the metadata, and `healthy` of those that are.

        Raises:
            BadInput: if frames do not fit together, a speed is none, or healthy ones have another rate or other axes.
        """
        now = [frame for frame in frames if not _is_healthy(frame)]
        healthy = [frame for frame in frames if _is_healthy(frame)]
        found = [one for pair in _pairs(now, healthy) for one in _rises(*pair)] if now and healthy else []
        order_T = np.concatenate([np.zeros(0), *(lines.order_L for lines, _ in found)])
        features_TF = np.concatenate([np.zeros((0, len(FEATURES))), *(lines.features_LF for lines, _ in found)])
        time_T = np.concatenate([np.zeros(0), *(np.full(len(lines.order_L), end_s) for lines, end_s in found)])
        is_signal_T = features_TF[:, FEATURES.index("is_signal")] > 0.5
        seen_T = np.ones(len(order_T), np.bool_)
        return one_batch(self.token_spec(), features_TF, seen_T, time_T, places(order_T, is_signal_T))

    def token_spec(self) -> TokenSpec:
        """Tokens of width 15 (`rises.FEATURES`), with positions in the plane of orders; 32 axes at most."""
        most = MOST_AXES * (ENVELOPE_RISES + SIGNAL_RISES)
        return TokenSpec(NAME, dim=len(FEATURES), max_tokens=most, positioned=True)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """A second of a simulated bearing on a shaft, and one of another that was sound."""
        now = sample_vibration(seed)
        sound = sample_vibration(seed + 1, rate_hz=float(now.meta["rate_hz"]), fault="none")
        return [replace(sound, t_ns=now.t_ns - 10**9, meta={**sound.meta, HEALTHY: True}), now]


def _is_healthy(frame: SensorFrame) -> bool:
    said = frame.meta.get(HEALTHY, False)
    if not isinstance(said, bool | np.bool_):
        subject = f"Modality '{NAME}', meta '{HEALTHY}' of sensor '{frame.sensor}'"
        raise BadInput(subject, expected="true or false", got=f"{said!r}"[:60], fix="correct it, or leave it out")
    return bool(said)


def _pairs(now: Sequence[SensorFrame], healthy: Sequence[SensorFrame]) -> Iterator[tuple[Stretch, Stretch]]:
    """Each sensor's stretch of today and of its past; sensors without a past are left out."""
    ages = {frame.sensor: age_s(frame, now) for frame in sorted(now, key=lambda frame: frame.t_ns)}
    for sensor in sorted({frame.sensor for frame in healthy} & ages.keys()):
        both = [[frame for frame in some if frame.sensor == sensor] for some in (now, healthy)]
        today, past = (stretches(some, NAME, "shaft_hz")[0] for some in both)
        _check_alike(sensor, today, past)
        yield replace(today, end_s=ages[sensor]), _at_rate(past, today.rate_hz)


def _at_rate(stretch: Stretch, rate_hz: float) -> Stretch:
    """As if it were sampled at a rate that differs little: its shaft turns as far from sample to sample."""
    speed_N = None if stretch.speed_N is None else stretch.speed_N * (rate_hz / stretch.rate_hz)
    return replace(stretch, rate_hz=rate_hz, speed_N=speed_N)


def _check_alike(sensor: str, today: Stretch, past: Stretch) -> None:
    kinds = [(round(one.rate_hz, 3), len(one.values_CN)) for one in (today, past)]
    if kinds[0][1] != kinds[1][1] or abs(kinds[1][0] / kinds[0][0] - 1.0) > SAME_RATE:
        raise BadInput(
            f"Modality '{NAME}', healthy frames of sensor '{sensor}'",
            expected=f"the rate and the axes of today's, {kinds[0][0]:g} Hz and {kinds[0][1]}",
            got=f"{kinds[1][0]:g} Hz and {kinds[1][1]}",
            fix="record alike, or leave the healthy frames out",
        )


def _rises(today: Stretch, past: Stretch) -> Iterator[tuple[Lines, float]]:
    """What has risen in every axis of which enough was measured, and when."""
    for now, healthy in zip(_spectra(today), _spectra(past), strict=True):
        if now and healthy:
            yield find_rises(now, healthy), today.end_s


def _spectra(stretch: Stretch) -> list[Spectra | None]:
    """Spectra of every axis; None where too little was measured, it does not vary, or the speed is not known."""
    if stretch.speed_N is None:
        return [None] * len(stretch.values_CN)
    return [
        find_spectra(centred(values_N, valid_N), stretch.rate_hz, stretch.speed_N)
        if valid_N.mean() >= FEWEST_VALID and np.ptp(values_N[valid_N]) > 0.0
        else None
        for values_N, valid_N in zip(stretch.values_CN, stretch.valid_CN, strict=True)
    ]
