from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iotlam.cli.main import app

Install = Callable[..., Path]
RUNNER = CliRunner()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert RUNNER.invoke(app, ["sensors", "new", "thermal"]).exit_code == 0
    return tmp_path / "thermal"


def listed(*arguments: str) -> list[str]:
    return [info["name"] for info in json.loads(RUNNER.invoke(app, ["sensors", "list", *arguments, "--json"]).stdout)]


def test_sensors_are_listed() -> None:
    lines = RUNNER.invoke(app, ["sensors", "list"]).stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "units", "dims"]
    assert {"lidar", "radar", "video"} <= {line.split()[0] for line in lines[1:]}


def test_sensors_are_filtered_by_part_of_a_name_or_a_pattern(install: Install) -> None:
    install("acme_gone", "", {"iotlam.modalities": {"sonar_a": "gone:A", "sonar_b": "gone:B", "subsonar": "gone:C"}})
    assert listed("sonar") == ["sonar_a", "sonar_b", "subsonar"]
    assert listed("sonar*") == ["sonar_a", "sonar_b"] and listed("sonar_?") == listed("sonar_[ab]")
    missed = RUNNER.invoke(app, ["sensors", "list", "smell"])
    assert missed.exit_code == 2 and "lidar" in missed.stderr


def test_a_broken_sensor_is_listed_with_its_problem(install: Install) -> None:
    install("acme_mute", "", {"iotlam.modalities": {"mute": "acme_mute:Mute"}})
    lines = RUNNER.invoke(app, ["sensors", "list"]).stdout.splitlines()
    assert "modality.toml" in next(line for line in lines if line.startswith("mute"))


def test_a_new_package_is_written_and_says_what_comes_next(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["sensors", "new", "thermal", "--out", str(tmp_path / "t")])
    assert result.exit_code == 0 and "iotlam sensors check" in result.stdout
    assert (tmp_path / "t" / "iotlam_thermal" / "modality.toml").exists()
    again = RUNNER.invoke(app, ["sensors", "new", "thermal", "--out", str(tmp_path / "t")])
    assert again.exit_code == 2 and "--out" in again.stderr
    result = RUNNER.invoke(app, ["sensors", "new", "gas", "--out", str(tmp_path / "g"), "--json"])
    assert json.loads(result.stdout)["modality"] == "gas"


def test_a_new_package_passes_the_check_at_once(project: Path) -> None:
    result = RUNNER.invoke(app, ["sensors", "check", str(project), "--tier", "platinum"])
    assert result.exit_code == 0, result.stdout
    assert "tier: platinum" in result.stdout and "failed:" not in result.stdout
    assert "iotlam_thermal" not in sys.modules, "the plugin stays in a process of its own"
    assert not list(project.rglob("__pycache__")), "and leaves nothing behind"


@pytest.mark.slow
def test_a_check_that_fails_is_told_and_so_is_what_a_tier_lacks(project: Path) -> None:
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace("```python", "```text"))
    result = RUNNER.invoke(app, ["sensors", "check", str(project)])
    assert result.exit_code == 1
    assert "failed: readme-snippet-runs (gold): Modality plugin 'thermal', field README.md: expected" in result.stdout
    assert "tier: silver" in result.stdout and "missing for gold: readme-snippet-runs (failed)" in result.stdout
    report = json.loads(RUNNER.invoke(app, ["sensors", "check", str(project), "--json"]).stdout)
    assert report["tier"] == "silver" and report["next_tier"] == "gold" and len(report["results"]) >= 60


@pytest.mark.slow
def test_a_tier_that_is_not_reached_is_a_failure() -> None:
    assert RUNNER.invoke(app, ["sensors", "check", "radar", "--tier", "bronze"]).exit_code == 0
    result = RUNNER.invoke(app, ["sensors", "check", "radar", "--tier", "platinum"])
    assert result.exit_code == 1 and "missing for platinum: reader-imports (not applicable)" in result.stdout


@pytest.mark.slow
def test_a_card_holds_manifest_tier_and_measured_facts(project: Path) -> None:
    page = RUNNER.invoke(app, ["sensors", "card", str(project)]).stdout
    assert page.startswith("# thermal\n") and "| tier | platinum |" in page and "| one window, ms |" in page
    assert "- `rate_hz`: sample rate, hertz" in page
    facts = json.loads(RUNNER.invoke(app, ["sensors", "card", "radar", "--json"]).stdout)
    assert facts["manifest"]["name"] == "radar" and facts["measured"]["latency_ms"] > 0 and facts["missing"]


@pytest.mark.parametrize("command", ["check", "card"])
def test_what_is_no_modality_is_told(command: str, tmp_path: Path) -> None:
    for name in ("lidr", str(tmp_path), str(tmp_path / "gone")):
        result = RUNNER.invoke(app, ["sensors", command, name])
        assert result.exit_code == 2 and "expected" in result.stderr and result.stdout == ""


def test_an_odd_place_or_name_for_a_new_package_is_met_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert RUNNER.invoke(app, ["sensors", "new", "thermal", "--out", "."]).exit_code == 0
    assert (here / "iotlam_thermal" / "modality.toml").is_file()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for arguments in (
        ["thermal", "--out", str(tmp_path / "loop" / "x")],
        ["thermal", "--out", str(tmp_path / ("x" * 300))],
        ["t" * 300],
        ["waveform"],  # iotlam_waveform is installed
    ):
        result = RUNNER.invoke(app, ["sensors", "new", *arguments])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "loop"]


@pytest.mark.parametrize("project", ["thermal = 5", 'a = "no package:A"', "[" * 20_000])
def test_a_folder_that_is_no_project_is_refused_in_a_sentence(tmp_path: Path, project: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project.entry-points."iotlam.modalities"]\n{project}\n')
    for target in (str(tmp_path), "x" * 5000):
        result = RUNNER.invoke(app, ["sensors", "check", target])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output[:300]
