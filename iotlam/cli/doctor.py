"""`iotlam doctor`: what is installed, what is missing, how to get it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec
from pathlib import Path

import iotlam
from iotlam.bench.host import usable_cores
from iotlam.plugins import list_modalities


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        ok: whether it is there and usable.
        found: version or state.
        fix: how to get it, "" where nothing is to be done.
        core: whether iotlam is incomplete without it.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    core: bool = False


def examine() -> list[Check]:
    """Look at everything; imports no dependency and no plugin."""
    return [*_platform(), *_dependencies(), *_sumo(), *_weights(), *_modalities(), *_data()]


def complete(checks: list[Check]) -> bool:
    """Whether all that iotlam cannot do without is there."""
    return all(check.ok for check in checks if check.core)


def as_json(checks: list[Check]) -> dict[str, object]:
    """The report for programs."""
    return {"complete": complete(checks), "checks": [asdict(check) for check in checks]}


def _platform() -> Iterator[Check]:
    yield Check("python", True, platform.python_version(), core=True)
    yield Check("iotlam", True, iotlam.__version__, core=True)
    yield Check("cpu cores", True, str(usable_cores()))


def _dependencies() -> Iterator[Check]:
    """One check for each requirement in iotlam's own metadata; an extra's is not core."""
    try:
        requirements = requires("iotlam") or []
    except PackageNotFoundError:
        yield Check("dependencies", False, "iotlam is not installed", "pip install -e .", core=True)
        return
    extras: dict[str, str] = {}
    for requirement in requirements:
        name = re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        # dev repeats the other extras: name the one a user would install.
        if extras.get(name, "dev") == "dev":
            extras[name] = extra.group(1) if extra else ""
    extras.pop("iotlam", None)
    for name, label in sorted(extras.items(), key=lambda item: (item[1] != "", item[1] == "dev", item)):
        yield _package(name, label)


def _package(name: str, extra: str) -> Check:
    label = f"{name} [{extra}]" if extra else name
    try:
        return Check(label, True, version(name), core=not extra)
    except PackageNotFoundError:
        command = f"pip install 'iotlam[{extra}]'" if extra else f"pip install {name}"
        return Check(label, False, "missing", command, core=not extra)


def _sumo() -> Iterator[Check]:
    try:
        yield Check("SUMO", True, version("libsumo"))
    except PackageNotFoundError:
        yield Check("SUMO", False, "missing", "pip install 'iotlam[traffic]'")


def _weights() -> Iterator[Check]:
    """Weights of iotlam and of the packages that come with it, found without importing them."""
    try:
        packages = {point.module.partition(".")[0] for point in distribution("iotlam").entry_points}
    except PackageNotFoundError:
        packages = {"iotlam"}
    found = 0
    for package in sorted(packages):
        spec = find_spec(package)
        for root in map(Path, (spec.submodule_search_locations or []) if spec else []):
            for path in sorted(root.rglob("*.safetensors")):
                found += 1
                size = f"{path.stat().st_size / 1e6:.1f} MB"
                yield Check(f"weights {package}/{path.relative_to(root)}", True, size, core=True)
    if not found:
        yield Check("weights", False, "missing", "pip install --force-reinstall iotlam", core=True)


def _modalities() -> Iterator[Check]:
    for info in list_modalities():
        fix = "" if info.problem is None else f"mend or uninstall distribution '{info.distribution}'"
        yield Check(f"modality {info.name}", info.problem is None, info.problem or f"of {info.distribution}", fix)


def _data() -> Iterator[Check]:
    folder = os.environ.get("IOTLAM_DATA")
    if not folder:
        yield Check("IOTLAM_DATA", True, "not set: real recordings are not used")
    elif Path(folder).is_dir():
        yield Check("IOTLAM_DATA", True, folder)
    else:
        yield Check("IOTLAM_DATA", False, f"no folder {folder}", "create it, or unset the variable")
