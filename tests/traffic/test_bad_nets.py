"""Nets that cannot be controlled, as the command line meets them: one sentence, exit status 2, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from iotlam.cli.main import app
from iotlam_street.plan import read_plans
from iotlam_street.sumo import run_program

ARMS = {"n": (0, 150), "e": (150, 0), "s": (0, -150), "w": (-150, 0)}


def cross(folder: Path, centre: str) -> Path:
    """Four arms that meet in a junction of a kind."""
    nodes = [f'<node id="c" x="0" y="0" type="{centre}"/>']
    nodes += [f'<node id="{name}" x="{x}" y="{y}" type="priority"/>' for name, (x, y) in ARMS.items()]
    edges = [f'<edge id="{a}{b}" from="{a}" to="{b}"/>' for name in ARMS for a, b in ((name, "c"), ("c", name))]
    (folder / "x.nod.xml").write_text(f"<nodes>{''.join(nodes)}</nodes>")
    (folder / "x.edg.xml").write_text(f"<edges>{''.join(edges)}</edges>")
    files = ["-n", str(folder / "x.nod.xml"), "-e", str(folder / "x.edg.xml"), "-o", str(folder / "x.net.xml")]
    run_program("netconvert", files)
    return folder / "x.net.xml"


def phases(net: Path, *states: str) -> None:
    """Give the net's signal other phases."""
    before, _, rest = net.read_text().partition("<tlLogic")
    rows = "".join(f'<phase duration="9" state="{state}"/>' for state in states)
    logic = f'<tlLogic id="c" type="static" programID="0" offset="0">{rows}</tlLogic>'
    net.write_text(before + logic + rest.partition("</tlLogic>")[2])


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("no signal", ["x.net.xml", "a net with a traffic light", "got none", "netedit"]),
        ("no green", ["x.net.xml, traffic light 'c'", "at least two green phases", "got 0"]),
        ("one green", ["x.net.xml, traffic light 'c'", "at least two green phases", "got 1"]),
        ("short phases", ["x.net.xml, traffic light 'c'", "phases for", "netconvert"]),
        ("other routes", ["x.net.xml with x.rou.xml", "'nowhere'", "check that the routes belong to this net"]),
    ],
)
def test_a_net_that_cannot_be_controlled(case: str, parts: list[str], tmp_path: Path, temporary: Path) -> None:
    net = cross(tmp_path, "priority" if case == "no signal" else "traffic_light")
    start = "nowhere" if case == "other routes" else "nc"
    routes = tmp_path / "x.rou.xml"
    routes.write_text(f'<routes><trip id="a" depart="0" from="{start}" to="cs"/></routes>')
    if case in ("no green", "one green", "short phases"):
        green = read_plans(net)[0].green_states[0]
        phases(net, *{"no green": ["r" * len(green)], "one green": [green, "r" * len(green)]}.get(case, ["G"]))
    command = ["traffic", "run", "--net", str(net), "--routes", str(routes), "--end", "30", "--controller", "greedy"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    (sentence,) = result.stderr.strip().splitlines()
    assert all(part in sentence for part in parts), sentence
    assert result.stdout == "" and not list(temporary.iterdir())
