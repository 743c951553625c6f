"""`iotlam faults data`: list, get and verify, from a publisher on this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iotlam.contracts import BadInput
from iotlam_faults.cli import app
from iotlam_faults.data import catalogue
from iotlam_faults.data.catalogue import Download

from .conftest import Publisher

CONTENTS = {"97.mat": b"sound" * 5000, "105.mat": b"inner" * 5000}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", *arguments])
    if isinstance(result.exception, BadInput):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def published(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """CWRU with two small files."""
    found = []
    for name, content in CONTENTS.items():
        publisher.files[f"/{name}"] = content
        digest = hashlib.sha256(content).hexdigest()
        address = f"{publisher.url}/{name}"
        found.append(Download(set="cwru", file=name, bytes=len(content), addresses=(address,), sha256=digest))
    monkeypatch.setattr(catalogue, "_downloads", lambda: tuple(found))
    return publisher


def test_get_brings_what_list_and_verify_then_find(published: Publisher, tmp_path: Path) -> None:
    where = ("--dir", str(tmp_path))
    code, output = run("get", "cwru", *where)
    assert code == 0 and "licence: none stated" in output and f"cwru: 2 files in {tmp_path / 'cwru'}" in output
    code, output = run("list", *where, "--json")
    row = next(row for row in json.loads(output) if row["set"] == "cwru")
    assert code == 0 and row["files"] == "2/2"
    code, output = run("verify", *where, "--json")
    assert code == 0 and json.loads(output) == [{"set": "cwru", "genuine": 2, "missing": 0, "damaged": ""}]
    (tmp_path / "cwru" / "105.mat").write_bytes(b"outer" * 5000)
    code, output = run("verify", "cwru", *where)
    assert code == 1 and "105.mat" in output


def test_only_some_files_are_brought(published: Publisher, tmp_path: Path) -> None:
    code, output = run("get", "cwru", "--only", "1*.mat", "--dir", str(tmp_path))
    assert code == 0 and [path.name for path in (tmp_path / "cwru").glob("*.mat")] == ["105.mat"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["get", "ims"], "expected one of cwru, paderborn"),
        (["get", "cwru", "--only", "9.mat"], "expected files of 'cwru', got '9.mat'"),
        (["list", "ims"], "got 'ims'"),
        (["verify", "ims"], "got 'ims'"),
    ],
)
def test_a_wrong_name_is_one_sentence(published: Publisher, tmp_path: Path, arguments: list[str], said: str) -> None:
    extra = ["--dir", str(tmp_path)]
    code, output = run(*arguments, *extra)
    assert code == 2 and said in output and "\n" not in output.strip()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(published: Publisher, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, output = run("get", "cwru", "--dir", str(tmp_path / "taken"))
    assert code == 2 and "expected a folder to write to" in output


def test_recordings_are_listed_for_grep() -> None:
    code, output = run("list", "cwru")
    lines = output.splitlines()
    assert code == 0 and len(lines) == 166
    assert next(line for line in lines if line.startswith("158.mat")).endswith(
        "stores 1773 rpm; its own lines say 1797"
    )
