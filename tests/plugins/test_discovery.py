from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from iotlam.plugins import find, load_entry, names
from iotlam.plugins.discovery import Entry, entries

Install = Callable[..., Path]
POINTS = """# what it brings
[other]
x = y:z

[acme.bells]
big = acme_bells.big:Bell [extra]
small=acme_bells:kit.Small
[last]
"""


def test_what_is_found_is_what_the_standard_library_finds() -> None:
    for group in ("iotlam.modalities", "iotlam.suites", "console_scripts", "pytest11"):
        assert {(e.name, e.value) for e in entries(group)} == {(p.name, p.value) for p in entry_points(group=group)}


@pytest.mark.parametrize("place", ["acme_bells-1.0.dist-info", "acme_bells.egg-info", "acme_bells-1.0-py3.11.egg-info"])
def test_metadata_of_wheels_and_eggs_are_read(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    big, small = entries("acme.bells")
    assert big == Entry("big", "acme_bells.big:Bell [extra]", "acme_bells") and big.module == "acme_bells.big"
    assert small.value == "acme_bells:kit.Small"


def test_an_egg_as_a_folder_and_one_as_a_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = tmp_path / "acme_bells-1.0.egg", tmp_path / "acme_gong-1.0.egg"
    (folder / "EGG-INFO").mkdir(parents=True)
    (folder / "EGG-INFO" / "entry_points.txt").write_text(POINTS)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("EGG-INFO/PKG-INFO", "Metadata-Version: 2.1\nName: acme_gong\nVersion: 1.0\n")
        archive.writestr("EGG-INFO/entry_points.txt", "[acme.bells]\ngong = acme_gong:Gong\n")
    for path in (folder, file):
        monkeypatch.syspath_prepend(str(path))
    assert [(e.name, e.distribution) for e in entries("acme.bells")] == [
        ("big", "acme_bells"), ("gong", "acme_gong"), ("small", "acme_bells")]  # fmt: skip


def test_the_first_of_two_installations_counts(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme_bells", "", {"acme.bells": {"old": "acme_bells:Old"}})
    newer = tmp_path / "newer" / "Acme.Bells-2.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "entry_points.txt").write_text("[acme.bells]\nnew = acme_bells:New\n")
    monkeypatch.syspath_prepend(str(newer.parent))
    assert names("acme.bells") == ["new"]


def test_folders_that_are_not_there_or_not_readable_text_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[acme.bells]\n\xff = \xff\nnothing\n")
    (tmp_path / "file.egg-info").write_text("")
    for path in (tmp_path, tmp_path / "gone"):
        monkeypatch.syspath_prepend(str(path))
    assert len(entries("acme.bells")) <= 1


def test_an_entry_loads_what_it_names(install: Install) -> None:
    install("acme_kit", "class kit:\n    Small = 3\n", {"acme.bells": {"small": "acme_kit:kit.Small"}})
    assert load_entry("acme.bells", "small", "Bell") == 3 and find("acme.bells", "small", "Bell").module == "acme_kit"


def test_listing_imports_no_plugin_and_no_email_parser(install: Install) -> None:
    code = (
        "import sys; from iotlam.plugins import list_modalities; found = list_modalities(); "
        "print(len(found) >= 3, sorted({'torch', 'iotlam_lidar', 'iotlam_video', 'email'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"
