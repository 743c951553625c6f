"""Combs: the lines that a fault draws into an envelope's spectrum, and how clearly they are there.

A defect of the outer race is struck evenly: lines at multiples of BPFO. One of the inner race goes in and out of the
load zone once a turn: multiples of BPFI with sidebands at the shaft's order. One of a rolling element goes around with
the cage: multiples of twice BSF with sidebands at the cage's order, and that order itself (Smith and Randall, MSSP
64-65, 2015, table 1).

How clearly is measured against combs that no fault of this bearing has: the same figure of lines at cages that turn
otherwise. That holds whatever else the machine draws into the spectrum, and for any number of harmonics, bands and
slips that are searched.

Shapes: K bands, G orders of a grid, S slips, L lines of a comb, R other combs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam_machine.bearings import SLIP, FaultOrders
from iotlam_waveform.envelope import Envelopes, modulation, surroundings

HARMONICS = 4
TOP_ORDER = 30.0
FINEST = 0.0035
"""Grid of orders: as fine as this, or as the spectrum's own lines."""

SHAFT_WIDTH = 0.012
"""Lines this near to a whole order are the shaft's own."""

SLIPS = 41
NEAR_SLIPS = 4
SURROUNDINGS_ORDERS = 0.8
MOST_POWER = 100.0
NOTHING_NATS = math.log1p(2.0)
"""Of a place that is taken out: about what noise has."""

SIDEBANDS = 2
SKIRT = 0.006
"""Share of its order by which a line is wider than the shaft's: slip wanders."""

OTHERS = 48
CAGES = (0.30, 0.48)
"""Orders between which a cage can turn."""

APART = 0.02
LEAST_SPREAD = 0.08


@dataclass(frozen=True, slots=True)
class OrderGrid:
    """Envelope spectra over orders of the shaft; what the shaft itself draws at whole orders is taken out.

    Attributes:
        depth_KG: modulation at the order, as a share of the mean squared envelope.
        nats_KG: log(1 + power over its surroundings).
        step: orders between points.
    """

    depth_KG: Tensor
    nats_KG: Tensor
    step: float


@dataclass(frozen=True, slots=True)
class Comb:
    """The lines of a fault by slip.

    Attributes:
        order_SL: where they are.
        weight_L: what each counts.
        deep: how many of the first tell how deep the modulation is.
    """

    order_SL: Tensor
    weight_L: Tensor
    deep: int = 2

    @property
    def slip_S(self) -> Tensor:
        """The slips, as shares of the cage's order or the ball's."""
        return _slips()


@dataclass(frozen=True, slots=True)
class Clarity:
    """How clearly a comb is there.

    Attributes:
        sigmas: above combs of the same figure elsewhere, in their robust deviations, in the best band.
        depth: deepest modulation of its main lines in any band.
        band: index of the band that is clearest.
        slip: share by which the cage's order (the ball's, for balls) differs from the geometry's there.
    """

    sigmas: float
    depth: float
    band: int
    slip: float


def order_grid(envelopes: Envelopes, shaft_hz: float) -> OrderGrid:
    """Spectra of the envelopes of one signal over orders."""
    depth_KF = modulation(envelopes.values_BKM)[0]
    line_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
    step = max(FINEST, line_hz / shaft_hz / 2.0)
    depth_KF = depth_KF[:, : int(TOP_ORDER * shaft_hz / line_hz) + 2]
    power_KF = depth_KF.square()
    clear_KF = power_KF / surroundings(power_KF, round(SURROUNDINGS_ORDERS * shaft_hz / line_hz))
    order_G = torch.arange(0.0, min(TOP_ORDER, (depth_KF.shape[1] - 2) * line_hz / shaft_hz), step)
    around_G3 = torch.round(order_G * shaft_hz / line_hz).long()[:, None] + torch.tensor([-1, 0, 1])
    around_G3 = around_G3.clamp(1, depth_KF.shape[1] - 1)  # line 0 is the mean
    own_G = (order_G - order_G.round()).abs() > max(SHAFT_WIDTH, 1.5 * line_hz / shaft_hz)
    depth_KG = depth_KF[:, around_G3].amax(-1) * own_G
    nats_KG = torch.log1p(clear_KF[:, around_G3].amax(-1).clamp_max(MOST_POWER))
    return OrderGrid(depth_KG, torch.where(own_G, nats_KG, NOTHING_NATS), step)


def outer(orders: FaultOrders) -> Comb:
    """Multiples of BPFO, which is tied to the cage."""
    cage_S = orders.cage * (1.0 + _slips())
    main_SL = orders.balls * cage_S[:, None] * torch.arange(1, HARMONICS + 1)
    return Comb(main_SL, torch.ones(HARMONICS))


def inner(orders: FaultOrders) -> Comb:
    """Multiples of BPFI, tied to the cage too, with sidebands at the shaft's order."""
    cage_S = orders.cage * (1.0 + _slips())
    main_SL = orders.balls * (1.0 - cage_S[:, None]) * torch.arange(1, HARMONICS)
    return _with_sidebands(main_SL, torch.ones_like(cage_S))


def ball(orders: FaultOrders) -> Comb:
    """Multiples of twice BSF with sidebands at the cage's order."""
    spin_S = orders.ball * (1.0 + _slips())
    main_SL = 2.0 * spin_S[:, None] * torch.arange(1, HARMONICS)
    return _with_sidebands(main_SL, torch.full_like(spin_S, orders.cage))


