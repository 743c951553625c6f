"""What repeats with the machine's own cycle: spectra over orders instead of hertz.

A bearing's faults return at fixed multiples of the shaft speed, a motor's at multiples of the supply frequency; sampled
evenly in the angle of that cycle they stand still whatever the speed (order tracking; Randall and Antoni, "Rolling
element bearing diagnostics: a tutorial", MSSP 25, 2011).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

STRETCHES = 3
BINS = 64
FEWEST_CYCLES = 4.0
NEIGHBOURS = 8  # bins on either side that make up the surroundings of a line
SPACINGS = 2  # points of the padded spectrum within a bin, at least


def squared_envelopes(values_CN: Doubles, rate_hz: float, bands_hz: tuple[tuple[float, float], ...]) -> Doubles:
    """Squared envelope of every signal in every band, over its mean and less one; float64 (C, bands, N).

    The spectrum is flattened first (cepstrum pre-whitening; Borghesani et al., MSSP 36, 2013): discrete tones of shaft
    and gears, strong and steady, go down to the level of the rest.
    """
    count = values_CN.shape[1]
    spectrum_CF = np.fft.rfft(values_CN)
    spectrum_CF /= np.abs(spectrum_CF) + 1e-12
    freq_F = np.fft.rfftfreq(count, 1.0 / rate_hz)
    one_sided = np.zeros((len(values_CN), len(bands_hz), count), np.complex128)
    for index, (low, high) in enumerate(bands_hz):
        one_sided[:, index, : len(freq_F)] = spectrum_CF * ((freq_F >= low) & (freq_F <= high))
    envelope = np.abs(np.fft.ifft(one_sided)) ** 2
    return np.asarray(envelope / (envelope.mean(-1, keepdims=True) + 1e-30) - 1.0)


def order_lines(values_SN: Doubles, cycles_N: Doubles, width: float) -> Doubles:
    """How far lines stand out at every order.

    Args:
        values_SN: float64, S signals of N samples.
        cycles_N: how many cycles have passed at each sample; must not decrease.
        width: of a bin, in orders.

    Returns:
        float64 (S, STRETCHES, BINS), log(1 + line / surroundings); bin i is the highest line within orders
        (i -+ 0.5) * width, its surroundings the median of the bins about it. Zeros where fewer than
        `FEWEST_CYCLES` cycles passed.
    """
    total = float(cycles_N[-1] - cycles_N[0])
    bins = STRETCHES * BINS
    if total < FEWEST_CYCLES:
        return np.zeros((len(values_SN), STRETCHES, BINS))
    count = values_SN.shape[1]
    even_N = np.linspace(cycles_N[0], cycles_N[-1], count)
    at_N = np.interp(even_N, cycles_N, np.arange(count))
    left_N = np.minimum(at_N.astype(np.intp), count - 2)
    share_N = at_N - left_N
    angular_SN = values_SN[:, left_N] * (1.0 - share_N) + values_SN[:, left_N + 1] * share_N
    padded = _padded(count, total, width)
    line_SF = np.abs(np.fft.rfft(angular_SN * np.hanning(count), padded))
    order_F = np.arange(line_SF.shape[1]) * ((count - 1) / (total * padded))
    edges = np.searchsorted(order_F, (np.arange(bins + 1) + 0.5) * width)
    line_SF = np.concatenate([line_SF, np.zeros((len(line_SF), max(int(edges[-1]) + 1 - line_SF.shape[1], 0)))], 1)
    highest_SI = np.maximum.reduceat(line_SF, edges, axis=1)[:, :bins]
    return np.log1p(highest_SI / _surroundings(highest_SI)).reshape(-1, STRETCHES, BINS)


def _padded(count: int, total: float, width: float) -> int:
    """Length to which the angular signal is padded so that every bin holds a few points of its spectrum."""
    wanted = max(count, int(np.ceil(SPACINGS * (count - 1) / (total * width))))
    return 1 << (wanted - 1).bit_length()


def _surroundings(lines_SI: Doubles) -> Doubles:
    wide_SI = np.pad(lines_SI, ((0, 0), (NEIGHBOURS, NEIGHBOURS)), mode="reflect")
    near = np.lib.stride_tricks.sliding_window_view(wide_SI, 2 * NEIGHBOURS + 1, axis=1)
    return np.asarray(np.median(near, axis=-1) + 1e-12 * (1.0 + lines_SI.max(-1, keepdims=True)))
