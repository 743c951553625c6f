"""Range tokens: Doppler bands, angle and motion of two neighbouring range bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import site_pose
from iotlam.contracts import SensorFrame
from iotlam_radar.fmcw import RangeDoppler

Doubles = NDArray[np.float64]
STATIC_M_S = 0.5
BIN_FEATURES = ("approaching", "static", "receding", "phase_re", "phase_im")
FEATURES = (
    *(f"near_{name}" for name in BIN_FEATURES), *(f"far_{name}" for name in BIN_FEATURES),
    "moving_rate", "moving_phase_re", "moving_phase_im", "log_range",
)  # fmt: skip


def encode_ranges(seen: RangeDoppler) -> Doubles:
    """Encode a range-Doppler map as float64 (T, 14), T = half the range bins, nearest first.

    Powers are peaks of a Doppler band over the map's median, in units of 20 dB. `phase` is the lag-1
    product of neighbouring receivers over all Doppler bins by their power: its length is the coherence,
    its angle 2 pi spacing sin(a) / wavelength (pulse-pair, Zrnic 1979). `moving` is taken over both bins
    and the two moving bands alone; the rate is the power-weighted mean in units of 10 m/s, drawn to 0 near the floor.
    """
    power_VR = (np.abs(seen.spectrum_NVR) ** 2).mean(axis=0).astype(np.float64)
    floor = max(float(np.median(power_VR)), float(np.finfo(np.float32).tiny))
    lag_VR = (seen.spectrum_NVR[1:] * seen.spectrum_NVR[:-1].conj()).sum(axis=0)
    pair_VR = _pair_power(seen)
    approaching_V, static_V, receding_V = bands = doppler_bands(seen.rate_V)
    band_R3 = np.stack([_decades(power_VR[band_V].max(axis=0, initial=0.0) / floor) for band_V in bands], axis=1)
    phase_R2 = _phase(lag_VR.sum(axis=0), pair_VR.sum(axis=0))
    per_token = np.concatenate([band_R3, phase_R2], axis=1).reshape(-1, 2 * len(BIN_FEATURES))
    moving_V = approaching_V | receding_V
    excess_VT = np.maximum(_by_two(power_VR) - 5.0 * floor, 0.0)[moving_V]
    total_T = excess_VT.sum(axis=0)
    rate_T = (seen.rate_V[moving_V, None] * excess_VT).sum(axis=0) / (total_T + 10.0 * floor) / 10.0
    moving_T2 = _phase(_by_two(lag_VR)[moving_V].sum(axis=0), _by_two(pair_VR)[moving_V].sum(axis=0))
    log_range_T = np.log10(seen.range_R[1::2] + 1.0) - 1.0
    return np.column_stack([per_token, rate_T, moving_T2, log_range_T])


def doppler_bands(rate_V: Doubles) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which Doppler bins approach, stand and recede.

    The static band is +-0.5 m/s, or +-1.5 bins where that is wider: what stands fills three Hann bins.
    """
    edge = max(STATIC_M_S, 1.5 * float(np.min(np.abs(rate_V[1:]))))
    return rate_V < -edge, np.abs(rate_V) <= edge, rate_V > edge


def token_places(frame: SensorFrame, seen: RangeDoppler) -> Doubles:
    """Ground position of each token, (T, 2), site metres: its range along boresight, seen from the mount's height."""
    pose = site_pose(frame)
    boresight_2 = pose[:2, 0] / max(float(np.hypot(*pose[:2, 0])), 1e-9)
    range_T = seen.range_R.reshape(-1, 2).mean(axis=1)
    along_T = np.sqrt(np.maximum(range_T**2 - pose[2, 3] ** 2, 0.0))
    return np.asarray(pose[:2, 3] + along_T[:, None] * boresight_2)


def _pair_power(seen: RangeDoppler) -> Doubles:
    power_NVR = np.abs(seen.spectrum_NVR) ** 2
    return np.asarray((power_NVR[1:] + power_NVR[:-1]).sum(axis=0, dtype=np.float64) / 2.0)


def _by_two(values_VR: NDArray[np.inexact[Any]]) -> NDArray[np.inexact[Any]]:
    return np.asarray(values_VR.reshape(len(values_VR), -1, 2).sum(axis=2))


def _decades(ratio: Doubles) -> Doubles:
    """Power ratio in units of 20 dB, within -20 dB and 120 dB."""
    return np.asarray(np.log10(np.clip(ratio, 1e-2, 1e12)) / 2.0)


def _phase(product: NDArray[np.inexact[Any]], power: NDArray[np.inexact[Any]]) -> Doubles:
    unit = product / np.maximum(power, np.finfo(np.float32).tiny)
    return np.stack([unit.real, unit.imag], axis=1).astype(np.float64)
