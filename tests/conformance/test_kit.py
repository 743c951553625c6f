from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iotlam.conformance import TIERS, Report, Result, Session, all_checks, examine, resolve
from iotlam.conformance.broken import Broken, write_broken
from iotlam.conformance.results import Status
from iotlam.conformance.scaffold import render
from iotlam.conformance.watch import Watch
from iotlam.contracts import BadInput

Install = Callable[..., Path]


@pytest.fixture(scope="module")
def template_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    project = tmp_path_factory.mktemp("kit") / "project"
    render(project, "thermal")
    return examine(resolve(str(project)))


def result(tier: str, status: Status) -> Result:
    return Result(f"{tier} {status}", "data", tier, status)  # type: ignore[arg-type]


def report(*results: Result) -> Report:
    return Report("thermal", results, 0.0)


def test_the_template_reaches_platinum_and_is_measured(template_report: Report) -> None:
    assert [found.reason for found in template_report.failed] == []
    assert template_report.tier == "platinum" and template_report.next_tier is None
    assert len(template_report.results) == len(all_checks()) >= 60
    assert 0 < template_report.facts["latency_ms"] < 20 and template_report.facts["token_width"] == 32


def test_what_does_not_apply_says_why_and_is_not_passed(template_report: Report) -> None:
    skipped = {found.check: found.reason for found in template_report.results if found.status == "not applicable"}
    assert skipped["positions-on-site"] == "the modality measures no place"
    assert template_report.count()["passed"] == len(all_checks()) - len(skipped)


def test_every_check_says_what_it_looks_at_and_needs_only_checks_before_it() -> None:
    seen: set[str] = set()
    for name, check in all_checks().items():
        assert check.summary and len(check.summary) < 130 and check.tier in TIERS
        assert set(check.needs) <= seen
        seen.add(name)


@pytest.mark.parametrize(
    ("results", "tier", "following"),
    [
        ([("bronze", "passed"), ("silver", "passed"), ("gold", "passed"), ("platinum", "passed")], "platinum", None),
        ([("bronze", "passed"), ("silver", "not applicable"), ("gold", "failed")], "silver", "gold"),
        ([("bronze", "passed"), ("silver", "blocked"), ("gold", "passed")], "bronze", "silver"),
        ([("bronze", "failed"), ("silver", "passed")], None, "bronze"),
        ([("bronze", "passed"), ("platinum", "not applicable")], "gold", "platinum"),
    ],
)
def test_tiers_follow_from_the_checks(
    results: list[tuple[str, Status]], tier: str | None, following: str | None
) -> None:
    found = report(*(result(*one) for one in results))
    assert (found.tier, found.next_tier) == (tier, following)


def test_a_plugin_that_hangs_is_ended_and_the_rest_goes_on(tmp_path: Path) -> None:
    edit = ("plugin.py", "        with torch.no_grad():", "        while True: pass\n        with torch.no_grad():")
    project = write_broken(Broken("tokenizes", "hangs", [edit]), tmp_path / "project")
    with Session(resolve(str(project)), limit_s=1.5) as session:
        assert "no end within 1.5 s" in session.result("tokenizes").reason
        assert session.result("fuses-alone").status == "blocked"
        assert session.result("samples-vary").status == "passed"


def test_what_a_plugin_may_not_do_is_named_by_the_check_that_forbids_it(tmp_path: Path) -> None:
    edit = (
        "plugin.py",
        "        cuts =",
        "        import socket; socket.create_connection(('127.0.0.1', 9))\n        cuts =",
    )
    project = write_broken(Broken("no-network", "needs a network", [edit]), tmp_path / "project")
    found = examine(resolve(str(project)))
    assert [one.check for one in found.failed] == ["no-network"] and found.tier is None
    assert "127.0.0.1" in found.failed[0].reason


def test_an_installed_modality_is_found_by_name_and_a_project_by_folder(install: Install, tmp_path: Path) -> None:
    assert resolve("lidar").project is None
    render(tmp_path / "project", "thermal")
    target = resolve(str(tmp_path / "project"))
    assert (target.name, target.search) == ("thermal", tmp_path / "project")
    (tmp_path / "project" / "src").mkdir()
    (tmp_path / "project" / "iotlam_thermal").rename(tmp_path / "project" / "src" / "iotlam_thermal")
    assert resolve(str(tmp_path / "project")).search == tmp_path / "project" / "src"
    install("acme_gone", "", {"iotlam.modalities": {"gone": "no_such_package:Gone"}})
    with pytest.raises(BadInput, match="importable"):
        resolve("gone")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "FileNotFoundError"),
        ("[project]\n", "KeyError"),
        ("project = ", "TOMLDecodeError"),
        ('[project.entry-points."iotlam.modalities"]\na = "x:A"\nb = "x:B"\n', "too many values"),
        ('[project.entry-points."iotlam.modalities"]\na = "x:A"\n', "'x' in "),
    ],
)
def test_a_folder_that_is_no_project_is_told(tmp_path: Path, text: str | None, word: str) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(BadInput, match=word):
        resolve(str(tmp_path))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="perhaps 'lidar'"):
        resolve("lidr")


def test_the_watch_allows_its_own_folder_only(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    watch = Watch(tmp_path / "tmp")
    inside, outside = str(tmp_path / "tmp" / "x"), str(tmp_path / "y")
    watch._see("open", (inside, "w", os.O_WRONLY | os.O_CREAT))
    watch._see("open", (outside, "r", os.O_RDONLY))
    for event, arguments in {
        "open": (outside, "w", os.O_WRONLY | os.O_CREAT),
        "os.mkdir": (outside, 0o777, -1),
        "os.rename": (inside, outside, -1, -1),
        "socket.connect": (None, ("127.0.0.1", 9)),
        "subprocess.Popen": ("ls", ["ls"], None, None),
    }.items():
        with pytest.raises(PermissionError):
            watch._see(event, arguments)
    assert (len(watch.writes), len(watch.network), len(watch.processes)) == (3, 1, 1) and watch.forbidden == 5
    assert watch.latest == "subprocess.Popen ls"
