"""Shards: what goes in comes out, whole files only, and other files are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from iotlam.contracts import BadInput, TokenBatch
from iotlam.training.shards import Sample, Shard


@pytest.fixture
def samples(decision: Callable[..., Sample]) -> list[Sample]:
    return [
        replace(sample, targets={**sample.targets, "reward": np.float32(-index)})
        for index, sample in enumerate(decision(seed) for seed in range(5))
    ]


def test_decisions_come_back(samples: list[Sample], tmp_path: Path) -> None:
    Shard.pack(samples).save(tmp_path / "new" / "a.safetensors")
    shard = Shard.load(tmp_path / "new" / "a.safetensors")
    assert len(shard) == 5 and shard.modalities == ["lidar", "video"]
    for index, sample in enumerate(samples):
        again = shard[index]
        for name in ("anchors_KHX", "serves_PK", "features_PF", "allowed_P"):
            np.testing.assert_array_equal(getattr(again.query, name), getattr(sample.query, name))
        assert {name: value.tolist() for name, value in again.targets.items()} == {
            name: value.tolist() for name, value in sample.targets.items()
        }
        for name, batch in sample.tokens.items():
            stored = again.tokens[name]
            assert stored.modality == name and stored.tokens_BTD.dtype == torch.float32
            torch.testing.assert_close(stored.tokens_BTD, batch.tokens_BTD, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(stored.position_BTX, batch.position_BTX, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(stored.mask_BT, batch.mask_BT)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_decisions_without_any_token_and_without_positions(samples: list[Sample], tmp_path: Path) -> None:
    def placeless(sample: Sample, keep: int) -> Sample:
        batch = sample.tokens["video"]
        part = TokenBatch(batch.tokens_BTD[:, :keep], batch.mask_BT[:, :keep], batch.time_BT[:, :keep], "video")
        return replace(sample, tokens={"video": part})

    counts = (2, 0, 3)
    Shard.pack([placeless(s, keep) for s, keep in zip(samples, counts, strict=False)]).save(tmp_path / "a.safetensors")
    shard = Shard.load(tmp_path / "a.safetensors")
    assert [shard[i].tokens["video"].mask_BT.shape[1] for i in range(3)] == list(counts)
    assert all(shard[i].tokens["video"].position_BTX is None for i in range(3))


def test_targets_can_be_added(samples: list[Sample], tmp_path: Path) -> None:
    shard = Shard.pack(samples)
    more = shard.with_targets({"return": np.arange(5, dtype=np.float32)})
    more.save(tmp_path / "a.safetensors")
    assert Shard.load(tmp_path / "a.safetensors").target("return").tolist() == [0, 1, 2, 3, 4]
    assert more.target("reward").tolist() == [0, -1, -2, -3, -4]
    assert more[3].targets["return"] == 3.0 and "return" not in shard[3].targets


def test_what_is_no_shard_is_refused(samples: list[Sample], tmp_path: Path, broken: Callable[[Path], None]) -> None:
    cut, other, text = (tmp_path / f"{name}.safetensors" for name in ("cut", "other", "text"))
    Shard.pack(samples).save(cut)
    broken(cut)
    save_file({"weight": torch.zeros(2)}, other)
    text.write_text("not a shard")
    for path in (cut, other, text, tmp_path / "none.safetensors"):
        with pytest.raises(BadInput, match="a shard of decisions") as caught:
            Shard.load(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
