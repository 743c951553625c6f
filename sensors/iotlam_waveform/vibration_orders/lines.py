"""Lines of spectra over orders of the shaft: found, measured, and sorted by how far they stand out.

Shapes: W whitened and raw, K bands, F lines of a spectrum, L lines that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iotlam_waveform.envelope import Bands, modulation, squared_envelopes, surroundings

Doubles = NDArray[np.float64]

TOP_ORDER = 32.0
LEAST_ORDER = 0.2
SIGNAL_TOP_ORDER = 12.0
FEWEST_TURNS = 6.0
ENVELOPE_LINES, SIGNAL_LINES = 96, 24
"""Of each axis, at most."""

SURROUNDINGS_ORDERS = 1.0
FEWEST_SURROUNDING = 24
MOST_NATS = 7.0
TINY = 1e-9

FEATURES = (
    "is_signal", "white_clear", "white_depth", "white_bands", "raw_clear", "raw_depth", "raw_bands",
    "band", "level", "kurtosis", "turns", "low_order",
)  # fmt: skip
"""What a token says: which spectrum; how clear the line is (nats), how deep (log), in what share of the bands, after
whitening and before; where its clearest band lies; the signal's level and kurtosis (logs), how many turns were seen
(log), and how low the order is."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one axis: orders (L,) and features (L, len(FEATURES)), the clearest first."""

    order_L: Doubles
    features_LF: Doubles


@dataclass(frozen=True, slots=True)
class Spectra:
    """What one axis's spectra over orders of the shaft say of every order; envelopes' come whitened (W = 2), then raw.

    Line f lies at f / `turns` orders.

    Attributes:
        turns: of the shaft that were seen.
        nats_WKF: how clear the envelopes' lines are in each band.
        depth_WKF: how deep.
        level_K: root mean square of each band, m/s2.
        signal_nats_F: how clear the signal's own lines are.
        velocity_F: how large, as velocity, mm/s, which weighs orders alike.
        rms: of the signal, m/s2.
        kurtosis: of its samples; 3 for noise.
        shaft_hz: mean speed.
    """

    turns: float
    nats_WKF: Tensor
    depth_WKF: Tensor
    level_K: Tensor
    signal_nats_F: Tensor
    velocity_F: Tensor
    rms: float
    kurtosis: float
    shaft_hz: float

    def index(self, order: float) -> int:
        """The first line at an order or above, but the zeroth."""
        return max(int(np.ceil(order * self.turns)), 1)


def find_spectra(values_N: Tensor, rate_hz: float, speed_N: Doubles) -> Spectra | None:
    """The spectra of one axis; None of fewer turns than lines take.

    Args:
        values_N: float32 acceleration, m/s2.
        rate_hz: sample rate.
        speed_N: the shaft's speed at every sample, hertz.
    """
    turns = float(speed_N.sum() / rate_hz)
    if turns < FEWEST_TURNS:
        return None
    values_N = values_N - values_N.mean()
    rms = float(values_N.std()) + TINY
    kurtosis = float((values_N / rms).pow(4).mean())
    return Spectra(
        turns,
        *_of_envelopes(values_N, rate_hz, speed_N, turns),
        *_of_signal(values_N, speed_N, turns),
        rms,
        kurtosis,
        float(speed_N.mean()),
    )


def _of_envelopes(values_N: Tensor, rate_hz: float, speed_N: Doubles, turns: float) -> tuple[Tensor, Tensor, Tensor]:
    bands = Bands.of_rate(rate_hz)
    spectra = []
    for whiten in (True, False):
        envelopes = squared_envelopes(values_N[None], rate_hz, bands, whiten=whiten)
        tracked_KM = _tracked(envelopes.values_BKM[0], speed_N)
        spectra.append(modulation(tracked_KM[None])[0])
    depth_WKF = torch.stack(spectra)[..., : int(TOP_ORDER * turns) + 1]
    power_WKF = depth_WKF.square()
    nats_WKF = torch.log1p(power_WKF / surroundings(power_WKF, _width(turns))).clamp_max(MOST_NATS)
    return nats_WKF, depth_WKF, envelopes.level_BK[0]


def _of_signal(values_N: Tensor, speed_N: Doubles, turns: float) -> tuple[Tensor, Tensor]:
    tracked_N = _tracked(values_N[None], speed_N)[0]
    amplitude_F = torch.fft.rfft(tracked_N * torch.hann_window(len(tracked_N))).abs() * (4.0 / len(tracked_N))
    amplitude_F = amplitude_F[: int(SIGNAL_TOP_ORDER * turns) + 1]
    hertz_F = torch.arange(len(amplitude_F)) / turns * float(speed_N.mean())
    velocity_F = 1e3 * amplitude_F / (2.0 * torch.pi * hertz_F.clamp_min(1.0))
    power_F = velocity_F.square()[None]
    nats_F = torch.log1p(power_F / surroundings(power_F, _width(turns)))[0].clamp_max(MOST_NATS)
    return nats_F, velocity_F


