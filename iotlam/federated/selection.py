"""Which devices take part in a round, at which rank: what a round costs in seconds, and how near to the least that is.

A round costs the time that it takes plus what is forgone: each device may make several requests (ranks), each worth
some seconds, of which one at most is granted; what its best one is worth is forgone in so far as another is granted, or
none. Worth that grows while a device waits keeps long-term shares, as in Lyapunov's drift plus penalty.

For a round time T the rest is a knapsack: bandwidth that requests need at T against worth. Its Lagrangian, at a price
of bandwidth, gives a set that fits and a bound on every set that does. Branch and bound splits the time into intervals,
and plans into those with and those without a request that half fits; moves from set to set better what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam.federated.radio import Floats, Requests, Split, need, round_seconds, split

INTERVALS, PARTS = 24, 4
"""Into how many the time is divided at first, and each later on."""

AT_ONCE, MOST_NODES = 16, 1200
"""Nodes that are branched together, and after which the search ends with the gap that it has."""

PRICE_STEPS = 24
TRIED = 64
"""Moves from a set that are held against it; the rest look worse."""

NEAR = 1e-12

GAP = 0.008
"""At which the search ends, a share of the cost."""

Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Choice:
    """Requests to choose among.

    Attributes:
        asked: R requests.
        device_R: whose each is, any numbers.
        worth_s: of each, seconds; positive.
    """

    asked: Requests
    device_R: Indices
    worth_s: Floats

    def __post_init__(self) -> None:
        if not len(self.device_R) or not (np.isfinite(self.worth_s) & (self.worth_s > 0)).all():
            got = f"{len(self.device_R)} with worths from {self.worth_s.min(initial=0.0):g}"
            raise BadInput("Requests", expected="some, each of positive worth", got=got, fix="correct their worth")


@dataclass(frozen=True, slots=True)
class Grant:
    """Who takes part in a round and how the band is split.

    Attributes:
        granted: requests, at most one of each device, in order.
        split: of the band among them.
        cost_s: time of the round and what is forgone.
        bound_s: none costs less.
    """

    granted: Indices
    split: Split
    cost_s: float
    bound_s: float

    @property
    def gap(self) -> float:
        """How far from the least cost this is at most, as a share of the least."""
        return self.cost_s / self.bound_s - 1


def select(choice: Choice, band_hz: float) -> Grant:
    """Grants whose cost is within a gap of the least, or as near as the search comes.

    Args:
        choice: what is asked.
        band_hz: to be divided.

    Raises:
        BadInput: if the band is not positive.
    """
    sets = _Sets(choice, band_hz)
    nodes, granted = _first_nodes(sets)
    best = sets.bettered(sets.cheapest([sets.every, *granted]))
    done = len(nodes.bound_s)
    while len(open_K := nodes.open(best.cost_s * (1 - GAP))) and done < MOST_NODES:
        children, granted = _branched(sets, nodes, open_K, best.cost_s * GAP / 3)
        nodes = nodes.replaced(open_K, children)
        done += len(children.bound_s)
        found = sets.cheapest([best.members, *granted])
        best = sets.bettered(found) if found.cost_s < best.cost_s else best
    members = np.sort(best.members)
    bound_s = min(float(nodes.bound_s.min()), best.cost_s)
    return Grant(members, split(choice.asked[members], band_hz), best.cost_s, bound_s)


def cheapest(choice: Choice, band_hz: float) -> Grant:
    """The grants of least cost, by trying every set: for tests, and for a few devices."""
    sets = np.zeros((1, len(choice.device_R)), dtype=bool)
    for device in np.unique(choice.device_R):
        with_one = [sets]
        for request in np.flatnonzero(choice.device_R == device):
            more = sets.copy()
            more[:, request] = True
            with_one.append(more)
        sets = np.concatenate(with_one)
    cost_S = round_seconds(choice.asked, sets[1:], band_hz) - sets[1:] @ choice.worth_s
    granted = np.flatnonzero(sets[1:][cost_S.argmin()])
    cost_s = float(cost_S.min()) + _Sets(choice, band_hz).best_s
    return Grant(granted, split(choice.asked[granted], band_hz), cost_s, cost_s)


@dataclass(frozen=True, slots=True)
class _Set:
    members: Indices
    round_s: float
    cost_s: float


class _Sets:
    """Sets of requests: what they cost, and how they are bettered. Options of a device lie in one row."""

    def __init__(self, choice: Choice, band_hz: float) -> None:
        if not band_hz > 0:
            raise BadInput("Band", expected="more than 0 Hz", got=f"{band_hz:g} Hz", fix="give it a width")
        self.choice, self.band_hz = choice, band_hz
        order = np.argsort(choice.device_R, kind="stable")
        _, first, counts = np.unique(choice.device_R[order], return_index=True, return_counts=True)
        self.real_NO = np.arange(counts.max()) < counts[:, None]
        self.option_NO = order[np.minimum(first[:, None] + np.arange(counts.max()), len(order) - 1)]
        self.worth_NO = np.where(self.real_NO, choice.worth_s[self.option_NO], -np.inf)
        self.best_s = float(self.worth_NO.max(1).sum())
        self.every = self.option_NO[np.arange(len(counts)), self.worth_NO.argmax(1)]

    def measured(self, sets: Sequence[Indices]) -> list[_Set]:
        """Sets with their round times and costs."""
        member_SM, real_SM = _rectangle(sets)
        round_S = round_seconds(self.choice.asked[member_SM], real_SM, self.band_hz)
        worth_S = np.where(real_SM, self.choice.worth_s[member_SM], 0.0).sum(1)
        return [
            _Set(members, float(round_s), float(round_s + self.best_s - worth_s))
            for members, round_s, worth_s in zip(sets, round_S, worth_S, strict=True)
        ]

    def cheapest(self, sets: Sequence[Indices]) -> _Set:
        """The one that costs least; empty ones do not count."""
        distinct = {tuple(members): members for members in sets if len(members)}
        return min(self.measured(list(distinct.values())), key=lambda one: one.cost_s)

    def bettered(self, start: _Set) -> _Set:
        """Add, drop, change or swap requests until none of the moves that look best lowers the cost."""
        now: _Set | None = start
        while now is not None:
            start, now = now, self._step(now)
        return start

    def _step(self, now: _Set) -> _Set | None:
        sets = [members for out, into in self._moves(now) if len(members := _moved(now.members, out, into))]
        if not sets:
            return None
        member_SM, real_SM = _rectangle(sets)
        worth_S = np.where(real_SM, self.choice.worth_s[member_SM], 0.0).sum(1)
        # A set costs less if it fits the band in the time that would make it cost just a trifle less.
        in_time_S = now.cost_s * (1 - NEAR) - self.best_s + worth_S
        hz_SM = need(self.choice.asked[member_SM], in_time_S[:, None]).hz
        helps_S = np.where(real_SM, hz_SM, 0.0).sum(1) < self.band_hz
        return self.measured([sets[int(helps_S.argmax())]])[0] if helps_S.any() else None

    def _moves(self, now: _Set) -> list[tuple[int, int]]:
        """Moves (request out, request in; -1 for none) by what they would change were need linear in time."""
        device_R = np.append(self.choice.device_R, -1)
        asks = need(self.choice.asked, np.array([now.round_s]))
        price_R = np.append(asks.hz / asks.hz_per_s[now.members].sum() - self.choice.worth_s, 0.0)
        out_X, in_X = (
            grid.ravel()
            for grid in np.meshgrid(np.append(now.members, -1), np.arange(-1, len(device_R) - 1), indexing="ij")
        )
        free_R = np.append(~np.isin(device_R[:-1], device_R[now.members]), True)
        allowed_X = (out_X != in_X) & (free_R[in_X] | (device_R[out_X] == device_R[in_X]))
        out_X, in_X = out_X[allowed_X], in_X[allowed_X]
        first = np.argsort(price_R[in_X] - price_R[out_X], kind="stable")[:TRIED]
        return [(int(out_X[place]), int(in_X[place])) for place in first]


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Plans whose round ends in an interval of time and that keep to what has been settled of some requests.

    Attributes:
        low_s: where each interval begins.
        high_s: where it ends.
        open_KNO: which option of which device may be granted.
        forced_KN: which device must be granted one.
        bound_s: no plan of the node costs less.
        half_K: option, as N * options + O, that a bit of the band more would grant; -1 for none.
    """

    low_s: Floats
    high_s: Floats
    open_KNO: Flags
    forced_KN: Flags
    bound_s: Floats
    half_K: Indices

    def open(self, below_s: float) -> Indices:
        """The nodes to branch next: some of those with a bound below a cost, the lowest first."""
        order = self.bound_s.argsort(kind="stable")[:AT_ONCE]
        return order[self.bound_s[order] < below_s]

    def replaced(self, some_K: Indices, children: _Nodes) -> _Nodes:
        """The nodes with some of them replaced by their children."""
        keep = np.setdiff1d(np.arange(len(self.low_s)), some_K)
        names = self.__dataclass_fields__
        both = {name: np.concatenate([getattr(self, name)[keep], getattr(children, name)]) for name in names}
        return _Nodes(**both)


