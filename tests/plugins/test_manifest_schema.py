from __future__ import annotations

import json
from pathlib import Path

from iotlam.contracts import ModalityManifest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "modality.schema.json"


def test_the_published_schema_is_that_of_the_manifest() -> None:
    schema = json.dumps(ModalityManifest.json_schema(), indent=2) + "\n"
    assert PAGE.read_text(encoding="utf-8") == schema, f"write to {PAGE.name}:\n{schema}"