def cage(orders: FaultOrders) -> Comb:
    """Multiples of the cage's order; those that fall on BPFO are left out."""
    cage_S = orders.cage * (1.0 + _slips())
    multiples_L = torch.tensor([m for m in range(1, 2 * orders.balls) if m % orders.balls])
    weight_L = 1.0 / multiples_L.sqrt()
    return Comb(cage_S[:, None] * multiples_L, weight_L, deep=1)


COMBS: Mapping[str, Callable[[FaultOrders], Comb]] = {"inner": inner, "outer": outer, "ball": ball, "cage": cage}


def first_order(name: str, orders: FaultOrders, slip: float) -> float:
    """Order of a comb's first line at a slip."""
    first_S = COMBS[name](orders).order_SL[:, 0]
    return float(first_S[0] + (slip + SLIP) / (2.0 * SLIP) * (first_S[-1] - first_S[0]))


def clarity(grid: OrderGrid, orders: FaultOrders) -> dict[str, Clarity]:
    """How clearly each comb of a bearing is there."""
    others = _other_bearings(orders)
    return {name: _clarity(grid, comb(orders), [comb(other) for other in others]) for name, comb in COMBS.items()}


def without(grid: OrderGrid, first: float) -> OrderGrid:
    """The grid without what a fault draws whose first line is at an order: multiples, with sidebands of the shaft."""
    order_G = torch.arange(grid.nats_KG.shape[1]) * grid.step
    main_M = first * torch.arange(1, int(TOP_ORDER / first) + 1)
    line_L = (main_M[:, None] + torch.arange(-SIDEBANDS, SIDEBANDS + 1)).flatten()
    free_G = ((order_G[:, None] - line_L).abs() > SHAFT_WIDTH + SKIRT * line_L).all(1)
    return OrderGrid(grid.depth_KG * free_G, torch.where(free_G, grid.nats_KG, NOTHING_NATS), grid.step)


def _clarity(grid: OrderGrid, own: Comb, others: Sequence[Comb]) -> Clarity:
    score_KS = _score(grid, own)
    best_K = score_KS.amax(1)
    others_RK = torch.stack([_score(grid, other).amax(1) for other in others])
    median_K = others_RK.median(0).values
    spread_K = 1.4826 * (others_RK - median_K).abs().median(0).values + LEAST_SPREAD
    sigmas_K = (best_K - median_K) / spread_K
    band = int(sigmas_K.argmax())
    main_SL = own.order_SL[:, : own.deep]
    depth = float((grid.depth_KG[:, _index(grid, main_SL)] * _held(grid, main_SL)).max())
    return Clarity(float(sigmas_K[band]), depth, band, _slip(grid, own, band))


def _slip(grid: OrderGrid, comb: Comb, band: int) -> float:
    """Slip at which the comb is strongest: lines are as wide as slip wanders, so the middle of their power."""
    weight_SL = comb.weight_L * _held(grid, comb.order_SL)
    power_S = (grid.depth_KG[band, _index(grid, comb.order_SL)] * weight_SL).sum(-1).square()
    near_S = (torch.arange(SLIPS) - power_S.argmax()).abs() <= NEAR_SLIPS
    return float((_slips() * power_S * near_S).sum() / (power_S * near_S).sum().clamp_min(1e-12))


def _score(grid: OrderGrid, comb: Comb) -> Tensor:
    """Weighted mean of the nats of the lines that the grid holds, (K, S)."""
    nats_KSL = grid.nats_KG[:, _index(grid, comb.order_SL)]
    weight_SL = comb.weight_L * _held(grid, comb.order_SL)
    return (nats_KSL * weight_SL).sum(-1) / weight_SL.sum(-1).clamp_min(1e-12)


def _held(grid: OrderGrid, order_SL: Tensor) -> Tensor:
    return order_SL < grid.nats_KG.shape[1] * grid.step


def _index(grid: OrderGrid, order_SL: Tensor) -> Tensor:
    return torch.round(order_SL / grid.step).long().clamp(0, grid.nats_KG.shape[1] - 1)


def _slips() -> Tensor:
    return torch.linspace(-SLIP, SLIP, SLIPS)


def _with_sidebands(main_SL: Tensor, apart_S: Tensor) -> Comb:
    order_SL = torch.cat([main_SL, main_SL - apart_S[:, None], main_SL + apart_S[:, None]], 1)
    count = main_SL.shape[1]
    return Comb(order_SL, torch.cat([torch.ones(count), torch.full((2 * count,), 0.5)]))


def _other_bearings(orders: FaultOrders) -> list[FaultOrders]:
    """Bearings of as many balls whose lines lie elsewhere."""
    generator = torch.Generator().manual_seed(0)
    found: list[FaultOrders] = []
    while len(found) < OTHERS:
        share, spin = torch.rand(2, generator=generator).tolist()
        turn = CAGES[0] + share * (CAGES[1] - CAGES[0])
        other = FaultOrders(
            outer=orders.balls * turn,
            inner=orders.balls * (1.0 - turn),
            cage=turn,
            ball=orders.ball * (0.7 + 0.7 * spin),
        )
        if _apart(orders, other):
            found.append(other)
    return found


def _apart(one: FaultOrders, other: FaultOrders) -> bool:
    """Whether no line of one is a low multiple of a line of the other, nor of the shaft."""
    mine = (one.outer, one.inner, 2.0 * one.ball, one.cage, 1.0)
    theirs = (other.outer, other.inner, 2.0 * other.ball, other.cage)
    times = (1, 2, 3)
    return all(abs(b * j / (a * k) - 1.0) > APART for a in mine for b in theirs for j in times for k in times)
