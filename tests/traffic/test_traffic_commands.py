"""`iotlam traffic`, the demo and the suite as users meet them: real SUMO, shipped weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iotlam_lidar
from iotlam.cli.main import app
from iotlam_street.generate import generate_junction
from iotlam_street.scenarios import resco_folder
from iotlam_traffic.policy import SHIPPED

RUNNER = CliRunner()
Install = Callable[..., Path]
COLOGNE = resco_folder() / "cologne1"
SHORT = ["--end", "25320"]
BROKEN = """
from iotlam_lidar import LidarModality

class Broken(LidarModality):
    def tokenize(self, frames):
        raise ZeroDivisionError("no points")
"""


def leftovers() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("iotlam-*")}


def test_rules_compete_on_the_same_seeds() -> None:
    command = ["traffic", "evaluate", "cologne1", *SHORT, "--controllers", "fixed,greedy", "--seeds", "3,4", "--json"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    episodes = json.loads(result.stdout)["episodes"]
    assert [(row["controller"], row["seed"]) for row in episodes] == [
        ("fixed", 3), ("greedy", 3), ("fixed", 4), ("greedy", 4)
    ]  # fmt: skip
    assert len({row["vehicles"] for row in episodes}) == 1, "everybody meets the same demand"


def test_ours_runs_from_sensors_on_a_users_own_net(tmp_path: Path) -> None:
    scenario = generate_junction(tmp_path, seed=5, duration_s=120.0)
    command = [
        "traffic",
        "run",
        "--net",
        str(scenario.net),
        "--routes",
        str(scenario.routes[0]),
        "--end",
        "120",
        "--json",
    ]
    first, again, other = (RUNNER.invoke(app, [*command, "--seed", seed]) for seed in ("1", "1", "2"))
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["trips"][0]["vehicles"] > 0
    assert first.stdout == again.stdout != other.stdout


def test_one_sensor_is_enough_to_run() -> None:
    for modality in ("lidar", "video", "spectrum"):
        result = RUNNER.invoke(app, ["traffic", "run", *SHORT, "--modalities", modality, "--json"])
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["cologne2"], ["cologne2", "did you mean 'cologne1'"]),
        (["--controller", "gredy"], ["gredy", "greedy"]),
        (["--modalities", "lidar,smell"], ["smell", "lidar, spectrum, video"]),
        (
            ["--net", "absent.net.xml", "--routes", str(COLOGNE / "cologne1.rou.xml")],
            ["absent.net.xml", "no such file"],
        ),
        (
            ["--net", str(COLOGNE / "cologne1.net.xml"), "--routes", "absent.rou.xml"],
            ["absent.rou.xml", "no such file"],
        ),
        (["--net", str(COLOGNE / "cologne1.net.xml")], ["--net and --routes", "only one of them"]),
        (["--end", "5"], ["--end", "give a later end"]),
        (["--weights", "absent"], ["absent", "name the folder of a finished run"]),
    ],
)
def test_a_wrong_input_is_one_sentence_and_leaves_nothing(command: list[str], parts: list[str], tmp_path: Path) -> None:
    before = leftovers()
    out = tmp_path / "page"
    result = subprocess.run(
        [str(Path(sys.executable).with_name("iotlam")), "traffic", "run", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    (sentence,) = result.stderr.strip().splitlines()
    assert "expected" in sentence and "got" in sentence and all(part in sentence for part in parts), sentence
    assert leftovers() == before and not out.exists()


def test_routes_of_another_net_are_named(tmp_path: Path) -> None:
    routes = resco_folder() / "ingolstadt1" / "ingolstadt1.rou.xml"
    net = COLOGNE / "cologne1.net.xml"
    command = ["traffic", "run", "--net", str(net), "--routes", str(routes), "--begin", "57600", "--end", "57700"]
    before = leftovers()
    result = RUNNER.invoke(app, [*command, "--controller", "greedy"])
    assert result.exit_code == 2 and "ingolstadt1.rou.xml" in result.stderr and "not known" in result.stderr
    assert leftovers() == before


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(SHIPPED, other)
    config = json.loads((other / "config.json").read_text())
    config["fusion"]["d_fusion"] *= 2
    (other / "config.json").write_text(json.dumps(config))
    result = RUNNER.invoke(app, ["traffic", "run", *SHORT, "--weights", str(other)])
    assert result.exit_code == 2 and "iotlam.safetensors" in result.stderr


def test_a_plugin_that_raises_is_named(install: Install) -> None:
    manifest = (Path(iotlam_lidar.__file__).parent / "modality.toml").read_text()
    install("acme_lidar", BROKEN, {"iotlam.modalities": {"lidar": "acme_lidar:Broken"}}, {"modality.toml": manifest})
    result = RUNNER.invoke(app, ["traffic", "run", *SHORT])
    assert result.exit_code == 2 and "'lidar'" in result.stderr and "ZeroDivisionError: no points" in result.stderr


def test_training_seeds_never_meet_the_test_seeds() -> None:
    from iotlam_traffic.curriculum import TEST_SEEDS
    from iotlam_traffic.train import TrainConfig

    assert TrainConfig().first_seed > max(TEST_SEEDS)


@pytest.mark.slow
def test_the_demo_ends_in_a_page(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["demo", "traffic", "--quick", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    page = Path(answer["page"]).read_text()
    assert {row["controller"] for row in answer["trips"]} == {"iotlam", "fixed", "actuated", "greedy", "max-pressure"}
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    for row in answer["trips"]:
        assert row["controller"] in page