def _first_nodes(sets: _Sets) -> tuple[_Nodes, list[Indices]]:
    """From the quickest request alone to the round of all devices' best requests: a longer one costs more than that."""
    asked = sets.choice.asked
    alone = np.arange(len(asked))[:, None]
    least_s = float(round_seconds(asked[alone], np.ones_like(alone, dtype=bool), sets.band_hz).min())
    most_s = sets.measured([sets.every])[0].round_s
    times_s = np.geomspace(least_s, max(most_s, least_s * (1 + 1e-9)), INTERVALS + 1)
    open_KNO = np.broadcast_to(sets.real_NO, (INTERVALS, *sets.real_NO.shape))
    return _bounded(sets, times_s[:-1], times_s[1:], open_KNO, np.zeros(open_KNO.shape[:2], dtype=bool))


def _branched(sets: _Sets, nodes: _Nodes, which_K: Indices, narrow_s: float) -> tuple[_Nodes, list[Indices]]:
    """Children of nodes: parts of an interval that is wide; with and without the half request of one that is narrow."""
    low, high, opens, forced = [], [], [], []
    for node in which_K:
        half = nodes.half_K[node]
        if nodes.high_s[node] - nodes.low_s[node] > narrow_s or half < 0:
            times_s = np.linspace(nodes.low_s[node], nodes.high_s[node], PARTS + 1)
            low += list(times_s[:-1])
            high += list(times_s[1:])
            opens += [nodes.open_KNO[node]] * PARTS
            forced += [nodes.forced_KN[node]] * PARTS
            continue
        device, option = divmod(int(half), nodes.open_KNO.shape[2])
        without, with_it, must = nodes.open_KNO[node].copy(), nodes.open_KNO[node].copy(), nodes.forced_KN[node].copy()
        without[device, option] = False
        with_it[device] = np.arange(with_it.shape[1]) == option
        must[device] = True
        low += [nodes.low_s[node]] * 2
        high += [nodes.high_s[node]] * 2
        opens += [without, with_it]
        forced += [nodes.forced_KN[node], must]
    return _bounded(sets, np.array(low), np.array(high), np.array(opens), np.array(forced))


