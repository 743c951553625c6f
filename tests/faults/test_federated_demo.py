"""Eight devices in small, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_faults.fleet.demo import ALONE, CENTRAL, OURS, PADDED, demo
from iotlam_faults.model import load_model


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="a folder to write to"):
        demo(tmp_path / "file" / "demo", quick=True)
    (tmp_path / "federated.html").write_text("somebody's")
    with pytest.raises(BadInput, match="one of iotlam's"):
        demo(tmp_path, quick=True)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "federated.html"}


@pytest.mark.slow
def test_the_demo_ends_in_a_page_and_a_model(tmp_path: Path) -> None:
    found = demo(tmp_path / "demo", seed=1, quick=True)
    assert set(found["scores"]) == {OURS, PADDED, CENTRAL, ALONE}
    assert all(0.0 <= score <= 1.0 for one in found["scores"].values() for score in one.values())
    assert len(set(found["scores"][CENTRAL].values())) == 1 < len(set(found["scores"][ALONE].values()))
    text = Path(found["page"]).read_text()
    for device in found["scores"][OURS]:
        assert device in text
    assert text.count("<svg") > 5 and len(text) < 500_000
    load_model(tmp_path / "demo" / OURS / "model")
    with pytest.raises(BadInput, match="a folder without a demo"):
        demo(tmp_path / "demo", seed=1, quick=True)
