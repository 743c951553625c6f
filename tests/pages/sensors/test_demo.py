"""`iotlam demo sensors` from the installed modalities to the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from iotlam.contracts import BadInput
from iotlam.pages.page import figure, percent, points
from iotlam.pages.sensors import demo as module
from iotlam.pages.sensors.demo import data_folder, demo
from iotlam.pages.sensors.situations import CONTROL


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK_STEPS", 24)
    monkeypatch.setattr(module, "QUICK_TRIALS", 32)
    monkeypatch.setattr(module, "SITUATIONS", 3)
    monkeypatch.delenv("IOTLAM_DATA", raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty", "thermometer", "broken")
def test_the_page_shows_a_strangers_modality_and_names_a_broken_one(tmp_path: Path) -> None:
    result: dict[str, Any] = demo(tmp_path / "out", seed=3, quick=True)
    path = Path(result["page"])
    text = path.read_text(encoding="utf-8")
    rows = {row["modality"]: row for row in result["sensors"]}
    assert {"lidar", "radar", "thermometer", "video", CONTROL} <= rows.keys()
    assert rows["thermometer"]["source"].startswith("sample, seed 30") and rows["thermometer"]["tokens"] == 20
    assert [one["name"] for one in result["failures"]] == ["geiger"]
    assert re.search(r"<b>geiger</b> is left out.*no such driver", text)
    for row in result["sensors"]:
        assert f"{figure(row['bits_per_window'])}</span>" in text and percent(row["accuracy_alone"]) in text
    assert "Temperatures of an oven" in text and "reading (°C)" in text and "No picture" not in text
    assert path.stat().st_size < 2_000_000
    assert not re.search(
        r"<(link|script|iframe|object)|@import|url\((?!#)|(src|href)=\"(?!data:image/png;base64,|#)", text
    )


@pytest.mark.usefixtures("hasty")
def test_what_cannot_work_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sensors.html").write_text("mine")
    with pytest.raises(BadInput, match="one of iotlam's"):
        demo(tmp_path)
    with pytest.raises(BadInput, match="--out"):
        demo(tmp_path / "sensors.html" / "below")
    monkeypatch.setenv("IOTLAM_DATA", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="IOTLAM_DATA: expected a folder"):
        demo(tmp_path / "out")


def test_data_folder_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IOTLAM_DATA", "")
    assert data_folder() is None
    monkeypatch.setenv("IOTLAM_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def test_numbers_are_said_as_exactly_as_they_are_known() -> None:
    assert [figure(value) for value in (0.004, 1.254, 83.14, 1905.2)] == ["0.00", "1.25", "83.1", "1,905"]
    shares = (0.0, 0.001, 0.3, 0.998, 1.0)
    assert [percent(share)[:-2] for share in shares] == ["0", "0.1", "30", "99.8", "100"]
    assert [points(gain) for gain in (0.055, -0.006, -0.0001)] == ["+5.5", "−0.6", "0.0"]
