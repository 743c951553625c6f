"""An old SUMO is refused by what pip says is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_street.scenarios import find_scenario
from iotlam_street.street import Street
from iotlam_street.sumo import Engine, check_version


@pytest.fixture
def fresh() -> Iterator[None]:
    """Versions are looked up anew, then and afterwards."""
    check_version.cache_clear()
    yield
    check_version.cache_clear()


def installed(folder: Path, package: str, version: str) -> None:
    """What pip leaves of a package; the first on the path counts."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.mark.parametrize(("engine", "package"), [("libsumo", "libsumo"), ("traci", "eclipse-sumo")])
def test_an_old_sumo_is_refused(
    engine: Engine, package: str, fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, package, "1.9.2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput) as caught:
        Street(find_scenario("cologne1"), 1, engine=engine)
    assert str(caught.value) == (f"{package}: expected SUMO 1.28 or newer, got 1.9.2; pip install '{package}>=1.28'.")


def test_versions_are_numbers_and_unknown_packages_pass(
    fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    installed(tmp_path, "libsumo", "1.100.0")
    check_version("libsumo")
    check_version("no-such-package-of-sumo")
