"""Random signalled junctions with random demand, so that a policy meets more than it was shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iotlam_street.scenarios import Scenario, scenario_from_files
from iotlam_street.sumo import run_program

SEGMENT_S = 600.0
"""Demand changes every so many seconds."""

SATURATION_VEH_H = 1800.0
"""Vehicles that one lane discharges in an hour of green."""

WALKABLE = ("--sidewalks.guess", "true", "--crossings.guess", "true")
WALKS_H = (20.0, 120.0)
"""Least and most people an hour that walk from one arm to others."""

WALK_M = 30.0
"""How far from the junction they begin and end."""


def generate_junction(folder: Path, seed: int, duration_s: float = 3600.0, people: bool = False) -> Scenario:
    """Write a random junction of 3 to 5 arms and its demand, and return it as a scenario.

    Args:
        folder: where the `.net.xml` and `.rou.xml` go; made if absent.
        seed: decides everything.
        duration_s: length of the demand, seconds.
        people: with sidewalks, signalled crossings, and people who walk from arm to arm.

    Raises:
        MissingExtra: if SUMO's tools are not installed.
        IotlamError: if netconvert refuses the drawing.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arms = int(rng.choice([3, 4, 4, 4, 5]))
    lanes = [int(rng.choice([1, 2, 2, 3])) for _ in range(arms)]
    net = _build_net(folder, arms, lanes, rng, WALKABLE if people else ())
    routes = folder / "junction.rou.xml"
    _write_demand(routes, arms, lanes, duration_s, rng, people)
    return scenario_from_files(net, [routes], 0.0, duration_s, f"random-{seed}")


def _build_net(folder: Path, arms: int, lanes: list[int], rng: np.random.Generator, further: Sequence[str]) -> Path:
    angles = 2 * np.pi * (np.arange(arms) + rng.uniform(-0.18, 0.18, arms) + rng.uniform()) / arms
    lengths = rng.uniform(150.0, 350.0, arms)
    nodes, edges = ET.Element("nodes"), ET.Element("edges")
    ET.SubElement(nodes, "node", id="centre", x="0", y="0", type="traffic_light")
    for arm in range(arms):
        x, y = lengths[arm] * np.cos(angles[arm]), lengths[arm] * np.sin(angles[arm])
        ET.SubElement(nodes, "node", id=f"end{arm}", x=f"{x:.2f}", y=f"{y:.2f}", type="priority")
        road = {"numLanes": str(lanes[arm]), "speed": "13.89", "priority": str(int(rng.integers(1, 3)))}
        ET.SubElement(edges, "edge", {"id": f"in{arm}", "from": f"end{arm}", "to": "centre", **road})
        ET.SubElement(edges, "edge", {"id": f"out{arm}", "from": "centre", "to": f"end{arm}", **road})
    for name, tree in (("nod", nodes), ("edg", edges)):
        ET.ElementTree(tree).write(folder / f"junction.{name}.xml")
    layout = str(rng.choice(["opposites", "incoming"], p=[0.8, 0.2]))
    options = ["--tls.layout", layout, "--tls.left-green.time", str(rng.choice([0, 6])), "--no-turnarounds", "true"]
    net = folder / "junction.net.xml"
    parts = ["-n", str(folder / "junction.nod.xml"), "-e", str(folder / "junction.edg.xml")]
    run_program("netconvert", [*parts, *options, *further, "-o", str(net)])
    return net


def _write_demand(
    path: Path, arms: int, lanes: list[int], duration_s: float, rng: np.random.Generator, people: bool
) -> None:
    root = ET.Element("routes")
    ET.SubElement(
        root, "vType", id="car", vClass="passenger", speedDev="0.1", length="4.3", minGap="1.5", probability="0.9"
    )
    ET.SubElement(root, "vType", id="van", vClass="delivery", probability="0.06")
    ET.SubElement(root, "vType", id="truck", vClass="truck", probability="0.04")
    ET.SubElement(root, "vTypeDistribution", id="traffic", vTypes="car van truck")
    load = rng.uniform(0.25, 0.75)  # share of what the junction could carry at best
    turns = rng.dirichlet(np.full(arms - 1, 1.5), arms)
    for begin_s in np.arange(0.0, duration_s, SEGMENT_S):
        end_s = min(begin_s + SEGMENT_S, duration_s)
        share = rng.dirichlet(np.full(arms, 2.0)) * arms
        for source in range(arms):
            rate = load * share[source] * lanes[source] * SATURATION_VEH_H * 0.8 / arms
            others = [target for target in range(arms) if target != source]
            for target, turn in zip(others, turns[source], strict=True):
                flow = {"id": f"f{source}_{target}_{begin_s:.0f}", "type": "traffic"}
                flow |= {"from": f"in{source}", "to": f"out{target}", "begin": f"{begin_s:g}", "end": f"{end_s:g}"}
                ET.SubElement(
                    root, "flow", {**flow, "probability": f"{rate * turn / 3600.0:.5f}", "departLane": "best"}
                )
            if people:
                _write_walks(root, source, others, begin_s, end_s, rng)
    ET.ElementTree(root).write(path)


def _write_walks(
    root: ET.Element, source: int, others: list[int], begin_s: float, end_s: float, rng: np.random.Generator
) -> None:
    """People who walk in along one arm and out along another."""
    per_hour = rng.uniform(*WALKS_H) / len(others)
    for target in others:
        span = {"begin": f"{begin_s:g}", "end": f"{end_s:g}", "period": f"exp({per_hour / 3600.0:.6f})"}
        name = f"p{source}_{target}_{begin_s:.0f}"
        flow = ET.SubElement(root, "personFlow", {"id": name, **span, "departPos": f"-{WALK_M:g}"})
        ET.SubElement(flow, "walk", {"from": f"in{source}", "to": f"out{target}", "arrivalPos": f"{WALK_M:g}"})
