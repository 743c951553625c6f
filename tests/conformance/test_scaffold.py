from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import iotlam.conformance
from iotlam.conformance.scaffold import register, write_package
from iotlam.contracts import BadInput, ModalityManifest

TEMPLATE = Path(iotlam.conformance.__file__).parent / "template"


def test_a_package_is_complete_and_bears_its_own_name(tmp_path: Path) -> None:
    written = {str(path) for path in write_package("gas_nose", tmp_path / "nose")}
    assert {
        ".github/workflows/conformance.yml",
        "README.md",
        "iotlam_gas_nose/encoder.py",
        "iotlam_gas_nose/example.csv",
        "iotlam_gas_nose/modality.toml",
        "pyproject.toml",
        "tests/test_conformance.py",
    } <= written
    texts = {path: (tmp_path / "nose" / path).read_text() for path in written}
    assert not [path for path, text in texts.items() if "newsensor" in (path + text).lower()]
    points = tomllib.loads(texts["pyproject.toml"])["project"]["entry-points"]["iotlam.modalities"]
    assert points == {"gas_nose": "iotlam_gas_nose:GasNoseModality"}
    assert ModalityManifest.from_toml(tmp_path / "nose/iotlam_gas_nose/modality.toml").name == "gas_nose"
    assert len(texts["tests/test_conformance.py"].splitlines()) == 3
    assert sorted(os.listdir(tmp_path)) == ["nose"], "nothing but the project is left"


@pytest.mark.parametrize("name", ["", "Thermal", "2d", "a-b", "a b", "a.b", "../x", "lidar"])
def test_a_name_that_cannot_be_used_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="Argument NAME"):
        write_package(name, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(BadInput, match="--out"):
            write_package("thermal", out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert write_package("thermal", tmp_path / "empty")


def test_the_template_holds_text_only() -> None:
    for path in TEMPLATE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_packages_own_tests_pass_as_an_author_runs_them(tmp_path: Path) -> None:
    project, site = tmp_path / "project", tmp_path / "site"
    write_package("thermal", project)
    site.mkdir()
    register(site, "thermal", "iotlam_thermal:ThermalModality", (project / "README.md").read_text())
    manifest = project / "iotlam_thermal" / "modality.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{project}"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "110 passed, 3 skipped" in done.stdout and "the modality measures no place" in done.stdout
    manifest.write_text(manifest.read_text().replace('"Apache-2.0"', '"a licence"'))
    done = subprocess.run([*command, "-k", "licence"], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "field licence: expected an SPDX identifier" in done.stdout
