"""Suite `fed-faults`: its judgements and figures by hand; its runs are in tests/federated/test_killed.py."""

from __future__ import annotations

import pytest

from iotlam.bench.federated.fleet import small_config
from iotlam.bench.suites.fed_faults import GONE, KINDS, _judged, figures
from iotlam.federated.outcome import Outcome

CONFIG = small_config(deadline_s=4.0)


def outcome(
    missing: dict[str, str], number: int = 0, checkpoint: str = "a", refused: dict[str, str] | None = None
) -> Outcome:
    without = {**missing, **(refused or {})}
    present = [device.name for device in CONFIG.devices if device.name not in without]
    shares = {name: 1 / len(present) for name in present}
    return Outcome(number, shares, missing, refused or {}, dict.fromkeys(present, 0.5), 0.1, 1, 1, -1.0, checkpoint)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({}, True),
        ({"pump": "not connected"}, True),
        ({"pump": "Flower error 5: gone"}, True),
        ({"pump": "no answer by the deadline"}, False),
        ({"pump": ""}, False),
    ],
)
def test_whoever_is_missing_is_named_with_a_cause_that_is_so(missing: dict[str, str], named: bool) -> None:
    (row,) = _judged("here", "case", [outcome(missing)], [3.0], CONFIG, GONE)
    assert row["named"] == named
    assert row["overrun_s"] == 0.0


def test_a_device_that_nobody_speaks_of_is_not_named() -> None:
    silent = outcome({"pump": "not connected"}).changed(missing={})
    (row,) = _judged("here", "case", [silent], [4.5], CONFIG, GONE)
    assert not row["named"]
    assert row["overrun_s"] == pytest.approx(0.5)


def test_a_round_of_too_few_that_changes_something_is_seen() -> None:
    none = [outcome({}, number, checkpoint).changed(shares={}) for number, checkpoint in enumerate("aab")]
    rows = _judged("here", "case", none, [1.0] * 3, CONFIG, GONE)
    assert [row["changed_by_none"] for row in rows] == [False, False, True]


def test_figures_are_the_worst_of_all_rows() -> None:
    kills = [
        {"part": "kill", "kind": kind, "transport": "sockets", "different": False, "rounds_lost": 0} for kind in KINDS
    ]
    late = [{"part": "deadline", "overrun_s": over, "named": True, "changed_by_none": False} for over in (0.1, 1.5)]
    forged = [{"part": "forged", "accepted": accepted} for accepted in (False, True)]
    found = figures(
        [*kills, {**kills[0], "transport": "superlink", "different": True, "rounds_lost": 2}, *late, *forged]
    )
    missed = {name for name, figure in found.items() if figure.met is False}
    assert missed == {
        "kill_points",
        "resumed_weights_different",
        "rounds_lost_max",
        "round_overrun_s",
        "forged_or_replayed_accepted",
    }
    assert found["kill_points_server"].value == 2
    assert found["kill_points_superlink"].value == 1
    assert found["round_overrun_s"].value == 1.5
