"""The signalled crossings of a net: which links are theirs, who waits where, how long people need to clear them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crossing:
    """One crossing that a traffic light lets people over.

    Attributes:
        id: its edge in the net.
        links: its places in the light's link states.
        kerbs: the walking areas at its ends, where people wait.
    """

    id: str
    links: tuple[int, ...]
    kerbs: tuple[str, ...]


def read_crossings(root: ET.Element) -> dict[str, tuple[Crossing, ...]]:
    """The crossings of every traffic light of a net, ordered by name."""
    names = {str(edge.get("id")) for edge in root.iterfind("edge[@function='crossing']")}
    links: dict[tuple[str, str], set[int]] = {}
    kerbs: dict[str, set[str]] = {name: set() for name in names}
    for link in root.iterfind("connection"):
        source, target = str(link.get("from")), str(link.get("to"))
        for name, kerb in ((source, target), (target, source)):
            if name in names:
                kerbs[name].add(kerb)
                if signal := link.get("tl"):
                    links.setdefault((signal, name), set()).add(int(link.get("linkIndex", "0")))
    found: dict[str, tuple[Crossing, ...]] = {}
    for (signal, name), places in sorted(links.items()):
        crossing = Crossing(name, tuple(sorted(places)), tuple(sorted(kerbs[name])))
        found[signal] = (*found.get(signal, ()), crossing)
    return found


def all_red(state: str, crossings: Sequence[Crossing]) -> str:
    """The link states with every crossing red."""
    red = {link for crossing in crossings for link in crossing.links}
    return "".join("r" if index in red else letter for index, letter in enumerate(state))


def without_clearance(states: Sequence[str], crossings: Sequence[Crossing]) -> list[str]:
    """The green phases to choose from: those that only let people clear a crossing belong to the one they follow.

    Such a phase gives vehicles the same greens as another, and green to fewer crossings.
    """

    def walking(state: str) -> set[int]:
        return {link for crossing in crossings for link in crossing.links if state[link] in "Gg"}

    return [
        state
        for state in states
        if not any(
            all_red(state, crossings) == all_red(other, crossings) and walking(state) < walking(other)
            for other in states
        )
    ]


def clearance_s(program: Sequence[tuple[float, str]], crossings: Sequence[Crossing]) -> float:
    """Seconds that the net's program leaves people at least between the end of their green and traffic's next."""
    return min(
        (
            _until_traffic(program, phase, crossings)
            for phase, (_, state) in enumerate(program)
            for crossing in crossings
            for link in crossing.links
            if state[link] in "Gg" and program[(phase + 1) % len(program)][1][link] not in "Gg"
        ),
        default=0.0,
    )


def _until_traffic(program: Sequence[tuple[float, str]], phase: int, crossings: Sequence[Crossing]) -> float:
    """Seconds from the end of a phase until any vehicle gets green that had none in it."""
    before, total_s = all_red(program[phase][1], crossings), 0.0
    for duration_s, state in (*program[phase + 1 :], *program[:phase]):
        now = all_red(state, crossings)
        if any(new in "Gg" and old not in "Gg" for new, old in zip(now, before, strict=False)):
            break
        total_s += duration_s
    return total_s