def _bounded(
    sets: _Sets, low_K: Floats, high_K: Floats, open_KNO: Flags, forced_KN: Flags
) -> tuple[_Nodes, list[Indices]]:
    """Nodes with their bounds, and sets that fit: a plan whose round ends in an interval fits the band at its end.

    The price of the band is found by halving, in its logarithm; at any price the Lagrangian is a bound.
    """
    share_KNO = need(sets.choice.asked, high_K[:, None]).hz[:, sets.option_NO] / sets.band_hz
    worth_KNO = np.where(open_KNO, sets.worth_NO, -np.inf)
    floor_KN = np.where(forced_KN, -np.inf, 0.0)
    top = sets.best_s * 2
    low_price_K, high_price_K = np.full(len(high_K), top * 1e-7), np.full(len(high_K), top)
    value_K = np.full(len(high_K), np.inf)
    for step in range(PRICE_STEPS):
        price_K = (high_price_K if step == 0 else low_price_K) if step < 2 else np.sqrt(low_price_K * high_price_K)
        gain_KN, taken_KNO = _priced(price_K, share_KNO, worth_KNO, floor_KN)
        value_K = np.minimum(value_K, gain_KN.sum(1) + price_K)
        fits_K = np.where(taken_KNO, share_KNO, 0.0).sum((1, 2)) <= 1
        high_price_K = np.where(fits_K, price_K, high_price_K)
        low_price_K = np.where(fits_K, low_price_K, price_K)
    _, small_KNO = _priced(high_price_K, share_KNO, worth_KNO, floor_KN)
    _, large_KNO = _priced(low_price_K, share_KNO, worth_KNO, floor_KN)
    differ_KX = (large_KNO & ~small_KNO).reshape(len(high_K), -1)
    half_K = np.where(differ_KX.any(1), differ_KX.argmax(1), -1)
    fits_K = np.where(small_KNO, share_KNO, 0.0).sum((1, 2)) <= 1
    granted = [sets.option_NO[taken_NO] for taken_NO, fits in zip(small_KNO, fits_K, strict=True) if fits]
    return _Nodes(low_K, high_K, open_KNO, forced_KN, low_K + sets.best_s - value_K, half_K), granted


def _priced(price_K: Floats, share_KNO: Floats, worth_KNO: Floats, floor_KN: Floats) -> tuple[Floats, Flags]:
    """Each device's gain at a price of the band, and which option it takes."""
    net_KNO = worth_KNO - price_K[:, None, None] * share_KNO
    gain_KN = np.maximum(net_KNO.max(2), floor_KN)
    taken_KNO = np.arange(net_KNO.shape[2]) == net_KNO.argmax(2)[..., None]
    return gain_KN, taken_KNO & ((gain_KN > 0) | (floor_KN < 0))[..., None]


def _rectangle(sets: Sequence[Indices]) -> tuple[Indices, Flags]:
    """Sets as rows of one length, and which entries are real."""
    counts_S = np.array([len(members) for members in sets])
    width = int(counts_S.max())
    return np.array([np.resize(members, width) for members in sets]), np.arange(width) < counts_S[:, None]


def _moved(members: Indices, out: int, into: int) -> Indices:
    kept = members[members != out]
    return np.append(kept, into) if into >= 0 else kept
