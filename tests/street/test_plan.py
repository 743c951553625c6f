"""The signal plan against SUMO's own view of the junction, and on nets drawn for one property each."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_street.plan import UPSTREAM_M, SignalPlan, read_plans
from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street

CROSS = {"n": (0, 200), "e": (200, 0), "s": (0, -200), "w": (-200, 0)}
ONE_GREEN = '<tlLogic id="centre" type="static" programID="0" offset="0"><phase duration="9" state="{}"/></tlLogic>'


def netconvert(folder: Path, nodes: str, edges: str, *options: str) -> Path:
    """Build a net from nodes and edges as XML text."""
    (folder / "x.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (folder / "x.edg.xml").write_text(f"<edges>{edges}</edges>")
    spec = importlib.util.find_spec("sumo")
    assert spec is not None and spec.submodule_search_locations is not None
    program = Path(spec.submodule_search_locations[0]) / "bin" / "netconvert"
    files = ["-n", str(folder / "x.nod.xml"), "-e", str(folder / "x.edg.xml"), "-o", str(folder / "x.net.xml")]
    subprocess.run([str(program), *files, *options], check=True, capture_output=True)
    return folder / "x.net.xml"


def node(name: str, x: float, y: float, kind: str = "priority") -> str:
    return f'<node id="{name}" x="{x}" y="{y}" type="{kind}"/>'


def both_ways(one: str, two: str, extra: str = "") -> str:
    return "".join(f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="1" {extra}/>' for a, b in ((one, two), (two, one)))


def cross(centre: str = "traffic_light") -> tuple[str, str]:
    """Four arms of 200 m that meet in `centre`."""
    nodes = node("centre", 0, 0, centre) + "".join(node(name, *place) for name, place in CROSS.items())
    return nodes, "".join(both_ways(name, "centre") for name in CROSS)


@pytest.fixture(scope="module")
def plan() -> SignalPlan:
    return read_plans(find_scenario("cologne1").net)[0]


def test_cologne1_has_four_phases_eight_lanes_four_approaches(plan: SignalPlan) -> None:
    assert plan.serves_PK.shape == plan.yields_PK.shape == (4, 8)
    assert len(plan.approaches) == 4
    assert all(approach.width == pytest.approx(6.4, abs=0.5) for approach in plan.approaches)
    assert plan.serves_PK.any(axis=0).all() and plan.serves_PK.any(axis=1).all()


def test_the_plan_is_what_sumo_controls(plan: SignalPlan) -> None:
    scenario = find_scenario("cologne1")
    with Street(replace(scenario, end_s=scenario.begin_s + 10), 1, plans=[plan]) as street:
        controlled = street.api.trafficlight.getControlledLinks(plan.signal)
        lengths = [street.api.lane.getLength(lane.id) for lane in plan.lanes]
    links = [(index, *link[:2]) for index, group in enumerate(controlled) for link in group]
    assert {source for _, source, _ in links} == {lane.id for lane in plan.lanes}
    assert [lane.length for lane in plan.lanes] == pytest.approx(lengths)
    for column, lane in enumerate(plan.lanes):
        own = [index for index, source, _ in links if source == lane.id]
        assert set(lane.outgoing) == {target for _, source, target in links if source == lane.id}
        for row, state in enumerate(plan.green_states):
            greens = [state[index] for index in own if state[index] in "Gg"]
            assert plan.serves_PK[row, column] == bool(greens)
            assert plan.yields_PK[row, column] == (bool(greens) and "G" not in greens)


def test_green_phases_are_those_of_the_program_without_yellow(plan: SignalPlan) -> None:
    assert plan.green_states == tuple(state for _, state in plan.program if "y" not in state)
    assert [duration_s for duration_s, _ in plan.program] == [29, 5, 6, 5, 29, 5, 6, 5]


def test_approaches_head_for_the_centre(plan: SignalPlan) -> None:
    for approach in plan.approaches:
        travel_2 = np.array([np.cos(approach.heading), np.sin(approach.heading)])
        inwards_2 = -approach.stop_2 / np.hypot(*approach.stop_2)
        assert travel_2 @ inwards_2 > 0.7
        assert np.hypot(*approach.stop_2) < 30.0


def test_lanes_are_followed_upstream(tmp_path: Path) -> None:
    nodes, edges = cross()
    nodes = nodes.replace(node("w", -200, 0), node("w", -40, 0) + node("v", -70, 0) + node("u", -400, 0))
    net = netconvert(tmp_path, nodes, edges + both_ways("v", "w") + both_ways("u", "v"))
    lanes = {lane.edge: lane for lane in read_plans(net)[0].lanes}
    west, north = lanes["wcentre"], lanes["ncentre"]
    assert [name for name, _ in west.upstream] == ["wcentre_0", "vw_0", "uv_0"]
    ends_m = [end_m for _, end_m in west.upstream]
    assert ends_m[0] == pytest.approx(west.length) and ends_m == sorted(ends_m)
    assert ends_m[-2] < UPSTREAM_M <= ends_m[-1]
    assert [name for name, _ in north.upstream] == ["ncentre_0"] and north.length > UPSTREAM_M


def test_turnarounds_are_not_followed(tmp_path: Path) -> None:
    nodes, edges = cross()
    nodes = nodes.replace(node("w", -200, 0), node("w", -50, 0))  # a dead end, where SUMO lets vehicles turn
    lanes = {lane.edge: lane for lane in read_plans(netconvert(tmp_path, nodes, edges))[0].lanes}
    assert [name for name, _ in lanes["wcentre"].upstream] == ["wcentre_0"]


def test_points_back_follow_a_bent_line_and_go_straight_past_its_end(plan: SignalPlan) -> None:
    line_N2 = np.array([[0, 0], [-10, 0], [-10, 0], [-10, -20]], np.float32)  # a doubled point, as nets have
    bent = replace(plan, lanes=(replace(plan.lanes[0], centreline_N2=line_N2),))
    points_KHX = bent.points_back(np.array([0, 4, 10, 15, 30, 50], np.float32))
    np.testing.assert_allclose(points_KHX, [[[0, 0], [-4, 0], [-10, 0], [-10, -5], [-10, -20], [-10, -40]]], atol=1e-5)


def test_points_beyond_the_stop_line_lie_on_the_way_out(tmp_path: Path) -> None:
    plan = read_plans(netconvert(tmp_path, *cross()))[0]
    row = [lane.edge for lane in plan.lanes].index("wcentre")
    points_HX = plan.points_back(np.array([-60, -40, -20, 0, 20], np.float32))[row]
    np.testing.assert_allclose(np.diff(points_HX[:, 0]), -20.0, atol=1.0)  # from west to east
    np.testing.assert_allclose(points_HX[:, 1], points_HX[3, 1], atol=0.5)


def test_points_back_run_along_a_bent_road(tmp_path: Path) -> None:
    nodes, edges = cross()
    bend = 'shape="-200,100 -60,100 -60,0 0,0"'
    edges = edges.replace('id="wcentre" from="w" to="centre" ', f'id="wcentre" from="w" to="centre" {bend} ')
    plan = read_plans(netconvert(tmp_path, nodes.replace(node("w", -200, 0), node("w", -200, 100)), edges))[0]
    row = [lane.edge for lane in plan.lanes].index("wcentre")
    lane, stop_2 = plan.lanes[row], plan.lanes[row].centreline_N2[0]
    distances_H = np.arange(0.0, lane.length, 1.0, dtype=np.float32)
    points_HX = plan.points_back(distances_H)[row]
    steps_m = np.hypot(*np.diff(points_HX, axis=0).T)
    assert ((steps_m > 0.7) & (steps_m < 1.0001)).all() and (steps_m < 0.999).sum() <= 4  # corners are cut
    np.testing.assert_allclose(points_HX[:30, 1], stop_2[1], atol=0.01)  # 30 m back it is still on the last leg
    assert points_HX[120, 1] - stop_2[1] > 50.0  # beyond the bend it has gone north


def test_a_net_needs_a_signal(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a net with a traffic light, got none; add one in netedit"):
        read_plans(netconvert(tmp_path, *cross("priority")))


def test_each_road_belongs_to_the_signal_it_comes_to_first(tmp_path: Path) -> None:
    nodes, edges = cross()
    second = node("e", 200, 0, "traffic_light") + node("x", 200, 90) + node("y", 290, 0) + node("z", 290, 90)
    edges += both_ways("x", "e") + both_ways("y", "e") + both_ways("z", "y")
    plans = read_plans(netconvert(tmp_path, nodes.replace(node("e", 200, 0), second), edges))
    assert [plan.signal for plan in plans] == ["centre", "e"]
    roads = [{edge for edge, _ in plan.catchment} for plan in plans]
    assert roads == [{"wcentre", "ncentre", "scentre", "ecentre"}, {"xe", "ye", "zy", "centree"}]
    assert all(limit_mps == pytest.approx(13.89) for plan in plans for _, limit_mps in plan.catchment)


def test_one_green_phase_is_no_choice(tmp_path: Path) -> None:
    net = netconvert(tmp_path, *cross())
    state = read_plans(net)[0].green_states[0]
    before, _, rest = net.read_text().partition("<tlLogic")
    net.write_text(before + ONE_GREEN.format(state) + rest.partition("</tlLogic>")[2])
    with pytest.raises(BadInput, match="at least two green phases, got 1"):
        read_plans(net)[0]


def test_a_net_whose_program_is_missing(tmp_path: Path) -> None:
    net = netconvert(tmp_path, *cross())
    before, _, rest = net.read_text().partition("<tlLogic")
    net.write_text(before + rest.partition("</tlLogic>")[2])
    with pytest.raises(BadInput) as caught:
        read_plans(net)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["<net><edge", "<net><edge id='a'/></net>", "\x00\x01"])
def test_broken_nets_are_said_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.net.xml").write_text(text)
    with pytest.raises(BadInput) as caught:
        read_plans(tmp_path / "broken.net.xml")[0]
    assert "broken.net.xml" in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_missing_net(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none.net.xml: expected a SUMO net, got no such file"):
        read_plans(tmp_path / "none.net.xml")[0]


def test_a_program_too_short_for_its_links(tmp_path: Path) -> None:
    net = netconvert(tmp_path, *cross())
    plan = read_plans(net)[0]
    text = net.read_text()
    for _, state in plan.program:
        text = text.replace(f'state="{state}"', f'state="{state[:-1]}"')
    net.write_text(text)
    with pytest.raises(BadInput, match="links"):
        read_plans(net)[0]


def test_a_phase_that_gives_the_same_lanes_more_green_exceeds_another() -> None:
    plans = read_plans(find_scenario("cologne8").net)
    exceeded = [list(zip(*map(list, plan.exceeded_PP.nonzero()), strict=True)) for plan in plans]
    assert exceeded == [[(3, 2)], [], [(1, 0)], [(3, 2)], [], [(1, 0)], [], [(1, 0), (3, 2)]]
    states = [state + people for state, people in zip(plans[3].green_states, "rrrG", strict=True)]
    crossing = replace(plans[3], green_states=tuple(states))
    assert not crossing.exceeded_PP.any()  # it lets people walk, which the other does not
