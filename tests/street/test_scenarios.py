"""Scenarios by name, by .sumocfg and from single files; what cannot be used is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_street.scenarios import RESCO, find_scenario, read_sumocfg, scenario_from_files

CONFIG = """<configuration><input><net-file value="{net}"/><route-files value="{routes}"/></input>
<time>{time}</time></configuration>"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration beside a net and two route files, empty but well-formed."""
    write(tmp_path, "a.net.xml", "<net/>")
    for name in ("one", "two"):
        write(tmp_path, f"{name}.rou.xml", "<routes/>")
    text = CONFIG.format(
        net="a.net.xml", routes="one.rou.xml, two.rou.xml", time='<begin value="60"/><end value="90"/>'
    )
    return write(tmp_path, "mine.sumocfg", text)


@pytest.mark.parametrize("name", RESCO)
def test_resco_maps_are_an_hour(name: str) -> None:
    scenario = find_scenario(name)
    assert (scenario.name, scenario.duration_s) == (name, 3600.0)
    assert scenario.net.is_file() and all(path.is_file() for path in scenario.routes)


def test_a_configuration_names_files_relative_to_itself(config: Path) -> None:
    scenario = find_scenario(str(config))
    assert (scenario.name, scenario.begin_s, scenario.end_s) == ("mine", 60.0, 90.0)
    assert scenario.net == config.parent / "a.net.xml"
    assert [path.name for path in scenario.routes] == ["one.rou.xml", "two.rou.xml"]
    assert all(path.parent == config.parent for path in scenario.routes)


def test_without_times_an_hour_from_zero(config: Path) -> None:
    config.write_text(CONFIG.format(net="a.net.xml", routes="one.rou.xml", time=""))
    scenario = read_sumocfg(config)
    assert (scenario.begin_s, scenario.end_s) == (0.0, 3600.0)


def test_a_wrong_name_is_answered_with_the_near_one() -> None:
    with pytest.raises(BadInput, match="did you mean 'cologne1'"):
        find_scenario("colonge1")
    with pytest.raises(BadInput, match="choose one of them"):
        find_scenario("zzz")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<configuration><input/></configuration>", "net-file and route-files"),
        ("<configuration>", "well-formed XML"),
        (CONFIG.format(net="b.net.xml", routes="one.rou.xml", time=""), "no such file"),
        (CONFIG.format(net="one.rou.xml", routes="one.rou.xml", time=""), "a SUMO net"),
        (CONFIG.format(net="a.net.xml", routes="a.net.xml", time=""), "SUMO routes"),
        (CONFIG.format(net="a.net.xml", routes="one.rou.xml", time='<begin value="noon"/>'), "got 'noon'"),
        (CONFIG.format(net="a.net.xml", routes="one.rou.xml", time='<begin value="9"/><end value="8"/>'), "later end"),
    ],
)
def test_unusable_configurations_are_said_in_one_sentence(config: Path, text: str, reason: str) -> None:
    config.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_sumocfg(config)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_missing_configuration_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        find_scenario(str(tmp_path / "none.sumocfg"))
    net = write(tmp_path, "n.net.xml", "<net/>")
    with pytest.raises(BadInput, match="none.rou.xml.*no such file"):
        scenario_from_files(net, [tmp_path / "none.rou.xml"])


def test_the_name_comes_from_the_net(tmp_path: Path) -> None:
    net, routes = write(tmp_path, "mine.net.xml", "<net/>"), write(tmp_path, "r.rou.xml", "<routes/>")
    assert scenario_from_files(net, [routes]).name == "mine"


@pytest.mark.parametrize(
    ("time", "begin_s", "end_s"),
    [
        ('<begin value="0:01:30"/><end value="1:00:00"/>', 90.0, 3600.0),
        ('<begin value="1:00:00:00"/><end value="86460"/>', 86400.0, 86460.0),
        ('<begin value="30"/><end value="-1"/>', 30.0, 3630.0),  # SUMO's "until all have arrived"
        ('<begin value="30"/>', 30.0, 3630.0),
    ],
)
def test_times_as_sumo_writes_them(config: Path, time: str, begin_s: float, end_s: float) -> None:
    config.write_text(CONFIG.format(net="a.net.xml", routes="one.rou.xml", time=time))
    scenario = read_sumocfg(config)
    assert (scenario.begin_s, scenario.end_s) == (begin_s, end_s)


def test_additional_files_come_along(config: Path) -> None:
    text = config.read_text().replace("</input>", '<additional-files value="types.add.xml"/></input>')
    config.write_text(text)
    with pytest.raises(BadInput, match="types.add.xml.*no such file"):
        read_sumocfg(config)
    write(config.parent, "types.add.xml", "<additional/>")
    assert read_sumocfg(config).additional == (config.parent / "types.add.xml",)


def test_demand_that_sumo_would_leave_out_is_named(tmp_path: Path) -> None:
    net = write(tmp_path, "a.net.xml", "<net/>")
    rows = ['<vType id="x"/>', '<trip id="a" depart="5"/>', '<flow id="b" begin="0:00:07"/>']
    odd = '<person id="c" depart="triggered"/>'
    good = write(tmp_path, "good.rou.xml", f"<routes>{''.join(rows)}{odd}</routes>")
    scenario_from_files(net, [good])
    late = '<vehicle id="d" depart="6.9"/>'
    bad = write(tmp_path, "bad.rou.xml", f"<routes>{''.join(rows)}{odd}{late}</routes>")
    with pytest.raises(BadInput, match=r"bad.rou.xml, vehicle 'd': .* 7 s or later, got 6.9 s; sort"):
        scenario_from_files(net, [bad])


@pytest.mark.parametrize(
    ("begin_s", "end_s", "option"),
    [(-1.0, 9.0, "--begin"), (float("nan"), 9.0, "--begin"), (0.0, float("inf"), "--end"), (5.0, 5.0, "--end")],
)
def test_an_hour_that_is_none_is_refused(config: Path, begin_s: float, end_s: float, option: str) -> None:
    with pytest.raises(BadInput, match=f"^{option}"):
        scenario_from_files(config.parent / "a.net.xml", [config.parent / "one.rou.xml"], begin_s, end_s)


@pytest.mark.parametrize(("name", "reason"), [("a.rou.xml.gz", "gunzip"), ("a,b.rou.xml", "commas"), ("", "a folder")])
def test_files_that_cannot_be_given_to_sumo(config: Path, name: str, reason: str) -> None:
    path = config.parent / name
    if name:
        path.write_text("<routes/>")
    with pytest.raises(BadInput, match=reason):
        scenario_from_files(config.parent / "a.net.xml", [path])
