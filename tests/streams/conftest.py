"""A real Mosquitto that can be killed and started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from iotlam.bench.mosquitto import Mosquitto, find_mosquitto
from iotlam.contracts import BadInput


@pytest.fixture
def mosquitto() -> None:
    """Skips the test where Mosquitto is not installed."""
    try:
        find_mosquitto()
    except BadInput as error:
        pytest.skip(str(error))


@pytest.fixture
def broker(mosquitto: None, tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    found.start()
    yield found
    found.kill()
