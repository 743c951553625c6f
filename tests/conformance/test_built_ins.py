"""The modalities that come with iotlam pass the kit like everybody else's."""

from __future__ import annotations

import pytest

from iotlam.conformance import examine, resolve
from iotlam.plugins import list_modalities

BUILT_INS = [info.name for info in list_modalities() if info.distribution == "iotlam"]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_INS)
def test_a_built_in_modality_fails_no_check(name: str) -> None:
    report = examine(resolve(name))
    assert [result.reason for result in report.results if result.status in ("failed", "blocked")] == []
    assert report.tier in ("gold", "platinum")
