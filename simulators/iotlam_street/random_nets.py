"""Random nets of several signals with random demand, as SUMO's own `netgenerate` and `duarouter` make them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from iotlam_street.scenarios import Scenario, scenario_from_files
from iotlam_street.sumo import run_program

KINDS = ("grid", "spider", "rand")
EVERY_S = 1.5
"""Mean time between two departures, in the whole net."""


def generate_net(folder: Path, seed: int, duration_s: float = 600.0) -> Scenario:
    """Write a random net of many signals and its demand, and return it as a scenario.

    Its shape (grid, spider or random), lanes, turn lanes, all-red times, left-hand traffic and layout of the phases are
    drawn by the seed; trips lead from anywhere to anywhere.

    Args:
        folder: where the `.net.xml` and `.rou.xml` go; made if absent.
        seed: decides everything.
        duration_s: length of the demand, seconds.

    Raises:
        MissingExtra: if SUMO's tools are not installed.
        IotlamError: if one of them refuses.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    net, trips, routes = (folder / name for name in ("city.net.xml", "city.trips.xml", "city.rou.xml"))
    run_program("netgenerate", [*_shape(rng), *_signals(rng), "--seed", str(seed), "-o", str(net)])
    _write_trips(trips, net, duration_s, rng)
    given = ["-n", str(net), "-r", str(trips), "-o", str(routes)]
    run_program("duarouter", [*given, "--ignore-errors", "--no-warnings", "--seed", str(seed)])
    return scenario_from_files(net, [routes], 0.0, duration_s, f"net-{seed}")


def _shape(rng: np.random.Generator) -> list[str]:
    """Options for the streets."""
    kind, number = str(rng.choice(KINDS)), str(rng.integers(2, 5))
    options = {
        "grid": ["--grid.number", number, "--grid.length", "180", "--grid.attach-length", "150"],
        "spider": ["--spider.arm-number", str(rng.integers(3, 7)), "--spider.circle-number", "2"],
        "rand": ["--rand.iterations", str(rng.integers(12, 40)), "--rand.min-distance", "120"],
    }[kind]
    lanes = ["--default.lanenumber", str(rng.integers(1, 4)), *(["--random-lanenumber"] if rng.random() < 0.3 else [])]
    return [f"--{kind}", *options, *lanes, *(["--lefthand"] if rng.random() < 0.3 else [])]


def _signals(rng: np.random.Generator) -> list[str]:
    """Options for the junctions."""
    options = ["--default.junctions.type", "traffic_light", "--tls.layout", str(rng.choice(["opposites", "incoming"]))]
    options += ["--tls.allred.time", str(rng.choice([0, 2])), "--tls.left-green.time", str(rng.choice([0, 6]))]
    return [*options, *(["--turn-lanes", "1"] if rng.random() < 0.5 else [])]


def _write_trips(path: Path, net: Path, duration_s: float, rng: np.random.Generator) -> None:
    """Trips between any two roads; some have no way from one to the other, which the router leaves out."""
    roads = [str(edge.get("id")) for edge in ET.parse(net).getroot().iterfind("edge") if not edge.get("function")]
    root = ET.Element("routes")
    for number, depart_s in enumerate(np.cumsum(rng.exponential(EVERY_S, int(duration_s / EVERY_S)))):
        source, target = rng.choice(roads, 2, replace=False)
        trip = {"id": f"t{number}", "depart": f"{depart_s:.2f}", "from": str(source), "to": str(target)}
        ET.SubElement(root, "trip", trip)
    ET.ElementTree(root).write(path)
