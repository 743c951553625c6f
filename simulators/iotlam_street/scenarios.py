"""Which net, which demand, which hour: RESCO's junctions and the user's own files."""

from __future__ import annotations

import difflib
import importlib.util
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from iotlam.contracts import BadInput, MissingExtra

RESCO_SINGLE = ("cologne1", "ingolstadt1")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A net with its demand over one stretch of time.

    Attributes:
        name: what tables call it.
        net: the `.net.xml` file.
        routes: the `.rou.xml` files.
        begin_s: first simulated second.
        end_s: last simulated second.
    """

    name: str
    net: Path
    routes: tuple[Path, ...]
    begin_s: float
    end_s: float

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
    if name not in RESCO_SINGLE:
        near = difflib.get_close_matches(name, RESCO_SINGLE, n=1)
        hint = f"did you mean '{near[0]}'? Or" if near else "choose one of them, or"
        raise BadInput(
            f"Map '{name}'",
            expected=f"one of {', '.join(RESCO_SINGLE)}, or a .sumocfg file",
            got=f"'{name}'",
            fix=f"{hint} give your own files with --net and --routes",
        )
    return read_sumocfg(resco_folder() / name / f"{name}.sumocfg", name=name)


def read_sumocfg(path: Path, name: str | None = None) -> Scenario:
    """Read net, routes, begin and end from a SUMO configuration.

    Raises:
        BadInput: if the file cannot be read, names no net or no routes, or gives its times in no seconds.
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
    routes = [path.parent / entry.strip() for entry in values["route-files"].split(",")]
    try:
        begin_s, end_s = float(values.get("begin") or 0.0), float(values.get("end") or 0.0)
    except ValueError as error:
        got = str(error).rpartition(": ")[2]
        raise BadInput(str(path), expected="begin and end in seconds", got=got, fix="write them as numbers") from error
    return scenario_from_files(
        path.parent / values["net-file"], routes, begin_s, end_s or begin_s + 3600.0, name or path.stem
    )


def scenario_from_files(
    net: Path, routes: list[Path], begin_s: float = 0.0, end_s: float = 3600.0, name: str | None = None
) -> Scenario:
    """A scenario from a net and route files, after checking that they are what they should be.

    Raises:
        BadInput: if a file is missing or is no SUMO file, or the hour is empty.
    """
    if parse_xml(net, "a SUMO net").tag != "net":
        raise BadInput(str(net), expected="a SUMO net (<net>)", got="another XML file", fix="give a .net.xml file")
    for path in routes:
        if parse_xml(path, "a SUMO route file").tag not in ("routes", "additional"):
            raise BadInput(
                str(path), expected="SUMO routes (<routes>)", got="another XML file", fix="give a .rou.xml file"
            )
    if end_s <= begin_s:
        raise BadInput(
            "--end", expected=f"a time after --begin {begin_s:g} s", got=f"{end_s:g} s", fix="give a later end"
        )
    return Scenario(name or net.name.removesuffix(".net.xml"), net, tuple(routes), begin_s, end_s)


def parse_xml(path: Path, what: str) -> ET.Element:
    """Root element of an XML file.

    Raises:
        BadInput: if the file is missing or broken.
    """
    if not path.is_file():
        raise BadInput(str(path), expected=what, got="no such file", fix="check the path")
    try:
        return ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, OSError) as error:
        raise BadInput(
            str(path), expected=f"{what} in well-formed XML", got=str(error), fix="mend or export the file again"
        ) from error
