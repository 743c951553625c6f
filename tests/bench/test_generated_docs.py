from __future__ import annotations

import json
from pathlib import Path

from iotlam.bench.docs import pivot, refresh

RESULT = {
    "suite": "bells",
    "version": "1.0",
    "seconds": 12.3,
    "host": {"cpu": "a processor", "cores": 2, "threads": 1, "load": 0.5},
    "metrics": {
        "loudness": {"value": 3.14159, "unit": "dB", "anchor": "gong 5 dB", "target": "<= 4", "met": True, "n": 5,
                     "ci95": [3.0, 3.25]},
        "weight": {"value": 9.0, "unit": "kg", "anchor": "", "target": "<= 8", "met": False, "n": 1, "ci95": None},
    },
}  # fmt: skip
PAGE = (
    "before\n<!-- bench:bells -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:absent -->\nkept\n<!-- /bench -->\nafter\n"
)


def test_blocks_are_filled_from_results_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "bells.json").write_text(json.dumps(RESULT))
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert refresh(tmp_path, (page, tmp_path / "missing.md")) == [page]
    text = page.read_text()
    assert "| loudness | 3.14 dB | 3 to 3.25 | <= 4 | yes | gong 5 dB | 5 |" in text
    assert "| weight | 9 kg |  | <= 8 | **no** |  | 1 |" in text and "old" not in text
    assert "kept" in text and text.startswith("before\n") and text.endswith("after\n")
    assert refresh(tmp_path, (page,)) == [], "a second time changes nothing"


def test_a_block_may_ask_for_targets_alone_or_for_a_table_of_rows(tmp_path: Path) -> None:
    free = {"value": 1.0, "unit": "s", "anchor": "", "target": "", "met": None, "n": 1, "ci95": None}
    rows = [{"bell": "great", "town": "Linz", "ring_s": 3.0}, {"bell": "great", "town": "Linz", "ring_s": 4.0}]
    result = {**RESULT, "metrics": {**RESULT["metrics"], "free": free}, "rows": rows}  # type: ignore[dict-item]
    (tmp_path / "bells.json").write_text(json.dumps(result))
    page = tmp_path / "page.md"
    blocks = ("bells", "bells targets", "bells ring_s by bell, town")
    page.write_text("".join(f"<!-- bench:{block} -->\n<!-- /bench -->\n" for block in blocks))
    refresh(tmp_path, (page,))
    whole, targets, rung = page.read_text().split("<!-- /bench -->\n")[:3]
    assert "| free | 1 s |" in whole and "| weight |" in targets and "| free |" not in targets
    assert (
        rung == "<!-- bench:bells ring_s by bell, town -->\n| ring_s by bell | Linz |\n|---|---|\n| great | 3.5 / 4 |\n"
    )


def test_what_was_never_reached_is_said_so(tmp_path: Path) -> None:
    never = {"value": None, "unit": "s", "anchor": "", "target": "<= 60", "met": False, "n": 5, "ci95": None}
    (tmp_path / "bells.json").write_text(json.dumps({**RESULT, "metrics": {"learnt_s": never}}))
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:bells -->\n<!-- /bench -->\n")
    refresh(tmp_path, (page,))
    assert "| learnt_s | never |  | <= 60 | **no** |  | 5 |" in page.read_text()


def test_a_table_of_rows_has_gaps_where_nothing_was_measured_and_counts_what_is_so() -> None:
    rows = [
        {"map": "a", "who": "x", "n": 1468.9, "jam": True},
        {"map": "a", "who": "x", "n": 2.0, "jam": False},
        {"map": "b", "who": "y", "n": 0.123456, "jam": False},
        {"map": "c", "who": "y"},
    ]
    assert pivot(rows, "n", "map", "who").splitlines()[2:] == ["| a | 735 / 1469 |  |", "| b |  | 0.123 / 0.123 |"]
    assert pivot(rows, "jam", "map", "who").splitlines()[2:] == ["| a | 1 of 2 |  |", "| b |  | 0 of 1 |"]
