"""Bits go to what helps: none to noise, and the same ones for the same seed."""

from __future__ import annotations

import pytest
import torch

from iotlam.pages.sensors.learning import Learned, learn, places
from iotlam.pages.sensors.situations import CONTROL, LOOKED_AT, Examples
from iotlam.pages.sensors.streams import Stream, gather


@pytest.fixture(scope="module")
def streams() -> list[Stream]:
    torch.set_num_threads(1)
    return [stream for stream in gather(3, 1, None, lambda: None)[0] if stream.name in ("lidar", "radar", "video")]


def learned(streams: list[Stream], steps: int, seed: int = 1) -> Learned:
    return learn(streams, seed, steps, 256, lambda *_, **__: None)


def test_examples_hold_what_was_asked_for(streams: list[Stream]) -> None:
    examples = Examples(streams, 0)
    batches, label_B = examples.draw(64, ["radar", "video"])
    assert list(batches) == ["radar", "video"] and set(label_B.tolist()) == {0, 1, 2}
    assert all(batch.mask_BT.any(1).all() for batch in batches.values())
    batches, _ = examples.draw(64, examples.names, missing=None)
    there_MB = torch.stack([batches[name].mask_BT.any(1) for name in examples.sensed])
    assert set(there_MB.sum(0).tolist()) == {1, 2, 3}  # an example of nothing teaches nothing
    assert batches[CONTROL].mask_BT.all()


def test_of_a_sparse_grid_the_cells_that_hold_something_are_looked_at(streams: list[Stream]) -> None:
    lidar = next(stream for stream in streams if stream.name == "lidar")
    looked = Examples(streams, 0).sensed["lidar"].looked
    for index_T, batch in zip(looked, lidar.tokens, strict=True):
        empty_T = batch.tokens_BTD[0].mode(dim=0).values
        assert 0 < len(index_T) <= LOOKED_AT
        assert (batch.tokens_BTD[0, index_T] != empty_T).any(1).all()


def test_places_are_spread_and_optional(streams: list[Stream]) -> None:
    anchors_HX, sigma_m = places(streams)
    assert len(torch.unique(anchors_HX, dim=0)) == 8 and 1.0 < sigma_m < 100.0
    assert places([]) == (pytest.approx(torch.zeros(8, 2)), 3.0)


def test_same_seed_same_bits(streams: list[Stream]) -> None:
    some = [stream for stream in streams if stream.name != "lidar"]
    first, again, other = (learned(some, 12, seed) for seed in (1, 1, 2))
    assert first.accuracy == again.accuracy and first.gain == again.gain
    for name, bits in first.bits.items():
        assert all(torch.equal(a_T, b_T) for a_T, b_T in zip(bits, again.bits[name], strict=True))
    assert first.per_window("video") != other.per_window("video")


@pytest.mark.slow
def test_sensors_get_bits_and_noise_gets_none(streams: list[Stream]) -> None:
    result = learned(streams, 600)
    assert result.per_token(CONTROL) <= 0.05
    assert result.accuracy > 0.9 and result.alone[CONTROL] < 0.5
    assert all(result.per_token(stream.name) > 0.5 and result.alone[stream.name] > 0.5 for stream in streams)
    assert all(result.gain[stream.name] > result.gain[CONTROL] for stream in streams)
    assert result.history[0].bits_per_token[CONTROL] > 1.0  # it had to be learnt
