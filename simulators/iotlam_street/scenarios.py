"""Which net, which demand, which hour: RESCO's networks and the user's own files."""

from __future__ import annotations

import difflib
import importlib.util
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

from iotlam.contracts import BadInput, MissingExtra

RESCO = ("cologne1", "cologne3", "cologne8", "ingolstadt1", "ingolstadt7", "ingolstadt21", "grid4x4", "arterial4x4")
DEFAULT_DURATION_S = 3600.0
DEMAND = ("vehicle", "trip", "flow", "person", "personFlow", "container", "containerFlow")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A net with its demand over one stretch of time.

    Attributes:
        name: what tables call it.
        net: the `.net.xml` file.
        routes: the `.rou.xml` files.
        begin_s: first simulated second.
        end_s: last simulated second.
        additional: further SUMO files that a configuration names (vehicle types, detectors, programs).
        priority_share: share of the vehicles that have priority, beside those of class `emergency`; which ones, the
            seed decides.
    """

    name: str
    net: Path
    routes: tuple[Path, ...]
    begin_s: float
    end_s: float
    additional: tuple[Path, ...] = ()
    priority_share: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length of the episode in seconds."""
        return self.end_s - self.begin_s


def resco_folder() -> Path:
    """Folder of the RESCO networks, which the sumo-rl package carries (it is located, never imported).

    Raises:
        MissingExtra: if sumo-rl is not installed.
    """
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("sumo-rl", "traffic")
    return Path(spec.submodule_search_locations[0]) / "nets" / "RESCO"


def find_scenario(name: str) -> Scenario:
    """A scenario by RESCO name or by the path of a `.sumocfg`.

    Raises:
        BadInput: if there is no such map, or the file cannot be used.
    """
    if name.endswith(".sumocfg"):
        return read_sumocfg(Path(name))
    if name not in RESCO:
        near = difflib.get_close_matches(name, RESCO, n=1)
        hint = f"did you mean '{near[0]}'? Or" if near else "choose one of them, or"
        raise BadInput(
            f"Map '{name}'",
            expected=f"one of {', '.join(RESCO)}, or a .sumocfg file",
            got=f"'{name}'",
            fix=f"{hint} give your own files with --net and --routes",
        )
    return read_sumocfg(resco_folder() / name / f"{name}.sumocfg", name=name)


def read_sumocfg(path: Path, name: str | None = None) -> Scenario:
    """Read net, routes, additional files, begin and end from a SUMO configuration; an hour where no end is given.

    Raises:
        BadInput: if the file cannot be read, names no net or no routes, or has times that are none.
    """
    root = parse_xml(path, "a SUMO configuration")
    values = {element.tag: element.get("value", "") for element in root.iter()}
    if not values.get("net-file") or not values.get("route-files"):
        raise BadInput(
            str(path),
            expected="net-file and route-files",
            got="a configuration without them",
            fix="add them to <input>",
        )
    routes, additional = (
        [path.parent / entry.strip() for entry in values.get(key, "").split(",") if entry.strip()]
        for key in ("route-files", "additional-files")
    )
    begin_s, end_s = (_seconds(path, values.get(key) or default) for key, default in (("begin", "0"), ("end", "-1")))
    last_s = begin_s + DEFAULT_DURATION_S if end_s < 0 else end_s
    scenario = scenario_from_files(path.parent / values["net-file"], routes, begin_s, last_s, name or path.stem)
    for file in additional:
        parse_xml(file, "a SUMO additional file")
    return replace(scenario, additional=tuple(additional))


def scenario_from_files(
    net: Path, routes: list[Path], begin_s: float = 0.0, end_s: float = DEFAULT_DURATION_S, name: str | None = None
) -> Scenario:
    """A scenario from a net and route files, after checking that they are what they should be.

    Raises:
        BadInput: if a file is missing, is no SUMO file or is not sorted, or the hour is empty.
    """
    if parse_xml(net, "a SUMO net").tag != "net":
        raise BadInput(str(net), expected="a SUMO net (<net>)", got="another XML file", fix="give a .net.xml file")
    for path in routes:
        _check_routes(path)
    scenario = Scenario(name or net.name.removesuffix(".net.xml"), net, tuple(routes), begin_s, end_s)
    return between(scenario, begin_s, end_s)


def between(scenario: Scenario, begin_s: float, end_s: float) -> Scenario:
    """The scenario over another stretch of time.

    Raises:
        BadInput: if the stretch is empty, or its ends are no times.
    """
    if not (math.isfinite(begin_s) and begin_s >= 0.0):
        raise BadInput("--begin", expected="a time of 0 s or later", got=f"{begin_s:g}", fix="give seconds")
    if not (math.isfinite(end_s) and end_s > begin_s):
        raise BadInput(
            "--end", expected=f"a time after --begin {begin_s:g} s", got=f"{end_s:g} s", fix="give a later end"
        )
    return replace(scenario, begin_s=begin_s, end_s=end_s)


def mentions(scenario: Scenario, words: str) -> bool:
    """Whether a scenario's files contain some words: SUMO does not know of demand before it comes due."""
    files = [path for path in (*scenario.routes, *scenario.additional) if path.is_file()]
    return any(words.encode() in path.read_bytes() for path in files)


def _check_routes(path: Path) -> None:
    """SUMO reads demand as it comes due and silently leaves out what comes too late: it must be sorted."""
    root = parse_xml(path, "a SUMO route file")
    if root.tag not in ("routes", "additional"):
        raise BadInput(str(path), expected="SUMO routes (<routes>)", got="another XML file", fix="give a .rou.xml file")
    if "," in str(path):
        raise BadInput(str(path), expected="a path without commas", got="one", fix="rename it: SUMO splits at commas")
    latest_s = -math.inf
    for element in root:
        if element.tag not in DEMAND:
            continue
        depart = element.get("depart") or element.get("begin") or "0"
        try:
            depart_s = _seconds(path, depart)
        except BadInput:
            continue  # words such as 'triggered', or nonsense that SUMO names
        if depart_s < latest_s:
            raise BadInput(
                f"{path}, {element.tag} '{element.get('id')}'",
                expected=f"demand sorted by departure, {latest_s:g} s or later",
                got=f"{depart_s:g} s",
                fix="sort the file (SUMO's tools/route/sort_routes.py)",
            )
        latest_s = depart_s


def _seconds(path: Path, text: str) -> float:
    """Seconds from '90', '0:01:30' or '1:00:01:30' (days first), as SUMO writes times."""
    try:
        parts = [float(part) for part in text.split(":")]
        seconds = sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadInput(str(path), expected="times in seconds or as h:m:s", got=f"'{text}'", fix="correct the time")
    return seconds


def parse_xml(path: Path, what: str) -> ET.Element:
    """Root element of an XML file.

    Raises:
        BadInput: if the file is missing, packed or broken.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise BadInput(str(path), expected=what, got=got, fix="check the path")
    if path.suffix == ".gz":
        raise BadInput(str(path), expected=what, got="a packed file", fix="unpack it with gunzip")
    try:
        return ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, OSError) as error:
        raise BadInput(
            str(path), expected=f"{what} in well-formed XML", got=str(error), fix="mend or export the file again"
        ) from error
