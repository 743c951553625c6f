from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_in_the_wheel_and_under_the_import_rules() -> None:
    packages = {"iotlam"} | {
        f"{root}/{path.name}"
        for root in ("sensors", "simulators", "apps")
        for path in (ROOT / root).iterdir()
        if path.name.startswith("iotlam_")
    }
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == packages
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == {path.rpartition("/")[2] for path in packages}


def test_every_built_in_modality_has_a_manifest_and_is_registered() -> None:
    points = PROJECT["project"]["entry-points"]["iotlam.modalities"]
    manifests = (ROOT / "sensors").rglob("modality.toml")
    modules = {".".join(path.parent.relative_to(ROOT / "sensors").parts) for path in manifests}
    assert {value.partition(":")[0] for value in points.values()} == modules


def test_constraints_pin_every_direct_dependency() -> None:
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {text.partition(">=")[0].lower() for text in wanted if not text.startswith("iotlam[")}
    assert names <= pins


def test_importing_contracts_plugins_and_command_line_is_light() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'libsumo', 'sumolib', 'matplotlib'}"
    code = f"import sys, iotlam.contracts, iotlam.plugins, iotlam.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
