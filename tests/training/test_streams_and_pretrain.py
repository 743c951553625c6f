"""Streams as sentences, and a decoder that learns them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from iotlam.contracts import BadInput, TokenBatch
from iotlam.training import loop, pretrain
from iotlam.training.pretrain import (
    INSTANTS,
    PretrainConfig,
    measure,
    pretrain_decoder,
    pretrain_preset,
    stream_sentences,
)
from iotlam.training.shards import Sample, Shard
from iotlam.training.streams import BEGIN, NEXT, SPECIALS, fit_quantizers, sentences

Decide = Callable[..., Sample]


def repeating(count: int, seed: int) -> Tensor:
    """Sentences that say the same three random words instant after instant."""
    words_SW = torch.randint(SPECIALS, 16, (count, 3), generator=torch.Generator().manual_seed(seed))
    instant_SW = torch.cat([torch.full((count, 1), NEXT), words_SW], dim=1)
    return torch.cat([torch.full((count, 1), BEGIN), instant_SW.repeat(1, INSTANTS)], dim=1)


class Parrot(torch.nn.Module):
    """Expects what stood one instant before, with a confidence of 100 nats; NEXT before that."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        later_SL = torch.nn.functional.pad(input_ids, (self.period - 1, 0), value=NEXT)[:, : input_ids.shape[1]]
        return SimpleNamespace(logits=100.0 * torch.nn.functional.one_hot(later_SL, 16).float())


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


def test_measured_by_hand(tiny_decoder: Callable[..., torch.nn.Module]) -> None:
    train_SL = torch.tensor([[BEGIN, NEXT, 2, 2, NEXT, 2, 2, NEXT, 3, 4]]).repeat(300, 1)  # marks are no words
    share = {2: 4 / 6, 3: 1 / 6, 4: 1 / 6}
    held_out_SL = repeating(5, 0)
    held_out_SL[:, 2:] = torch.where(held_out_SL[:, 2:] >= SPECIALS, held_out_SL[:, 2:] % 3 + 2, held_out_SL[:, 2:])
    words = held_out_SL[held_out_SL >= SPECIALS].tolist()
    decoder = tiny_decoder()
    with torch.no_grad():
        log_SLV = decoder(input_ids=held_out_SL).logits.log_softmax(-1)[:, :-1]
    is_word_SL = held_out_SL[:, 1:] >= SPECIALS
    told = measure(decoder, train_SL, held_out_SL, batch=2)  # uneven batches
    by_hand = -log_SLV.gather(2, held_out_SL[:, 1:, None])[..., 0][is_word_SL].mean()
    assert told["held_out_nats"] == pytest.approx(float(by_hand), rel=1e-5)
    right = (log_SLV.argmax(-1) == held_out_SL[:, 1:])[is_word_SL]
    assert told["held_out_hits"] == pytest.approx(float(right.float().mean()), rel=1e-5)
    unigram = -sum(math.log(share[word]) for word in words) / len(words)
    assert set(words) == {2, 3, 4} and told["unigram_nats"] == pytest.approx(unigram, rel=0.005)
    assert told["repeat_hits"] == 1.0


def test_a_parrot_scores_what_repeating_scores() -> None:
    lines_SL = repeating(40, 0)
    period, words = 4, 3
    draw = torch.Generator().manual_seed(1)
    changed_SL = (torch.rand(lines_SL.shape, generator=draw) < 0.3) & (lines_SL >= SPECIALS)
    lines_SL[changed_SL] = torch.randint(SPECIALS, 16, (int(changed_SL.sum()),), generator=draw)
    told = measure(Parrot(period), lines_SL, lines_SL, batch=8)
    # The parrot has nothing to repeat in the first instant and misses its words.
    assert told["held_out_hits"] == pytest.approx(told["repeat_hits"] * (INSTANTS - 1) / INSTANTS)
    assert 0.4 < told["repeat_hits"] < 0.75 and words * INSTANTS + INSTANTS + 1 == lines_SL.shape[1]


