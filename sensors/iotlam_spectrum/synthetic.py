"""A small radio world: bursts of data in noise, over several paths and off their frequency."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame

Complexes = NDArray[np.complex128]
SAMPLES = 4096
RATES_HZ = (2.5e5, 1e6, 2e6, 1e7)
CENTRES_HZ = (4.3392e8, 8.683e8, 1.09e9, 2.44e9)


def sample_bursts(seed: int, samples: int = SAMPLES) -> SensorFrame:
    """A window of one to four bursts, 0 to 35 dB above white noise, at a gain of its own.

    Args:
        seed: of everything that is drawn.
        samples: length of the window.
    """
    rng = np.random.default_rng(seed)
    heard_N = noise(rng, samples)
    for _ in range(rng.integers(1, 5)):
        length = int(rng.integers(samples // 8, samples // 2))
        start = int(rng.integers(0, samples - length))
        burst_N = KINDS[rng.integers(len(KINDS))](rng, length)
        burst_N = shifted(through_paths(burst_N, rng), rng.uniform(-0.4, 0.4))
        power = np.mean(np.abs(burst_N) ** 2)
        heard_N[start : start + length] += burst_N * np.sqrt(10.0 ** rng.uniform(0.0, 3.5) / power)
    gain = 10.0 ** rng.uniform(-3.5, -2.0)
    meta = {"sensor": "receiver", "rate_hz": float(rng.choice(RATES_HZ)), "centre_hz": float(rng.choice(CENTRES_HZ))}
    return SensorFrame(t_ns=0, data=(gain * heard_N).astype(np.complex64), meta=meta)


def noise(rng: np.random.Generator, length: int) -> Complexes:
    """Complex white noise of power 1."""
    return np.asarray((rng.standard_normal(length) + 1j * rng.standard_normal(length)) / np.sqrt(2.0))


def shifted(signal_N: Complexes, frequency: float) -> Complexes:
    """The signal moved up by a frequency in cycles per sample."""
    return np.asarray(signal_N * np.exp(2j * np.pi * frequency * np.arange(len(signal_N))))


def through_paths(signal_N: Complexes, rng: np.random.Generator) -> Complexes:
    """The signal after two to four paths of random delay (up to 8 samples) and falling strength."""
    taps_N = np.zeros(9, dtype=np.complex128)
    taps_N[0] = 1.0
    for strength in 0.5 ** np.arange(1, rng.integers(2, 5)):
        taps_N[rng.integers(1, 9)] += strength * np.exp(2j * np.pi * rng.random())
    return np.convolve(signal_N, taps_N)[: len(signal_N)]


def keyed(rng: np.random.Generator, length: int) -> Complexes:
    """On-off keying, 16 to 128 samples a bit."""
    bits_N = _symbols(rng, length, rng.integers(0, 2, length // 16 + 1))
    bits_N[: length // 16] = 1.0  # a burst of no ones at all would have no power
    return bits_N.astype(np.complex128)


def frequency_keyed(rng: np.random.Generator, length: int) -> Complexes:
    """Two-tone frequency shift keying of continuous phase, 16 to 128 samples a bit."""
    deviation = rng.uniform(0.01, 0.08)
    tones_N = deviation * (2.0 * _symbols(rng, length, rng.integers(0, 2, length // 16 + 1)) - 1.0)
    return np.asarray(np.exp(2j * np.pi * np.cumsum(tones_N)))


def chirp(rng: np.random.Generator, length: int) -> Complexes:
    """Linear sweeps one after another, as LoRa and FMCW send them."""
    period, width = int(rng.integers(64, 512)), rng.uniform(0.05, 0.3)
    frequency_N = width * ((np.arange(length) % period) / period - 0.5) * rng.choice((-1.0, 1.0))
    return np.asarray(np.exp(2j * np.pi * np.cumsum(frequency_N)))


def multicarrier(rng: np.random.Generator, length: int) -> Complexes:
    """OFDM-like: QPSK on 8 to 26 of 64 carriers, a quarter of each symbol repeated before it."""
    carriers = np.arange(-rng.integers(4, 14), rng.integers(4, 14))
    count = length // 80 + 1
    grid_SK = np.zeros((count, 64), dtype=np.complex128)
    grid_SK[:, carriers] = np.exp(0.5j * np.pi * rng.integers(0, 4, (count, len(carriers))))
    body_SN = np.fft.ifft(grid_SK, axis=1)
    return np.concatenate([body_SN[:, -16:], body_SN], axis=1).ravel()[:length]


KINDS: tuple[Callable[[np.random.Generator, int], Complexes], ...] = (keyed, frequency_keyed, chirp, multicarrier)


def _symbols(rng: np.random.Generator, length: int, values: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.repeat(values, int(rng.integers(16, 129)))[:length].astype(np.float64)
