"""Streams as sentences, and a decoder that learns them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from iotlam.contracts import BadInput, TokenBatch
from iotlam.training import pretrain
from iotlam.training.pretrain import (
    PretrainConfig,
    held_out_nats,
    pretrain_decoder,
    pretrain_preset,
    schedule,
    unigram_nats,
)
from iotlam.training.shards import Sample, Shard
from iotlam.training.streams import BEGIN, NEXT, SPECIALS, fit_quantizers, sentences

Decide = Callable[..., Sample]


def repeating(count: int, seed: int, length: int = 24) -> Tensor:
    """Sentences that repeat three random words over and over."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(2, 16, (count, 3), generator=draw)
    return torch.cat([torch.zeros(count, 1, dtype=torch.long), words.repeat(1, length // 3)], dim=1)


@pytest.fixture
def shard(decision: Decide) -> Shard:
    return Shard.pack([decision(seed) for seed in range(10)])


# --- streams


def test_a_sentence_is_a_place_over_time(shard: Shard) -> None:
    quantizers = fit_quantizers([shard], ["lidar", "video"], vocab=32, seed=0)
    lines_SL = sentences(shard, quantizers, instants=3)
    assert lines_SL.shape == (3 * 3, 1 + 3 * (1 + 4 + 4))  # 3 stretches x 3 places; 4 anchors and 2 modalities
    assert (lines_SL[:, 0] == BEGIN).all()
    words_SIW = lines_SL[:, 1:].unflatten(1, (3, 9))
    assert (words_SIW[..., 0] == NEXT).all()
    lidar, video = words_SIW[..., 1:5], words_SIW[..., 5:]
    assert lidar.min() >= SPECIALS and lidar.max() < SPECIALS + 15 <= video.min() and video.max() < 32


def test_sentences_follow_one_place_in_order(shard: Shard) -> None:
    quantizers = fit_quantizers([shard], ["lidar"], vocab=32, seed=0)
    at_once = sentences(shard, quantizers, instants=1)[:, 2:].unflatten(0, (10, 3))  # decision, place, word
    threes = sentences(shard, quantizers, instants=3)[:, 1:].unflatten(1, (3, 5))[..., 1:]
    for row, (stretch, place) in enumerate((s, p) for s in range(3) for p in range(3)):
        assert torch.equal(threes[row], at_once[3 * stretch : 3 * stretch + 3, place])


def test_the_same_measurement_is_the_same_word_and_another_is_not(shard: Shard) -> None:
    quantizer = fit_quantizers([shard], ["lidar"], vocab=34, seed=0)["lidar"]
    tokens_ND = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(quantizer(tokens_ND), quantizer(tokens_ND.clone()))
    assert len(quantizer(tokens_ND).unique()) > 10
    other = fit_quantizers([shard], ["lidar"], vocab=34, seed=1)["lidar"]
    assert not torch.equal(quantizer(tokens_ND), other(tokens_ND))


def test_too_short_an_episode_gives_no_sentence(shard: Shard) -> None:
    quantizers = fit_quantizers([shard], ["lidar"], vocab=32, seed=0)
    assert sentences(shard, quantizers, instants=11).shape == (0, 1 + 11 * 5)


def test_a_modality_without_places_is_refused(decision: Decide) -> None:
    batch = decision(0).tokens["lidar"]
    placeless = TokenBatch(batch.tokens_BTD, batch.mask_BT, batch.time_BT, "lidar")
    shard = Shard.pack([Sample({"lidar": placeless}, decision(0).query, {})])
    with pytest.raises(BadInput, match="'lidar'"):
        fit_quantizers([shard], ["lidar"], vocab=32, seed=0)


# --- pretraining


def test_the_schedule_warms_up_and_falls_to_a_tenth() -> None:
    assert [schedule(step, 100, 10) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10, 100, 10) == pytest.approx(1.0)
    assert schedule(55, 100, 10) == pytest.approx(0.55)
    assert schedule(100, 100, 10) == pytest.approx(0.1)


def test_unigram_and_held_out_nats(tiny_decoder: Callable[..., torch.nn.Module]) -> None:
    train_SL = torch.tensor([[0, 1, 1, 2]])
    share = {1: 3 / 6, 2: 2 / 6}  # one added to each of three counts
    expected = -(math.log(share[1]) + 2 * math.log(share[2])) / 3
    assert unigram_nats(train_SL, torch.tensor([[0, 1, 2, 2]])) == pytest.approx(expected)
    lines_SL = repeating(5, 0)
    decoder = tiny_decoder()
    with torch.no_grad():
        log_SLV = decoder(input_ids=lines_SL).logits.log_softmax(-1)
    by_hand = -log_SLV[:, :-1].gather(2, lines_SL[:, 1:, None]).mean()
    assert held_out_nats(decoder, lines_SL, batch=2) == pytest.approx(float(by_hand), rel=1e-5)  # uneven batches


def test_it_learns_what_repeats(tiny_decoder: Callable[..., torch.nn.Module], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    losses: list[float] = []
    figures = pretrain_decoder(
        tiny_decoder(layers=2),
        repeating(400, 0),
        repeating(40, 1),
        PretrainConfig(steps=250, batch=16, learning_rate=1e-2),
        tmp_path,
        lambda _, loss: losses.append(loss),
    )
    assert len(losses) == 250
    assert figures["unigram_nats"] == pytest.approx(math.log(14), abs=0.05)
    assert figures["held_out_nats"] < 0.6 * figures["unigram_nats"]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_a_run_that_was_stopped_ends_the_same(
    tiny_decoder: Callable[..., torch.nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same_state: Callable[..., None],
) -> None:
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY", 4)
    config = PretrainConfig(steps=10, batch=4, warmup=2)
    whole, stopped, resumed = tiny_decoder(), tiny_decoder(), tiny_decoder()
    lines_SL, steps = repeating(30, 0), []

    def stop(step: int, _: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    figures = pretrain_decoder(whole, lines_SL, lines_SL[:4], config, tmp_path / "a", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        pretrain_decoder(stopped, lines_SL, lines_SL[:4], config, tmp_path / "b", stop)
    follow = lambda step, _: steps.append(step)  # noqa: E731
    again = pretrain_decoder(resumed, lines_SL, lines_SL[:4], config, tmp_path / "b", follow)
    assert steps == [5, 6, 7, 8, 9, 10] and again == figures
    same_state(whole, resumed)


def test_a_preset_becomes_a_folder_that_transformers_reads(decision: Decide, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for index, path in enumerate(paths):
        Shard.pack([decision(20 * index + step) for step in range(9)]).save(path)
    config = PretrainConfig(steps=2, batch=2)
    facts = pretrain_preset("nano", paths, config, tmp_path / "work", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert told == facts and told["steps"] == 2 and told["sentences"] == 2 * 3 and told["preset"] == "nano"
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", use_safetensors=True)
    assert decoder.dtype == torch.float16
    log = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