def _width(turns: float) -> int:
    """Lines that make up the surroundings of one."""
    return max(round(SURROUNDINGS_ORDERS * turns), FEWEST_SURROUNDING)


def find_lines(values_N: Tensor, rate_hz: float, speed_N: Doubles) -> Lines:
    """The lines of one axis: of its envelopes, then of the signal itself; arguments as of `find_spectra`."""
    spectra = find_spectra(values_N, rate_hz, speed_N)
    if spectra is None:
        return Lines(np.zeros(0), np.zeros((0, len(FEATURES))))
    level, kurtosis = np.log10(spectra.rms) / 2.0, np.log(spectra.kurtosis + TINY) - np.log(3.0)
    common = np.array([level, kurtosis, np.log10(spectra.turns / 30.0)])
    found = [_envelope_lines(spectra), _signal_lines(spectra)]
    order_L = np.concatenate([order for order, _ in found])
    own_LF = np.concatenate([features for _, features in found])
    shared_LF = np.broadcast_to(common, (len(order_L), 3))
    low_L1 = np.exp(-order_L)[:, None]
    return Lines(order_L, np.concatenate([own_LF, shared_LF, low_L1], 1))


def _envelope_lines(spectra: Spectra) -> tuple[Doubles, Doubles]:
    nats_WKF = spectra.nats_WKF
    nats_WF, band_WF = nats_WKF.max(1)
    at_L = peaks(nats_WF.sum(0), spectra.index(LEAST_ORDER), ENVELOPE_LINES)
    depth_WL = spectra.depth_WKF.amax(1)[:, at_L].clamp_min(1e-3).log()
    share_WL = (nats_WKF[..., at_L] > 2.0).float().mean(1)
    band_L = band_WF[0, at_L].float() / max(nats_WKF.shape[1] - 1, 1)
    nats_WL = nats_WF[:, at_L]
    columns = (
        torch.zeros(len(at_L)), nats_WL[0] / 3.0, depth_WL[0] / 2.0, share_WL[0],
        nats_WL[1] / 3.0, depth_WL[1] / 2.0, share_WL[1], band_L,
    )  # fmt: skip
    return at_L.double().numpy() / spectra.turns, torch.stack(columns, 1).double().numpy()


def _signal_lines(spectra: Spectra) -> tuple[Doubles, Doubles]:
    """Harmonics of the shaft and what else is low."""
    nats_F = spectra.signal_nats_F
    at_L = signal_peaks(spectra, SIGNAL_LINES)
    zeros_L, ones_L = torch.zeros(len(at_L)), torch.ones(len(at_L))
    velocity_L = (spectra.velocity_F[at_L] + 1e-3).log10()
    columns = (ones_L, zeros_L, zeros_L, zeros_L, nats_F[at_L] / 3.0, velocity_L, zeros_L, zeros_L)
    return at_L.double().numpy() / spectra.turns, torch.stack(columns, 1).double().numpy()


def _tracked(values_KM: Tensor, speed_N: Doubles) -> Tensor:
    """Signals at even angles of the shaft instead of even times; as they are while the speed stands still."""
    if speed_N.max() <= speed_N.min() * (1.0 + 1.0 / len(speed_N) ** 0.5):
        return values_KM
    count = values_KM.shape[1]
    angle_N = np.concatenate([[0.0], np.cumsum((speed_N[1:] + speed_N[:-1]) / 2.0)])
    angle_M = np.interp(np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(angle_N)), angle_N)
    at_M = torch.from_numpy(np.interp(np.linspace(0.0, angle_M[-1], count), angle_M, np.arange(count))).float()
    left_M = at_M.floor().long().clamp_max(count - 2)
    share_M = at_M - left_M
    return values_KM[:, left_M] * (1.0 - share_M) + values_KM[:, left_M + 1] * share_M


def signal_peaks(spectra: Spectra, most: int) -> Tensor:
    """Indices of the signal's clearest lines; of those that are as clear as can be, the largest point."""
    nats_F, mm_s_F = spectra.signal_nats_F, spectra.velocity_F
    return peaks(nats_F + mm_s_F / (mm_s_F.max() + TINY), spectra.index(LEAST_ORDER), most)


def peaks(score_F: Tensor, first: int, most: int) -> Tensor:
    """Indices of the highest local maxima from `first` on, highest first."""
    inner_F = score_F[1:-1]
    is_peak_F = (inner_F >= score_F[:-2]) & (inner_F > score_F[2:])
    at_P = torch.nonzero(is_peak_F)[:, 0] + 1
    at_P = at_P[at_P >= first]
    best = score_F[at_P].argsort(descending=True, stable=True)[:most]
    return at_P[best]
