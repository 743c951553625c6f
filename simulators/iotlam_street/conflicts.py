"""Which greens of a signal must not be shown together."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from iotlam_street.plan import read_net

Pairs = frozenset[tuple[int, int]]


def conflicts(net_file: Path) -> dict[str, Pairs]:
    """Of each signal, pairs of places in its link states whose paths cross or merge within one junction."""
    return {str(signal.getID()): _of(signal) for signal in read_net(net_file).getTrafficLights()}


def _of(signal: object) -> Pairs:
    links = [
        (index, link)
        for source, target, index in signal.getConnections()  # type: ignore[attr-defined]
        for link in source.getOutgoing()
        if link.getToLane() is target
    ]
    return frozenset(
        (i, j)
        for (i, one), (j, other) in combinations(links, 2)
        if one.getJunction() is other.getJunction()
        and one.getJunction().areFoes(one.getJunctionIndex(), other.getJunctionIndex())
    )


def unsafe(state: str, pairs: Pairs) -> list[tuple[int, int]]:
    """The pairs that cross although both have a green that yields to nobody."""
    return sorted((i, j) for i, j in pairs if state[i] == state[j] == "G")
