from __future__ import annotations

import json
from pathlib import Path

from iotlam.bench.docs import refresh

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
