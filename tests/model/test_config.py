import json
from pathlib import Path

import pytest

from iotlam.contracts import BadInput, TokenSpec
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig

CONFIG = IotlamConfig((TokenSpec("lidar", 11, 400, True),), 5, fusion=FusionConfig(64), beta=0.5)


def test_json_round_trip() -> None:
    assert IotlamConfig.from_json(CONFIG.to_json(), "config.json") == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_rnk": 4}, "only known keys, got lora_rnk"),
        ({"fusion": {"d_fuse": 4}}, "fusion: expected only known keys, got d_fuse"),
        ({"modalities": [{"modality": "x"}]}, "the key dim"),
        ({"modalities": []}, "one or more"),
        ({"modalities": "lidar"}, "modalities: expected"),
        ({"lora_rank": "8"}, "lora_rank: expected int, got str"),
        ({"lora_rank": True}, "lora_rank: expected int"),
        ({"lora_rank": 0}, "a positive number, got 0"),
        ({"roi_m": 0.0}, "roi_m: expected a positive number"),
        ({"modalities": [{"modality": "x", "dim": 0, "max_tokens": 3}]}, "positive dim and max_tokens"),
        ({"beta": -1.0}, "zero or more"),
        ({"beta": float("nan")}, "zero or more"),
        ({"roi_m": float("inf")}, "a positive number"),
        ({"head_width": 10**12}, "a positive number"),
        ({"format": "iotlam-model/0"}, "iotlam-model/1"),
    ],
)
def test_wrong_configurations_end_in_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        IotlamConfig.from_json(json.dumps(json.loads(CONFIG.to_json()) | change), "config.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        IotlamConfig.from_json(text, "config.json")


def test_a_missing_key_is_named() -> None:
    raw = json.loads(CONFIG.to_json())
    del raw["n_features"]
    with pytest.raises(BadInput, match="the key n_features"):
        IotlamConfig.from_json(json.dumps(raw), str(Path("run") / "config.json"))
