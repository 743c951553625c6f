"""Every broken plugin of iotlam/conformance/broken.toml fails exactly the check that is named for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.conformance import all_checks
from iotlam.conformance.broken import Broken, all_broken, examine_broken, write_broken

# These hold the host as much as the plugin: tests/conformance/test_host_checks.py breaks the host for them.
HOST = {
    "duplicate-times-refused",
    "empty-window-refused",
    "fuses-with-another",
    "fusion-learns",
    "fusion-of-noise",
    "fusion-without-it",
    "host-survives-errors",
    "mask-refused-where-none",
    "missing-file-refused",
    "missing-metadata-refused",
    "other-objects-refused",
    "out-of-order-refused",
    "padding-makes-no-difference",
    "wrong-dimensions-refused",
    "wrong-dtype-refused",
    "wrong-suffix-refused",
    "wrong-unit-refused",
}
QUICK = ("manifest-valid", "tokens-finite", "causal-as-declared", "no-network", "saved-and-loaded")


def holds(broken: Broken, folder: Path) -> None:
    report = examine_broken(broken, folder / "project")
    assert [result.check for result in report.failed] == [broken.check], [result.reason for result in report.failed]
    reason = report.failed[0].reason
    assert "thermal" in reason or broken.name in reason
    assert "expected" in reason and "got" in reason and reason.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("broken", all_broken(), ids=lambda broken: f"{broken.check}: {broken.mistake}")
def test_a_broken_plugin_fails_the_named_check_alone(broken: Broken, tmp_path: Path) -> None:
    holds(broken, tmp_path)


@pytest.mark.parametrize("check", QUICK)
def test_some_of_them_quickly(check: str, tmp_path: Path) -> None:
    holds(next(broken for broken in all_broken() if broken.check == check), tmp_path)


def test_every_check_but_those_of_the_host_is_proved_by_a_broken_plugin() -> None:
    assert len(all_broken()) >= 40
    assert {broken.check for broken in all_broken()} == set(all_checks()) - HOST


def test_an_edit_that_changes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"late: modality.toml has no 'gone'"):
        write_broken(Broken("manifest-valid", "late", [("modality.toml", "gone", "here")]), tmp_path / "project")
