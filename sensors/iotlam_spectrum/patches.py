"""Patches of 8 bins x 8 columns: what is measured of each, and what the encoder sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import calibration
from iotlam.contracts import SensorFrame
from iotlam_spectrum.stft import BINS, HOP, MAX_COLUMNS, Spectrogram, spectrogram

Doubles = NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.complex128)
PATCH_BINS, PATCH_COLUMNS = 8, 8
BANDS, SLOTS = BINS // PATCH_BINS, MAX_COLUMNS // PATCH_COLUMNS
CHANNELS = ("log_power", "advance_re", "advance_im")
PATCH_SIZE = len(CHANNELS) * PATCH_BINS * PATCH_COLUMNS
CONTEXT = ("log_rate", "log_frequency", "tuned", "log_hops", "valid_share")
FEATURES = (
    "power", "peak", "power_swing", "frequency", "frequency_swing", "coherence", "level", "log_rate", "log_frequency",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patches:
    """T = time slots x 8 bands patches of one window; time runs slowest, bands from low to high.

    Attributes:
        features_TF: float64 (T, 9), by `FEATURES`.
        cells_TP: float32 (T, 192), `CHANNELS` x 8 columns x 8 bins; 0 where missing.
        context_TF: float32 (T, 5), by `CONTEXT`.
        valid_T: whether any sample of the patch is present.
        delay_T: seconds from a patch's end to the window's.
    """

    features_TF: Doubles
    cells_TP: NDArray[np.float32]
    context_TF: NDArray[np.float32]
    valid_T: NDArray[np.bool_]
    delay_T: Doubles


def cut_patches(frame: SensorFrame) -> Patches:
    """Cut one window of I/Q into patches.

    Raises:
        BadInput: if `rate_hz` or `centre_hz` is missing or no number.
    """
    rate_hz, centre_hz = float(calibration(frame, "rate_hz")), float(calibration(frame, "centre_hz"))
    heard = _whole_slots(spectrogram(frame))
    slots = len(heard.valid_C) // PATCH_COLUMNS
    valid_TC = np.repeat(heard.valid_C.reshape(slots, PATCH_COLUMNS), BANDS, axis=0)
    features_TF = _measure(heard, valid_TC)
    log_rate, log_frequency_B = np.log10(rate_hz) / 6.0 - 1.0, _log_frequency(rate_hz, centre_hz)
    features_TF[:, FEATURES.index("log_rate")] = log_rate
    features_TF[:, FEATURES.index("log_frequency")] = np.tile(log_frequency_B, slots)
    context_TF = np.empty((slots * BANDS, len(CONTEXT)), dtype=np.float32)
    context_TF[:, 0], context_TF[:, 1], context_TF[:, 2] = log_rate, np.tile(log_frequency_B, slots), centre_hz > 0.0
    context_TF[:, 3], context_TF[:, 4] = np.log2(heard.hops) / 8.0, valid_TC.mean(axis=1)
    end_L = heard.column_end(np.arange(slots) * PATCH_COLUMNS + PATCH_COLUMNS - 1)
    delay_T = np.repeat((heard.samples - end_L) / rate_hz, BANDS)
    return Patches(features_TF, _cells(heard), context_TF, np.asarray(valid_TC.any(axis=1)), delay_T)


def _whole_slots(heard: Spectrogram) -> Spectrogram:
    """The spectrogram with missing columns behind it, up to a whole number of patches."""
    behind = -len(heard.valid_C) % PATCH_COLUMNS
    return Spectrogram(
        power_CK=np.pad(heard.power_CK, ((0, behind), (0, 0))),
        advance_CK=np.pad(heard.advance_CK, ((0, behind), (0, 0))),
        valid_C=np.pad(heard.valid_C, (0, behind)),
        hops=heard.hops,
        level=heard.level,
        samples=heard.samples,
    )


def _measure(heard: Spectrogram, valid_TC: NDArray[np.bool_]) -> Doubles:
    """What physics says of each patch; powers in units of 20 dB over the floor.

    `power` is the mean and `peak` the greatest cell; `power_swing` and `frequency_swing` are standard deviations from
    column to column, the latter in bands: on-off keying moves the first, frequency shift keying the second.
    `frequency` is the mean instantaneous frequency in units of half the rate, drawn to the band's centre where there
    is only noise. `coherence` is 1 for a steady tone and near 0 for noise (pulse-pair, Zrnic 1979).
    `level` is the noise floor over full scale in units of 100 dB, the one feature that a gain changes.
    """
    power_TCK, advance_TCK = _by_patch(heard.power_CK), _by_patch(heard.advance_CK)
    count_T = np.maximum(valid_TC.sum(axis=1), 1)
    column_TC = power_TCK.mean(axis=2)
    log_TC = _decades(column_TC) * valid_TC
    mean_T = log_TC.sum(axis=1) / count_T
    swing_T = np.sqrt((((log_TC - mean_T[:, None]) ** 2) * valid_TC).sum(axis=1) / count_T)
    frequency_T, frequency_swing_T = _frequency(power_TCK, advance_TCK)
    pair_TCK = np.abs(advance_TCK)
    coherence_T = np.abs(advance_TCK.sum(axis=(1, 2))) / np.maximum(pair_TCK.sum(axis=(1, 2)), 1e-12)
    features_TF = np.zeros((len(mean_T), len(FEATURES)))
    features_TF[:, 0] = _decades(column_TC.sum(axis=1) / count_T)
    features_TF[:, 1] = _decades(power_TCK.max(axis=(1, 2)))
    features_TF[:, 2], features_TF[:, 3], features_TF[:, 4] = swing_T, 2.0 * frequency_T, BANDS * frequency_swing_T
    features_TF[:, 5], features_TF[:, 6] = coherence_T, np.log10(max(heard.level, 1e-30)) / 10.0
    return features_TF


def _frequency(power_TCK: Doubles, advance_TCK: NDArray[np.complex128]) -> tuple[Doubles, Doubles]:
    """Mean and column-to-column deviation of the instantaneous frequency of each patch, cycles per sample."""
    bin_TK = np.tile((np.arange(BINS) - BINS // 2).reshape(BANDS, PATCH_BINS) / BINS, (len(power_TCK) // BANDS, 1))
    offset_TCK = np.angle(advance_TCK * np.exp(-2j * np.pi * HOP * bin_TK)[:, None]) / (2.0 * np.pi * HOP)
    excess_TCK = np.maximum(np.abs(advance_TCK) - 5.0, 0.0)
    centre_T = bin_TK.mean(axis=1)
    moment_TC = (excess_TCK * (offset_TCK + bin_TK[:, None] - centre_T[:, None, None])).sum(axis=2)
    weight_TC = excess_TCK.sum(axis=2)
    total_T = weight_TC.sum(axis=1) + 10.0
    mean_T = moment_TC.sum(axis=1) / total_T
    away_TC = moment_TC / np.maximum(weight_TC, 1e-12) - mean_T[:, None]
    return centre_T + mean_T, np.sqrt((weight_TC * away_TC**2).sum(axis=1) / total_T)


def _cells(heard: Spectrogram) -> NDArray[np.float32]:
    """Log power and unit phase advance relative to the bin's own, the latter drawn to 0 near the floor."""
    bin_K = (np.arange(BINS) - BINS // 2) / BINS
    turned_CK = heard.advance_CK * np.exp(-2j * np.pi * HOP * bin_K)
    unit_CK = turned_CK / (np.abs(turned_CK) + 3.0)
    log_CK = _decades(heard.power_CK) * heard.valid_C[:, None]
    channels = [_by_patch(channel_CK) for channel_CK in (log_CK, unit_CK.real, unit_CK.imag)]
    return np.stack(channels, axis=1).reshape(-1, PATCH_SIZE).astype(np.float32)


def _by_patch(values_CK: NDArray[Number]) -> NDArray[Number]:
    """(C, 64) as (T, 8 columns, 8 bins)."""
    slots = len(values_CK) // PATCH_COLUMNS
    split = values_CK.reshape(slots, PATCH_COLUMNS, BANDS, PATCH_BINS).swapaxes(1, 2)
    return split.reshape(slots * BANDS, PATCH_COLUMNS, PATCH_BINS)


def _decades(ratio: Doubles) -> Doubles:
    """Power ratio in units of 20 dB, within -20 dB and 100 dB."""
    return np.asarray(np.log10(np.clip(ratio, 1e-2, 1e10)) / 2.0)


def _log_frequency(rate_hz: float, centre_hz: float) -> Doubles:
    """Absolute frequency of the bands' centres, (8,), decades above 100 MHz; 0 where the receiver's is unknown."""
    if centre_hz <= 0.0:
        return np.zeros(BANDS)
    band_hz = centre_hz + rate_hz * ((np.arange(BANDS) + 0.5) / BANDS - 0.5)
    return np.asarray(np.log10(np.maximum(band_hz, 1.0) / 1e8))