def test_it_learns_what_repeats(tiny_decoder: Callable[..., torch.nn.Module], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    losses: list[float] = []
    train_SL, decoder = repeating(400, 0), tiny_decoder(layers=2)
    config = PretrainConfig(steps=250, batch=16, learning_rate=1e-2)
    pretrain_decoder(decoder, train_SL, config, tmp_path, lambda _, loss: losses.append(loss))
    assert len(losses) == 250 and sum(losses[-10:]) < 0.6 * sum(losses[:10])
    told = measure(decoder, train_SL, repeating(40, 1), batch=16)
    assert told["unigram_nats"] == pytest.approx(math.log(14), abs=0.05)
    assert told["held_out_nats"] < 0.6 * told["unigram_nats"]
    assert told["held_out_hits"] > 0.5 and told["repeat_hits"] == 1.0


def test_a_run_that_was_stopped_ends_the_same(
    tiny_decoder: Callable[..., torch.nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same_state: Callable[..., None],
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    config = PretrainConfig(steps=10, batch=4, warmup=2)
    whole, stopped, resumed = tiny_decoder(), tiny_decoder(), tiny_decoder()
    lines_SL, steps = repeating(30, 0), []

    def stop(step: int, _: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    pretrain_decoder(whole, lines_SL, config, tmp_path / "a", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        pretrain_decoder(stopped, lines_SL, config, tmp_path / "b", stop)
    pretrain_decoder(resumed, lines_SL, config, tmp_path / "b", lambda step, _: steps.append(step))
    assert steps == [5, 6, 7, 8, 9, 10]
    same_state(whole, resumed)
    with pytest.raises(BadInput, match="29 sentences"):
        pretrain_decoder(tiny_decoder(), lines_SL[1:], config, tmp_path / "b", lambda *_: None)


@pytest.fixture
def recorded(decision: Decide, tmp_path: Path) -> Callable[[int], list[Path]]:
    """`recorded(n)`: shards of n episodes of nine decisions, enough for one sentence a place."""

    def make(count: int) -> list[Path]:
        paths = [tmp_path / f"{index}.safetensors" for index in range(count)]
        for index, path in enumerate(paths):
            Shard.pack([decision(20 * index + step) for step in range(INSTANTS)]).save(path)
        return paths

    return make


def test_one_episode_in_ten_is_neither_learnt_nor_fitted_on(
    recorded: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, fitted = recorded(12), []
    fit = fit_quantizers
    monkeypatch.setattr(pretrain, "fit_quantizers", lambda shards, *rest: fitted.extend(shards) or fit(shards, *rest))
    train_SL, held_out_SL = stream_sentences(paths, 32, 0)
    assert len(train_SL) == 10 * 3 and len(held_out_SL) == 2 * 3 and len(fitted) == 10
    held_out = {Shard.load(paths[index]).target("count_P").tobytes() for index in (0, 10)}
    assert not held_out & {shard.target("count_P").tobytes() for shard in fitted}
    assert not {tuple(line) for line in held_out_SL.tolist()} & {tuple(line) for line in train_SL.tolist()}


def test_held_out_sentences_are_spread_over_the_held_out_episodes(
    recorded: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = recorded(12)
    _, all_SL = stream_sentences(paths, 32, 0)
    monkeypatch.setattr(pretrain, "HELD_OUT_SENTENCES", 2)
    _, few_SL = stream_sentences(paths, 32, 0)
    assert torch.equal(few_SL, all_SL[[0, 3]])  # one of each episode


def test_one_episode_is_too_few(recorded: Callable[[int], list[Path]]) -> None:
    with pytest.raises(BadInput, match="two episodes or more, got 1"):
        stream_sentences(recorded(1), 32, 0)


def test_a_preset_becomes_a_folder_that_transformers_reads(
    recorded: Callable[[int], list[Path]], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    config = PretrainConfig(steps=2, batch=2)
    facts = pretrain_preset("nano", recorded(3), config, tmp_path / "work", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    length = 1 + INSTANTS * (1 + 2 * 4)  # two modalities at four anchors
    assert told == facts and told["preset"] == "nano" and told["tokens_seen"] == 2 * 2 * length
    assert (told["steps"], told["batch"], told["seed"]) == (2, 2, 0)
    assert told["parameters"] == 4_877_568
    assert {"held_out_nats", "unigram_nats", "held_out_hits", "repeat_hits"} <= told.keys()
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", use_safetensors=True)
    assert decoder.dtype == torch.float16
    log = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
