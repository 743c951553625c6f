"""Short-time Fourier transform of I/Q samples: power over the noise floor and phase advance, column by column.

Segments of 64 samples under a Hann window start every 16 samples. A column is one segment, or the mean over
several where a window is long (Welch, IEEE Trans. Audio Electroacoust. 1967), so that no window has more than 256
columns. Frequencies are relative to the rate: bin k lies at k / 64 cycles per sample, k = -32 ... 31.

The phase advance of a bin from one segment to the next tells the instantaneous frequency within the bin,
f = k / 64 + angle / (2 pi 16) (phase vocoder, Flanagan & Golden 1966). It is unambiguous over +-2 bins, which is
the main lobe of the Hann window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame

Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex64]
BINS, HOP, MAX_COLUMNS = 64, 16, 256
BLOCK_SEGMENTS = 4096
QUIET_QUANTILE = 0.25
FLOOR_UNDER_PEAK = 1e-9
_TINY = float(np.finfo(np.float32).tiny)
_WINDOW = (0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(BINS) + 0.5) / BINS)).astype(np.float32)
_WINDOW /= np.sqrt(np.sum(_WINDOW**2))


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """What a receiver heard in one window, C columns of K = 64 bins, lowest frequency first.

    Attributes:
        power_CK: float64, mean power of a bin over the noise floor.
        advance_CK: complex128, mean product of a bin with the conjugate of itself one hop earlier, over the floor;
            its angle is 2 pi 16 f, with f in cycles per sample.
        valid_C: whether any sample of the column is present.
        hops: segments averaged in a column.
        level: noise floor per bin over full scale, power ratio; 0 for silence.
        samples: length of the window.
    """

    power_CK: Doubles
    advance_CK: NDArray[np.complex128]
    valid_C: NDArray[np.bool_]
    hops: int
    level: float
    samples: int

    def column_end(self, column: NDArray[np.intp]) -> NDArray[np.intp]:
        """Number of the sample after a column's last one, within the window."""
        return np.minimum(((column + 1) * self.hops - 1) * HOP + BINS, self.samples)


def spectrogram(frame: SensorFrame) -> Spectrogram:
    """Transform one window of I/Q of any length from one sample on; missing samples count as silence."""
    samples_N, valid_N, scale = _without_missing(frame)
    segments = 1 + max(0, -(-(len(samples_N) - BINS) // HOP))
    hops = -(-segments // MAX_COLUMNS)
    columns = -(-segments // hops)
    # One hop of nothing in front: the first segment has no predecessor. Zeros behind fill the last column.
    padding = (HOP, (columns * hops - 1) * HOP + BINS - len(samples_N))
    samples_N, valid_N = np.pad(samples_N, padding), np.pad(valid_N, padding)
    parts = [_columns(samples_N, valid_N, hops, *span) for span in _blocks(columns, hops)]
    power_CK, advance_CK, valid_C, looks_CK = (np.concatenate(part) for part in zip(*parts, strict=True))
    floor = noise_floor(looks_CK[valid_C])
    return Spectrogram(
        power_CK=power_CK / (floor or 1.0),
        advance_CK=np.asarray(advance_CK / (floor or 1.0), dtype=np.complex128),
        valid_C=valid_C,
        hops=hops,
        level=floor * scale * scale,
        samples=len(frame.data),
    )


def noise_floor(looks_CK: NDArray[np.floating]) -> float:
    """Noise power per bin, from single periodograms; 0 where there is no power at all.

    The power of noise in a bin is exponentially distributed, so its lower quartile is -log(3/4) of its mean, and a
    lower quartile outlasts signals that fill up to half of the plane. Cells of no power (gated recordings) do not
    count, and the floor lies at most 90 dB under the peak, so that a signal without noise has a finite range.
    """
    positive = looks_CK[looks_CK > 0.0]
    if positive.size == 0:
        return 0.0
    quiet = np.quantile(positive, QUIET_QUANTILE) / -np.log1p(-QUIET_QUANTILE)
    return max(float(quiet), float(positive.max()) * FLOOR_UNDER_PEAK)


def _without_missing(frame: SensorFrame) -> tuple[Complexes, NDArray[np.bool_], float]:
    """Samples with their greatest part scaled to 1 and 0 for missing ones; which are present; the scale.

    Scaling keeps powers within float32 at any gain.
    """
    valid_N = np.isfinite(frame.data)
    if frame.mask is not None:
        valid_N &= frame.mask
    samples_N = np.where(valid_N, frame.data, np.complex64(0.0))
    parts = samples_N.view(np.float32)
    peak = float(np.abs(parts).max(initial=0.0))
    scale = peak if peak > 0.0 else 1.0
    return (parts / np.float32(scale)).view(np.complex64), valid_N, scale


def _blocks(columns: int, hops: int) -> list[tuple[int, int]]:
    """Spans of columns that are transformed together: long windows must not take memory in proportion."""
    step = max(1, BLOCK_SEGMENTS // hops)
    return [(start, min(start + step, columns)) for start in range(0, columns, step)]


def _columns(
    samples_N: Complexes, valid_N: NDArray[np.bool_], hops: int, start: int, stop: int
) -> tuple[NDArray[Any], ...]:
    """Mean power, mean advance and validity of columns start to stop; and the first periodogram of each."""
    first, last = start * hops, stop * hops  # with the hop in front, segment s has its predecessor at row s
    span = slice(first * HOP, last * HOP + BINS)
    cut = np.lib.stride_tricks.sliding_window_view
    valid_SW = cut(valid_N[span], BINS)[::HOP]
    weight_S = valid_SW @ (_WINDOW**2)
    spectrum_SK = np.fft.fft(cut(samples_N[span], BINS)[::HOP] * _WINDOW, axis=1)
    spectrum_SK *= (1.0 / np.sqrt(np.maximum(weight_S, _TINY)))[:, None]
    spectrum_SK = np.fft.fftshift(spectrum_SK, axes=1)
    power_SK = np.abs(spectrum_SK[1:]) ** 2
    # Segments are transformed from their own start, so the raw product already carries the whole phase of a hop.
    advance_SK = spectrum_SK[1:] * spectrum_SK[:-1].conj()
    valid_CH = (weight_S[1:] > 0.0).reshape(-1, hops)
    shape = (stop - start, hops, BINS)
    count_C1 = np.maximum(valid_CH.sum(axis=1), 1)[:, None]
    power_CHK = power_SK.reshape(shape)
    return (
        power_CHK.sum(axis=1, dtype=np.float64) / count_C1,
        advance_SK.reshape(shape).sum(axis=1, dtype=np.complex128) / count_C1,
        np.asarray(valid_CH.any(axis=1)),
        power_CHK[:, 0],
    )
