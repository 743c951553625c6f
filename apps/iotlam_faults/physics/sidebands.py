"""Sidebands of the motor's current: what shakes the air gap or the torque, read as pairs of lines about the supply's.

A rhythm of the shaft or of a damaged bearing modulates the current: lines at the supply's frequency plus and minus its
own (Schoen et al., IEEE Trans. Ind. Appl. 31, 1995; Bellini et al., IEEE Trans. Ind. Electron. 55, 2008). Bearings are
weak in the current: a pair here confirms what vibration says, its absence says nothing. Shorted turns make the phases
uneven.

Shapes: N samples of P phases, F lines of a spectrum, T places that are tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam.contracts import BadInput
from iotlam_machine.bearings import SLIP, FaultOrders
from iotlam_waveform.current.park import supply_hz
from iotlam_waveform.envelope import squared, surroundings

SPEED_WITHIN = 0.002
"""Share by which the shaft's own line may be off its stated speed."""

SUPPLY_WITHIN_HZ = 1.0
"""Lines this near to a multiple of the supply's frequency are the supply's own."""

SHAFT_WIDTH, SHAFT_LINES = 0.012, 3.0
"""Orders, or spectral lines where those are wider: so near to a multiple of its speed what stands is the shaft's."""

SURROUNDINGS_HZ = 8.0
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Sideband:
    """A pair of sidebands.

    Attributes:
        hz: distance of both from the supply's frequency.
        depth: of the modulation, as a share of the amplitude.
        nats: log of the weaker one's amplitude over its surroundings'.
    """

    hz: float
    depth: float
    nats: float


@dataclass(frozen=True, slots=True)
class CurrentLines:
    """What a motor's current tells.

    Attributes:
        supply_hz: frequency of the supply.
        lines: pairs by name: `shaft`, `outer`, `inner`, `ball`, `cage`; those beyond half the sample rate, and those
            that fall on the supply's own harmonics or the shaft's, are left out.
        uneven: greatest deviation of a phase's fundamental from their mean, as a share; 0 for a single phase.
    """

    supply_hz: float
    lines: dict[str, Sideband]
    uneven: float


def current_lines(current_NP: Tensor, rate_hz: float, shaft_hz: float, orders: FaultOrders | None) -> CurrentLines:
    """Read the sidebands of shaft and bearing.

    Args:
        current_NP: ampere, float32, one phase or several, ten seconds or so.
        rate_hz: sample rate.
        shaft_hz: speed of the shaft.
        orders: of the bearing, None where it is not known.

    Raises:
        BadInput: if no current flows.
    """
    count = len(current_NP)
    centred_PN = (current_NP - current_NP.mean(0)).T
    fundamental_hz = supply_hz(centred_PN.double().numpy(), rate_hz)
    if fundamental_hz <= 0.0:
        raise BadInput("Motor current", expected="a current that flows", got="none", fix="check clamps and channel")
    step_hz = rate_hz / count
    power_PF = squared(torch.fft.rfft(centred_PN * torch.hann_window(count)))
    amplitude_F = power_PF.sum(0).sqrt()
    around_F = surroundings(amplitude_F.square()[None], max(round(SURROUNDINGS_HZ / step_hz), 8))[0].sqrt()
    by_order = {"shaft": 1.0}
    if orders is not None:
        by_order |= {"outer": orders.outer, "inner": orders.inner, "ball": 2.0 * orders.ball, "cage": orders.cage}
    carrier, own = fundamental_hz / step_hz, shaft_hz / step_hz
    lines: dict[str, Sideband] = {}
    for name, order in by_order.items():
        apart_T = _near(own, SPEED_WITHIN) if name == "shaft" else _beside_shaft(_near(order * own, SLIP), own)
        apart_T = apart_T[_away(apart_T, carrier) * step_hz > SUPPLY_WITHIN_HZ]
        if len(apart_T) and carrier + apart_T.max() < 0.45 * count:
            lines[name] = _pair(amplitude_F, around_F, carrier, apart_T, step_hz)
    main_P = power_PF[:, round(carrier)].sqrt()
    return CurrentLines(fundamental_hz, lines, float((main_P / main_P.mean() - 1.0).abs().max()))


def _near(apart: float, within: float) -> Tensor:
    """Distances from the carrier, in lines of the spectrum, within a share of one."""
    reach = max(within * apart, 1.0)
    return torch.arange(apart - reach, apart + reach + 0.25, 0.5)


def _beside_shaft(apart_T: Tensor, own: float) -> Tensor:
    """Those of the distances at which the shaft, whose own is given and may be a little off, draws nothing itself."""
    return apart_T[_away(apart_T, own) > max(SHAFT_WIDTH * own, SHAFT_LINES) + SPEED_WITHIN * apart_T]


def _away(apart_T: Tensor, rhythm: float) -> Tensor:
    """How far distances are from whole multiples of a rhythm: at one of these a pair is that rhythm's on both sides."""
    return (apart_T - rhythm * (apart_T / rhythm).round()).abs()


def _pair(amplitude_F: Tensor, around_F: Tensor, carrier: float, apart_T: Tensor, step_hz: float) -> Sideband:
    """The strongest pair of lines at one of some distances to either side of the carrier."""
    upper_T = torch.round(carrier + apart_T).long()
    lower_T = torch.round((carrier - apart_T).abs()).long()  # below zero it is seen mirrored
    weaker_T = torch.minimum(amplitude_F[upper_T] / around_F[upper_T], amplitude_F[lower_T] / around_F[lower_T])
    best = int(weaker_T.argmax())
    main = amplitude_F[round(carrier) - 1 : round(carrier) + 2].max()
    depth = float((amplitude_F[upper_T[best]] + amplitude_F[lower_T[best]]) / main)
    return Sideband(float(apart_T[best]) * step_hz, depth, float((weaker_T[best] + TINY).log()))
