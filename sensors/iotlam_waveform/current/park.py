"""Three phases as one rotating vector (Park's vector; Cardoso et al., IEEE Trans. Ind. Appl. 35, 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def park_vector(phases_3N: Doubles) -> NDArray[np.complex128]:
    """The rotating vector (N,): of even sinusoids it runs on a circle of their amplitude."""
    a_N, b_N, c_N = phases_3N
    return np.asarray((2.0 * a_N - b_N - c_N) / 3.0 + 1j * (b_N - c_N) / np.sqrt(3.0))


def supply_hz(phases_CN: Doubles, rate_hz: float) -> float:
    """Frequency of the strongest wave of one phase or three, hertz; 0 where there is no current.

    The peak of the windowed spectrum, refined by a parabola through the logarithms about it.
    """
    count = phases_CN.shape[1]
    vector_N = park_vector(phases_CN) if len(phases_CN) == 3 else phases_CN[0]
    spectrum_F = np.fft.fft((vector_N - vector_N.mean()) * np.hanning(count))
    power_F = np.abs(spectrum_F[1 : count // 2]) ** 2 + np.abs(spectrum_F[: -(count // 2) : -1]) ** 2
    if power_F.size < 3 or power_F.max() < 1e-12:
        return 0.0
    peak = int(np.clip(power_F.argmax(), 1, power_F.size - 2))
    before, at, after = np.log(power_F[peak - 1 : peak + 2] + 1e-30)
    curve = before - 2.0 * at + after
    shift = 0.0 if curve >= 0.0 else float(np.clip(0.5 * (before - after) / curve, -0.5, 0.5))
    return float((peak + 1 + shift) * rate_hz / count)
