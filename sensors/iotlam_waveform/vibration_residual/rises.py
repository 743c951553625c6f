"""What of a spectrum over orders was not there while the machine was sound.

A sound machine has lines of its own, and rings in its own way; what is left when they are taken away is what has come
since. Levels are compared as ratios, so that neither unit nor mounting of a sensor that stays where it is matters.

Shapes: W whitened and raw, K bands, F lines of a spectrum, L lines that are kept.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from iotlam_waveform.vibration_orders.lines import LEAST_ORDER, TINY, Doubles, Lines, Spectra, peaks, signal_peaks

ENVELOPE_RISES, SIGNAL_RISES = 64, 16
"""Of each axis, at most."""

APART, SLIP = 2, 0.01
"""How far to either side a line may have been: so many lines of the healthy spectrum or, where that is more, such a
share of its order, for slip differs, and how well the speed is known."""

FEATURES = (
    "is_signal", "white_rise", "raw_rise", "white_was", "raw_was", "depth_rise", "band", "band_louder",
    "louder", "reshaped", "kurtosis_rise", "faster", "turns", "turns_was", "low_order",
)  # fmt: skip
"""What a token says: which spectrum; by how much the line is clearer than it was, after whitening and before, and how
clear it was (nats); by how much it is deeper or, of the signal's own, larger (log); where its clearest band lies, and
by how much that is louder (log). Of the signal as a whole: how much louder it is, how differently its bands are louder,
how much its kurtosis has grown, how much faster the shaft turns (logs); how many turns are compared with how many
(logs); how low the order is."""


def find_rises(now: Spectra, healthy: Spectra) -> Lines:
    """Lines of the envelopes that have become clearest most, and the signal's own clearest lines.

    Args:
        now: spectra of one axis.
        healthy: of the same axis while the machine was sound, in the same bands.
    """
    louder_K = torch.log((now.level_K + TINY) / (healthy.level_K + TINY))
    common = np.array(
        [
            math.log(now.rms / healthy.rms),
            float((louder_K - louder_K.mean()).square().mean().sqrt()),
            math.log((now.kurtosis + TINY) / (healthy.kurtosis + TINY)),
            math.log(now.shaft_hz / healthy.shaft_hz),
            math.log10(now.turns / 30.0),
            math.log10(healthy.turns / 30.0),
        ]
    )
    found = [_of_envelopes(now, healthy, louder_K), _of_signal(now, healthy)]
    order_L = np.concatenate([order for order, _ in found])
    own_LF = np.concatenate([features for _, features in found])
    shared_LF = np.broadcast_to(common, (len(order_L), len(common)))
    return Lines(order_L, np.concatenate([own_LF, shared_LF, np.exp(-order_L)[:, None]], 1))


def _of_envelopes(now: Spectra, healthy: Spectra, louder_K: Tensor) -> tuple[Doubles, Doubles]:
    nats_WF, band_WF = now.nats_WKF.max(1)
    was_WF = _was(healthy.nats_WKF.amax(1), now, healthy)
    rise_WF = nats_WF[:, : was_WF.shape[1]] - was_WF[:, : nats_WF.shape[1]]
    at_L = peaks(rise_WF.sum(0), now.index(LEAST_ORDER), ENVELOPE_RISES)
    was_deep_L = _was(healthy.depth_WKF[:1].amax(1), now, healthy)[0, at_L]
    deeper_L = torch.log((now.depth_WKF[0, :, at_L].amax(0) + TINY) / (was_deep_L + TINY))
    columns = (
        torch.zeros(len(at_L)), *(rise_WF[:, at_L] / 3.0), *(was_WF[:, at_L] / 3.0), deeper_L,
        band_WF[0, at_L] / max(len(louder_K) - 1, 1), louder_K[band_WF[0, at_L]],
    )  # fmt: skip
    return at_L.double().numpy() / now.turns, torch.stack(columns, 1).double().numpy()


def _of_signal(now: Spectra, healthy: Spectra) -> tuple[Doubles, Doubles]:
    at_L = signal_peaks(now, SIGNAL_RISES)
    was_nats_F, was_mm_s_F = (_was(one[None], now, healthy)[0] for one in (healthy.signal_nats_F, healthy.velocity_F))
    at_L = at_L[at_L < len(was_nats_F)]
    rise_L = now.signal_nats_F[at_L] - was_nats_F[at_L]
    larger_L = torch.log((now.velocity_F[at_L] + TINY) / (was_mm_s_F[at_L] + TINY))
    zeros_L = torch.zeros(len(at_L))
    columns = (zeros_L + 1.0, zeros_L, rise_L / 3.0, zeros_L, was_nats_F[at_L] / 3.0, larger_L, zeros_L, zeros_L)
    return at_L.double().numpy() / now.turns, torch.stack(columns, 1).double().numpy()


def _was(healthy_WF: Tensor, now: Spectra, healthy: Spectra) -> Tensor:
    """The healthy spectrum's greatest about each of today's lines, which have other steps, as far up as it reaches."""
    steps = healthy.turns / now.turns
    top = healthy_WF.shape[1] - 1
    at_F = torch.arange(int(top / steps) + 1) * steps
    reach_F = (SLIP * at_F).clamp_min(APART)
    first_F, last_F = (torch.round(at_F + side).long().clamp(0, top) for side in (-reach_F, reach_F))
    return _greatest(healthy_WF, first_F, last_F)


def _greatest(values_WF: Tensor, first_L: Tensor, last_L: Tensor) -> Tensor:
    """The greatest from `first_L` to `last_L`, (W, L): of two stretches, as long as a power of two, that cover it."""
    power_L = torch.log2((last_L - first_L + 1).float()).floor().long()
    found_WL = values_WF.new_empty(len(values_WF), len(first_L))
    for power in range(int(power_L.max()) + 1):
        here_L = power_L == power
        ends_L = last_L[here_L] - 2**power + 1
        found_WL[:, here_L] = torch.maximum(values_WF[:, first_L[here_L]], values_WF[:, ends_L])
        values_WF = torch.maximum(values_WF[:, : -(2**power)], values_WF[:, 2**power :])
    return found_WL
