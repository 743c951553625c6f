from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.bench.suites import plugins as suite
from iotlam.conformance import Report, Result, all_checks
from iotlam.conformance.broken import all_broken
from iotlam.training.progress import progress


@pytest.fixture(scope="module")
def discovery() -> dict[str, list[tuple[float, int]]]:
    with progress("Discovery") as step:
        return suite._discovery(1, step)


def test_listing_imports_nothing_and_the_rivals_import_what_they_say(
    discovery: dict[str, list[tuple[float, int]]],
) -> None:
    imported = {way: values[0][1] for way, values in discovery.items()}
    assert imported == {
        "iotlam": 0,
        "entry points, names only": 0,
        "entry points, loaded": 20,
        "scan of distribution names, imported": 20,
    }
    assert all(ms > 0 for values in discovery.values() for ms, _ in values)


def test_discovery_is_judged_by_its_median_beside_the_rivals() -> None:
    found = suite._found({"iotlam": [(10.0, 0), (50.0, 0), (20.0, 1)], "rival": [(99.0, 20)]})
    assert found["discovery_20_plugins_ms"].value == 20.0 and found["discovery_20_plugins_ms"].met
    assert found["discovery_20_plugins_ms"].anchor == "rival 99 ms"
    assert found["plugins_imported_by_list"].value == 1 and not found["plugins_imported_by_list"].met


def test_alarms_and_the_slowest_modality_are_counted() -> None:
    good = Result("a", "data", "bronze", "passed")
    bad = Result("b", "data", "bronze", "failed", "why")
    metrics = suite._conformance([Report("one", (good,), 3.0), Report("two", (good, bad, bad), 21.0)])
    assert metrics["conformance_seconds"].value == 21.0 and not metrics["conformance_seconds"].met
    assert metrics["false_alarms_on_built_ins"].value == 2 and not metrics["false_alarms_on_built_ins"].met
    assert metrics["conformance_checks"].value == len(all_checks())


def test_a_broken_plugin_counts_only_if_its_check_fails_alone() -> None:
    outcome = suite._outcome(next(broken for broken in all_broken() if broken.check == "tokens-width"))
    assert outcome["failed"] == ["tokens-width"] and outcome["caught"]
    metrics = suite._broken([outcome, {**outcome, "caught": False}])
    assert metrics["broken_plugins_caught_by_named_check"].value == 0.5
    assert not metrics["broken_plugins_caught_by_named_check"].met


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="sensors check gone ended with 2"):
        suite._command(tmp_path, "sensors", "check", "gone")


def test_twenty_plugins_are_found_as_if_installed(tmp_path: Path) -> None:
    suite._site_of_probes(tmp_path)
    code = (
        "from iotlam.plugins import list_modalities\n"
        "print([i.problem for i in list_modalities() if i.name.startswith('probe_')])"
    )
    assert suite._python(code, tmp_path).strip() == str([None] * suite.PLUGINS)
