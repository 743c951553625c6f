"""FMCW range-Doppler processing.

Signs: a target at range R, range rate v (positive: receding) and angle a (counter-clockwise of boresight)
gives, at sample time t within chirp c and receiver n,

    beat = exp(j 2 pi [2 R B t / (c_0 T) + 2 v c T_c / wavelength + n d sin(a) / wavelength]),

with B the bandwidth that the T seconds of one chirp's samples sweep, T_c the chirp period and d the spacing
(Richards, Fundamentals of Radar Signal Processing, 2nd ed., ch. 2 and 8). Beat frequencies are positive, so
all bins of the complex range transform are ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.blocks.geometry import calibration
from iotlam.contracts import BadInput, SensorFrame

Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex64]
LIGHT_M_S = 299_792_458.0
MAX_RANGE_M = 160.0
MIN_CUBE = (1, 4, 8)


@dataclass(frozen=True, slots=True)
class RangeDoppler:
    """What one radar sees.

    Attributes:
        spectrum_NVR: complex64, receivers x Doppler bins x range bins.
        rate_V: range rate of each Doppler bin, m/s, positive when receding.
        range_R: range of each range bin, metres, an even number of bins up to 160 m.
        present: False if every value of the cube is missing.
    """

    spectrum_NVR: Complexes
    rate_V: Doubles
    range_R: Doubles
    present: bool


def range_doppler(frame: SensorFrame) -> RangeDoppler:
    """Hann-windowed range and Doppler transforms of a cube; missing values count as silence.

    Raises:
        BadInput: if the cube is smaller than 1 x 4 x 8 or the calibration is missing or not positive.
    """
    if any(have < least for have, least in zip(frame.data.shape, MIN_CUBE, strict=True)):
        raise BadInput(
            f"Radar cube of sensor '{frame.sensor}'",
            expected="at least 1 receiver, 4 chirps, 8 samples",
            got=str(frame.data.shape),
            fix="record a longer frame",
        )
    range_R, rate_V = _axes(frame)
    cube_NCS, present = _without_missing(frame)
    _, chirps, samples = cube_NCS.shape
    in_range_NCR = np.fft.fft(cube_NCS * _hann(samples), axis=2)[:, :, : range_R.size]
    windowed_NRC = np.ascontiguousarray(in_range_NCR.swapaxes(1, 2)) * _hann(chirps)
    spectrum_NVR = np.fft.fft(windowed_NRC, axis=2).swapaxes(1, 2).astype(np.complex64, copy=False)
    return RangeDoppler(spectrum_NVR, rate_V, range_R, present)


def positive(frame: SensorFrame, key: str) -> float:
    """A positive number of the radar's calibration.

    Raises:
        BadInput: if it is missing or not positive.
    """
    value = float(calibration(frame, key))
    if value <= 0.0:
        raise BadInput(
            f"Calibration '{key}' of sensor '{frame.sensor}'",
            expected="a positive number",
            got=str(value),
            fix="correct SensorFrame.meta",
        )
    return value


def _axes(frame: SensorFrame) -> tuple[Doubles, Doubles]:
    """Ranges (R,) in metres and range rates (V,) in m/s of the bins."""
    _, chirps, samples = frame.data.shape
    bin_m = LIGHT_M_S / (2.0 * positive(frame, "bandwidth_hz"))
    bins = min(samples, int(MAX_RANGE_M / bin_m)) // 2 * 2
    if bins == 0:
        raise BadInput(
            f"Radar '{frame.sensor}'",
            expected="range bins shorter than 80 m",
            got=f"{bin_m:.0f} m",
            fix="correct bandwidth_hz",
        )
    wavelength_m = LIGHT_M_S / positive(frame, "carrier_hz")
    doppler_hz = np.fft.fftfreq(chirps, positive(frame, "chirp_period_s"))
    return np.arange(bins) * bin_m, np.asarray(doppler_hz * (wavelength_m / 2.0), dtype=np.float64)


def _without_missing(frame: SensorFrame) -> tuple[Complexes, bool]:
    """The cube, its greatest part scaled to 1, with 0 for missing values; and whether any value is present.

    Features are ratios of powers: scaling keeps them, and keeps powers within float32 at any gain.
    """
    present = np.isfinite(frame.data)
    if frame.mask is not None:
        present &= frame.mask.reshape(frame.mask.shape + (1,) * (3 - frame.mask.ndim))
    cube = np.ascontiguousarray(frame.data if present.all() else np.where(present, frame.data, np.complex64(0.0)))
    parts = cube.view(np.float32)
    peak = np.abs(parts).max()
    return (parts / (peak if peak > 0.0 else np.float32(1.0))).view(np.complex64), bool(present.any())


def _hann(length: int) -> NDArray[np.float32]:
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(length) + 0.5) / length)
    return np.asarray(window / np.sqrt(np.sum(window**2)), dtype=np.float32)
