"""The signal plans of a net: phases, lanes, and which phase serves which lane."""

from __future__ import annotations

import heapq
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, MissingExtra
from iotlam_street.crossings import Crossing, clearance_s, read_crossings, without_clearance
from iotlam_street.scenarios import parse_xml
from iotlam_street.scene import Approach

UPSTREAM_M = 80.0
"""How far back from the stop line a lane is followed, metres."""

ONWARD_M = 60.0
"""And onwards, out of the junction."""

TURNAROUNDS = "tT"
"""SUMO's letters for connections that lead back."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane that ends at the signal.

    Attributes:
        id: the lane's identifier in the net.
        edge: the road it belongs to.
        length: metres.
        upstream: the lane itself and those that feed it, with the distance (metres) from the stop
            line to each one's upstream end, back to `UPSTREAM_M`.
        centreline_N2: site coordinates from the stop line backwards, metres.
        onward_N2: and from the stop line onwards, over the junction and out of it, the straightest way.
        outgoing: lanes it may flow into.
        inside: lanes within the junction that lead there.
    """

    id: str
    edge: str
    length: float
    upstream: tuple[tuple[str, float], ...]
    centreline_N2: NDArray[np.float32]
    onward_N2: NDArray[np.float32]
    outgoing: tuple[str, ...]
    inside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignalPlan:
    """What one traffic light can do.

    Attributes:
        signal: identifier of the traffic light.
        origin_2: the junction's centre in net coordinates, metres; origin of the site frame.
        lanes: the K incoming lanes.
        green_states: the P green phases, as SUMO link-state strings.
        serves_PK: bool, phase p gives green to lane k.
        yields_PK: bool, phase p serves lane k only by greens that must yield ('g').
        approaches: the incoming roads.
        catchment: edges whose traffic comes to this signal before any other, with the speed limit in m/s.
        program: all phases of the net's program, (duration_s, state).
        crossings: the C crossings for people on foot.
        clearance_s: seconds between the end of people's green and the next green of traffic.
    """

    signal: str
    origin_2: NDArray[np.float64]
    lanes: tuple[Lane, ...]
    green_states: tuple[str, ...]
    serves_PK: NDArray[np.bool_]
    yields_PK: NDArray[np.bool_]
    approaches: tuple[Approach, ...]
    catchment: tuple[tuple[str, float], ...]
    program: tuple[tuple[float, str], ...]
    crossings: tuple[Crossing, ...] = ()
    clearance_s: float = 0.0

    @property
    def crosses_PC(self) -> NDArray[np.bool_]:
        """Phase p lets people over crossing c."""
        table = [[any(state[i] in "Gg" for i in c.links) for c in self.crossings] for state in self.green_states]
        return np.array(table, dtype=bool).reshape(len(self.green_states), len(self.crossings))

    @property
    def exceeded_PP(self) -> NDArray[np.bool_]:
        """Phase q gives green to all links of phase p and to more, and serves the same lanes, yielding alike."""
        lights_PK = np.where(self.yields_PK, 2, self.serves_PK)  # red, green of its own, yielding
        alike_PP = (lights_PK[:, None] == lights_PK).all(2)
        green_PL = np.array([[link in "Gg" for link in state] for state in self.green_states])
        within_PP = (green_PL[:, None] <= green_PL).all(2)
        exceeded_PP: NDArray[np.bool_] = alike_PP & within_PP & ~within_PP.T
        return exceeded_PP

    def points_back(self, distances_H: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points at distances back from the stop line along every lane, onwards where negative, (K, H, 2), metres."""
        back_H1 = (distances_H >= 0.0)[:, None]
        return np.stack(
            [
                np.where(back_H1, _walk(lane.centreline_N2, distances_H), _walk(lane.onward_N2, -distances_H))
                for lane in self.lanes
            ]
        )


def read_plans(net_file: Path) -> tuple[SignalPlan, ...]:
    """Read the plans of the net's traffic lights that have phases to choose from, ordered by name.

    A light with fewer than two green phases (a pedestrian crossing on request, say) keeps the net's program.

    Raises:
        BadInput: if the net is broken or has no signal with two green phases.
    """
    net_file = net_file.resolve()
    stat = net_file.stat() if net_file.is_file() else None
    return _read_plans(net_file, (stat.st_mtime_ns, stat.st_size) if stat else None)


@lru_cache(maxsize=32)
def _read_plans(net_file: Path, version: tuple[int, int] | None) -> tuple[SignalPlan, ...]:
    """As `read_plans`; a file of the same version is read once."""
    root = parse_xml(net_file, "a SUMO net")
    inside, crossings = _lanes_inside(root), read_crossings(root)
    net = read_net(net_file)
    signals = sorted(net.getTrafficLights(), key=lambda signal: str(signal.getID()))
    if not signals:
        raise BadInput(str(net_file), expected="a net with a traffic light", got="none", fix="add one in netedit")
    signals = [signal for signal in signals if signal.getConnections()]
    catchments = _catchments(net, signals)
    plans = [
        _plan(signal, net, net_file, catchments[signal.getID()], inside, crossings.get(signal.getID(), ()))
        for signal in signals
    ]
    chosen = tuple(plan for plan in plans if len(plan.green_states) > 1)
    if not chosen:
        raise BadInput(
            f"{net_file}, traffic light '{plans[0].signal if plans else ''}'",
            expected="at least two green phases",
            got=str(len(plans[0].green_states) if plans else 0),
            fix="give the program phases to choose from",
        )
    return chosen


def _plan(
    signal: Any,
    net: Any,
    net_file: Path,
    catchment: tuple[tuple[str, float], ...],
    inside: Mapping[str, tuple[str, ...]],
    crossings: tuple[Crossing, ...],
) -> SignalPlan:
    links = [(source, target, index) for source, target, index in signal.getConnections()]
    walks = [index for crossing in crossings for index in crossing.links]
    program = _program(signal, 1 + max([index for _, _, index in links] + walks), net_file)
    ids = sorted({source.getID() for source, _, _ in links})
    greens = without_clearance(_green_states([state for _, state in program]), crossings)
    serves, priority = _greens_of_lanes(greens, ids, links)
    origin = np.mean([source.getShape()[-1] for source, _, _ in links], axis=0)
    lanes = tuple(_lane(net.getLane(lane_id), links, origin, inside.get(lane_id, ())) for lane_id in ids)
    return SignalPlan(
        signal.getID(),
        origin,
        lanes,
        tuple(greens),
        serves,
        serves & ~priority,
        _approaches(lanes, net, origin),
        catchment,
        program,
        crossings,
        clearance_s(program, crossings),
    )


def _lanes_inside(root: ET.Element) -> dict[str, tuple[str, ...]]:
    """For each lane outside a junction, the lanes inside it that its connections lead over, in order of name."""
    via: dict[str, list[str]] = {}
    for link in root.iterfind("connection[@via]"):
        via.setdefault(f"{link.get('from')}_{link.get('fromLane')}", []).append(str(link.get("via")))

    def beyond(lane: str) -> set[str]:
        return {inner for first in via.get(lane, ()) for inner in (first, *beyond(first))}

    return {lane: tuple(sorted(beyond(lane))) for lane in via if not lane.startswith(":")}


def _catchments(net: Any, signals: list[Any]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Which signal the traffic of each edge comes to first: shortest paths from all stop lines upstream at once."""
    queue = [(0.0, edge.getID(), signal.getID()) for signal in signals for edge in signal.getEdges()]
    heapq.heapify(queue)
    owner: dict[str, str] = {}
    while queue:
        distance, name, signal_id = heapq.heappop(queue)
        if name in owner:
            continue
        owner[name] = signal_id
        edge = net.getEdge(name)
        for feeder, links in edge.getIncoming().items():
            if feeder.getID() not in owner and any(link.getDirection() not in TURNAROUNDS for link in links):
                heapq.heappush(queue, (distance + edge.getLength(), feeder.getID(), signal_id))
    found: dict[str, list[tuple[str, float]]] = {signal.getID(): [] for signal in signals}
    for name, signal_id in sorted(owner.items()):
        found[signal_id].append((name, float(net.getEdge(name).getSpeed())))
    return {signal_id: tuple(edges) for signal_id, edges in found.items()}


def _greens_of_lanes(
    greens: list[str], ids: list[str], links: list[tuple[Any, Any, int]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which phase gives any green (P, K), and which gives a green with priority (P, K)."""
    serves = np.zeros((len(greens), len(ids)), dtype=bool)
    priority = serves.copy()
    for source, _, index in links:
        column = ids.index(source.getID())
        serves[:, column] |= np.array([state[index] in "Gg" for state in greens], dtype=bool)
        priority[:, column] |= np.array([state[index] == "G" for state in greens], dtype=bool)
    return serves, priority


def read_net(net_file: Path) -> Any:
    """The net as sumolib reads it, with its programs.

    Raises:
        BadInput: if sumolib stumbles over it.
    """
    try:
        import sumolib.net
    except ImportError as error:
        raise MissingExtra("sumolib", "traffic") from error
    try:
        return sumolib.net.readNet(str(net_file), withPrograms=True)
    except Exception as error:  # sumolib raises whatever its parser stumbles over
        raise BadInput(
            str(net_file),
            expected="a complete SUMO net",
            got=f"{type(error).__name__}: {error}",
            fix="rebuild it with netconvert",
        ) from error


def _program(signal: Any, links: int, net_file: Path) -> tuple[tuple[float, str], ...]:
    subject, fix = f"{net_file}, traffic light '{signal.getID()}'", "rebuild the net with netconvert"
    programs = list(signal.getPrograms().values())
    if not programs:
        raise BadInput(subject, expected="a signal program (<tlLogic>)", got="none", fix=fix)
    phases = tuple((float(phase.duration), str(phase.state)) for phase in programs[0].getPhases())
    if short := [state for _, state in phases if len(state) < links]:
        raise BadInput(subject, expected=f"phases for {links} links", got=f"'{short[0]}'", fix=fix)
    return phases


def _green_states(states: list[str]) -> list[str]:
    """Phases that give green and hold it: no yellow, not all red; each state once."""
    greens = [state for state in states if set(state) & set("Gg") and not set(state) & set("yYu")]
    return list(dict.fromkeys(greens))


def _lane(lane: Any, links: list[tuple[Any, Any, int]], origin: NDArray[np.float64], inside: tuple[str, ...]) -> Lane:
    reach, current, seen = float(lane.getLength()), lane, {lane.getID()}
    upstream, shape = [(lane.getID(), reach)], list(reversed(lane.getShape()))
    while reach < UPSTREAM_M:
        feeders = [link.getFromLane() for link in _straightest_first(current)]
        feeder = next((feeder for feeder in feeders if feeder.getID() not in seen), None)
        if feeder is None:
            break
        shape += list(reversed(feeder.getShape()))
        reach, current = reach + float(feeder.getLength()), feeder
        upstream.append((feeder.getID(), reach))
        seen.add(feeder.getID())
    outgoing = {target.getID() for source, target, _ in links if source is lane}
    points = np.asarray(shape, dtype=np.float64)[:, :2] - origin[:2]
    return Lane(
        lane.getID(),
        lane.getEdge().getID(),
        float(lane.getLength()),
        tuple(upstream),
        points.astype(np.float32),
        (_onward(lane) - origin[:2]).astype(np.float32),
        tuple(sorted(outgoing)),
        inside,
    )


def _onward(lane: Any) -> NDArray[np.float64]:
    """Where the straightest way leads from a lane's end, at least `ONWARD_M` far if there is so much road, (N, 2)."""
    (x0, y0), (x1, y1) = lane.getShape()[-2][:2], lane.getShape()[-1][:2]
    shape, reach, seen = [(x1, y1)], 0.0, {lane.getID()}
    while reach < ONWARD_M:
        links = sorted(lane.getOutgoing(), key=lambda link: (link.getDirection() != "s", link.getToLane().getID()))
        lane = next((link.getToLane() for link in links if link.getToLane().getID() not in seen), None)
        if lane is None:
            break
        shape += [point[:2] for point in lane.getShape()]
        reach += float(lane.getLength())
        seen.add(lane.getID())
    if reach == 0.0:  # a road that ends here
        shape.append((2 * x1 - x0, 2 * y1 - y0))
    return np.asarray(shape, dtype=np.float64)


def _straightest_first(lane: Any) -> list[Any]:
    """Connections into a lane, those that go straight on before those that turn."""
    links = [link for edge in lane.getEdge().getIncoming().values() for link in edge]
    incoming = [link for link in links if link.getToLane() is lane and link.getDirection() not in TURNAROUNDS]
    return sorted(incoming, key=lambda link: (link.getDirection() != "s", link.getFromLane().getID()))


def _approaches(lanes: tuple[Lane, ...], net: Any, origin: NDArray[np.float64]) -> tuple[Approach, ...]:
    found = []
    for edge in sorted({lane.edge for lane in lanes}):
        members = [lane for lane in lanes if lane.edge == edge]
        stop = np.mean([lane.centreline_N2[0] for lane in members], axis=0)
        behind = np.mean([_walk(lane.centreline_N2, np.array([15.0], dtype=np.float32))[0] for lane in members], axis=0)
        east, north = stop - behind
        width = sum(net.getLane(lane.id).getWidth() for lane in members)
        found.append(Approach(edge, stop.astype(np.float32), float(np.arctan2(north, east)), float(width)))
    return tuple(found)


def _walk(line_N2: NDArray[np.float32], distances_H: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points at distances along a polyline; past its end it goes straight on."""
    steps = np.diff(line_N2, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    line, steps, lengths = line_N2[np.r_[True, lengths > 1e-3]], steps[lengths > 1e-3], lengths[lengths > 1e-3]
    starts = np.r_[0.0, np.cumsum(lengths)]
    piece = np.clip(np.searchsorted(starts, distances_H, side="right") - 1, 0, len(lengths) - 1)
    along = (distances_H - starts[piece]) / lengths[piece]
    points_H2: NDArray[np.float32] = (line[piece] + along[:, None] * steps[piece]).astype(np.float32)
    return points_H2
