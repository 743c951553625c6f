"""Streams as codes, lines of codes and words, and a decoder that learns them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from iotlam.contracts import BadInput, TokenBatch
from iotlam.decoder.vocabulary import BEGIN, END, NEXT, SAY, SPECIALS, code_range, train_tokenizer
from iotlam.training import loop, pretrain
from iotlam.training.lines import Corpus, Line, look_entries, pad
from iotlam.training.measure import stream_figures, word_figures, write_after
from iotlam.training.pretrain import PretrainConfig, _batch, prepare, pretrain_decoder, pretrain_preset, weighted_loss
from iotlam.training.shards import Sample, Shard
from iotlam.training.streams import (
    QUANTIZERS,
    Streams,
    fit_quantizer,
    fit_quantizers,
    k_means,
    load_quantizers,
    save_quantizers,
    stream_codes,
)

Decide = Callable[..., Sample]
VOCAB = 320
EMPTY = len(SPECIALS)


def describe(sample: Sample, places: Sequence[int]) -> str:
    """How many tokens lie on each place."""
    counts = sample.targets["count_P"][list(places)].astype(int).tolist()
    return f"There are {', '.join(map(str, counts))}."


@pytest.fixture
def shard(decision: Decide) -> Shard:
    return Shard.pack([decision(seed) for seed in range(10)])


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = [f"There are {a}, {b}." for a in range(6) for b in range(6)]
    return train_tokenizer(texts, ["lidar", "video"], VOCAB)


@pytest.fixture
def corpus(shard: Shard, tokenizer: Tokenizer) -> Corpus:
    return Corpus([shard], fit_quantizers([shard], ["lidar", "video"], tokenizer, 0), tokenizer, describe)


@pytest.fixture
def recorded(decision: Decide, tmp_path: Path) -> Callable[[int], Streams]:
    """`recorded(n)`: streams of n episodes of nine decisions."""

    def make(count: int) -> Streams:
        paths = [tmp_path / f"{index}.safetensors" for index in range(count)]
        for index, path in enumerate(paths):
            Shard.pack([decision(20 * index + step) for step in range(9)]).save(path)
        return Streams(paths, describe, ("lidar", "video"))

    return make


# --- streams


def test_codes_run_modality_by_modality_along_each_place(shard: Shard, tokenizer: Tokenizer) -> None:
    quantizers = fit_quantizers([shard], ["lidar", "video"], tokenizer, 0)
    codes_NKC = stream_codes(shard, quantizers, tokenizer)
    assert codes_NKC.shape == (10, 3, 2 * 4)  # ten decisions, three places, two modalities at four anchors
    for part, name in ((codes_NKC[..., :4], "lidar"), (codes_NKC[..., 4:], "video")):
        entries = code_range(tokenizer, name)
        assert part.min() >= entries.start and part.max() < entries.stop and len(part.unique()) > 3


def test_k_means_finds_the_centres_of_clusters() -> None:
    draw = torch.Generator().manual_seed(0)
    truth_QD = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows_ND = (truth_QD.repeat(100, 1) + 0.1 * torch.randn(300, 2, generator=draw))[torch.randperm(300, generator=draw)]
    found_QD = k_means(torch.cat([truth_QD + 1.0, rows_ND]), 3)
    assert torch.cdist(truth_QD, found_QD).min(1).values.max() < 0.1
    far_QD = k_means(torch.cat([torch.tensor([[99.0, 99.0]]), rows_ND]), 2)
    assert far_QD.isfinite().all()


def test_a_code_stands_for_the_nearest_centre_in_units_of_the_spread() -> None:
    rows_ND = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0, 0.02]) + 7.0
    quantizer = fit_quantizer(rows_ND, 20, seed=0)
    code_N = quantizer(rows_ND)
    assert len(code_N.unique()) == 20
    again_N = quantizer((rows_ND - quantizer.mean_D) / quantizer.scale_D * quantizer.scale_D + quantizer.mean_D)
    assert torch.equal(code_N, again_N)
    spread_Q = torch.stack([rows_ND[code_N == code].std(0).nan_to_num() for code in range(20)]).mean(0)
    assert (spread_Q < 0.8 * rows_ND.std(0)).all()  # no dimension is drowned by another's unit


def test_codebooks_are_kept_beside_the_decoder(shard: Shard, tokenizer: Tokenizer, tmp_path: Path) -> None:
    quantizers = fit_quantizers([shard], ["lidar", "video"], tokenizer, 0)
    save_quantizers(quantizers, tmp_path)
    again = load_quantizers(tmp_path)
    assert list(again) == ["lidar", "video"]
    assert torch.equal(stream_codes(shard, again, tokenizer), stream_codes(shard, quantizers, tokenizer))
    (tmp_path / QUANTIZERS).write_bytes(b"broken")
    with pytest.raises(BadInput, match="codebooks of streams"):
        load_quantizers(tmp_path)


def test_a_modality_without_places_is_refused(decision: Decide, tokenizer: Tokenizer) -> None:
    batch = decision(0).tokens["lidar"]
    placeless = TokenBatch(batch.tokens_BTD, batch.mask_BT, batch.time_BT, "lidar")
    shard = Shard.pack([Sample({"lidar": placeless}, decision(0).query, {})])
    with pytest.raises(BadInput, match="'lidar'"):
        fit_quantizers([shard], ["lidar"], tokenizer, seed=0)


# --- lines


def test_a_past_line_is_one_place_over_time_and_says_how_it_ends(
    corpus: Corpus, shard: Shard, tokenizer: Tokenizer
) -> None:
    codes_NKC = stream_codes(shard, fit_quantizers([shard], ["lidar", "video"], tokenizer, 0), tokenizer)
    rng = np.random.default_rng(0)
    for _ in range(20):
        line = corpus.line(rng, looks=3, scene=False)
        where = [(n, k) for n in range(8) for k in range(3) if line.looks == look_entries(codes_NKC[n : n + 3, k])]
        texts = {describe(shard[n + 2], [k]) for n, k in where}
        assert tokenizer.decode(list(line.words)) in texts
        assert line.words[0] == SAY and line.words[-1] == END


def test_a_scene_is_several_places_at_one_instant(corpus: Corpus, shard: Shard, tokenizer: Tokenizer) -> None:
    codes_NKC = stream_codes(shard, fit_quantizers([shard], ["lidar", "video"], tokenizer, 0), tokenizer)
    line = corpus.line(np.random.default_rng(1), looks=8, scene=True)
    looks_LC = torch.tensor(line.looks[1:]).view(3, 9)  # as many looks as there are places
    assert line.looks[0] == BEGIN and (looks_LC[:, 0] == NEXT).all()
    matches = [n for n in range(10) if all((codes_NKC[n] == look).all(1).any() for look in looks_LC[:, 1:])]
    order = [int((codes_NKC[matches[0]] == look).all(1).nonzero()[0]) for look in looks_LC[:, 1:]]
    assert tokenizer.decode(list(line.words)) == describe(shard[matches[0]], order)


def test_words_alone_and_padding() -> None:
    entries_BL, labels_BL = pad([[5, 6, 7], [8]])
    assert entries_BL.tolist() == [[5, 6, 7], [8, END, END]] and labels_BL.tolist() == [[5, 6, 7], [8, -100, -100]]


def test_a_line_without_looks_is_words_alone(corpus: Corpus) -> None:
    for scene in (False, True):
        line = corpus.line(np.random.default_rng(2), looks=0, scene=scene)
        assert line.looks == (BEGIN,) and len(line.words) > 3


# --- what a decoder knows


class Parrot(torch.nn.Module):
    """Expects what stood one instant before, with a confidence of 100 nats; NEXT before that."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        later_SL = torch.nn.functional.pad(input_ids, (self.period - 1, 0), value=NEXT)[:, : input_ids.shape[1]]
        return SimpleNamespace(logits=100.0 * torch.nn.functional.one_hot(later_SL, 16).float())


def repeating(count: int, seed: int, instants: int = 8) -> Tensor:
    """Looks that show the same three random codes instant after instant."""
    codes_SC = torch.randint(EMPTY, 16, (count, 3), generator=torch.Generator().manual_seed(seed))
    look_SC = torch.cat([torch.full((count, 1), NEXT), codes_SC], dim=1)
    return torch.cat([torch.full((count, 1), BEGIN), look_SC.repeat(1, instants)], dim=1)


def test_figures_of_streams_by_hand(tiny_decoder: Callable[..., Any]) -> None:
    learnt = torch.tensor([4, 4, 4, 4, 5, 6]).repeat(300)
    share = {4: 4 / 6, 5: 1 / 6, 6: 1 / 6}
    looks_SL = repeating(5, 0)
    looks_SL = torch.where(looks_SL >= EMPTY, looks_SL % 3 + 4, looks_SL)
    codes = looks_SL[looks_SL >= EMPTY].tolist()
    decoder = tiny_decoder()
    with torch.no_grad():
        log_SLV = decoder(input_ids=looks_SL).logits.log_softmax(-1)[:, :-1]
    is_code_SL = looks_SL[:, 1:] >= EMPTY
    told = stream_figures(decoder, looks_SL, learnt, instants=8)
    by_hand = -log_SLV.gather(2, looks_SL[:, 1:, None])[..., 0][is_code_SL].mean()
    assert told["held_out_nats"] == pytest.approx(float(by_hand), rel=1e-5)
    right = (log_SLV.argmax(-1) == looks_SL[:, 1:])[is_code_SL]
    assert told["held_out_hits"] == pytest.approx(float(right.float().mean()), rel=1e-5)
    unigram = -sum(math.log(share[code]) for code in codes) / len(codes)
    assert set(codes) == {4, 5, 6} and told["unigram_nats"] == pytest.approx(unigram, rel=0.005)
    assert told["repeat_hits"] == 1.0


def test_a_parrot_scores_what_repeating_scores() -> None:
    looks_SL = repeating(40, 0)
    draw = torch.Generator().manual_seed(1)
    changed_SL = (torch.rand(looks_SL.shape, generator=draw) < 0.3) & (looks_SL >= EMPTY)
    looks_SL[changed_SL] = torch.randint(EMPTY, 16, (int(changed_SL.sum()),), generator=draw)
    told = stream_figures(Parrot(4), looks_SL, looks_SL[looks_SL >= EMPTY], instants=8)
    # The parrot has nothing to repeat in the first instant and misses its codes.
    assert told["held_out_hits"] == pytest.approx(told["repeat_hits"] * 7 / 8)
    assert 0.4 < told["repeat_hits"] < 0.75


def test_words_that_follow_from_the_stream_are_learnt(tiny_decoder: Callable[..., Any], tokenizer: Tokenizer) -> None:
    """A toy: the code says which sentence follows; without the stream both are as likely."""
    torch.set_num_threads(1)
    sentences = [[SAY, *tokenizer.encode(text).ids, END] for text in ("There are 1, 2.", "There are 4, 0.")]
    lines = [Line((BEGIN, NEXT, 300 + turn % 2), tuple(sentences[turn % 2])) for turn in range(16)]
    decoder = tiny_decoder(layers=2, vocab=VOCAB)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    entries_BL, labels_BL = pad([line.entries for line in lines])
    for _ in range(100):
        loss = decoder(input_ids=entries_BL, labels=labels_BL).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    told = word_figures(decoder.eval(), lines, tokenizer)
    assert told["sentence_right"] == 1.0 and told["sentence_guess"] == 0.5
    assert told["words_nats"] < 0.1 < told["words_alone_nats"]
    assert write_after(decoder, [line.looks for line in lines[:3]])[1][: len(sentences[1]) - 1] == sentences[1][1:]


# --- pretraining


def test_the_loss_is_that_of_transformers_where_all_weighs_alike(tiny_decoder: Callable[..., Any]) -> None:
    entries_BL, labels_BL = pad([[5, 6, 7, 8, 9], [8, 4]])
    output = tiny_decoder()(input_ids=entries_BL, labels=labels_BL)
    alike_BL = (labels_BL >= 0).float()
    torch.testing.assert_close(weighted_loss(output.logits, entries_BL, alike_BL), output.loss)
    only_last_BL = torch.tensor([[0.0, 0, 0, 0, 5], [0, 0, 0, 0, 0]])
    last = -output.logits[0, 3].log_softmax(-1)[9]
    torch.testing.assert_close(weighted_loss(output.logits, entries_BL, only_last_BL), last)


def test_it_learns(tiny_decoder: Callable[..., Any], corpus: Corpus, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    decoder = tiny_decoder(layers=2, vocab=VOCAB)
    facts = pretrain_decoder(decoder, [corpus], PretrainConfig(steps=60, batch=8, learning_rate=1e-2), tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 60 and sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert facts["entries_seen"] > 60 * 8 * 10 and facts["cpu_seconds"] > 0


def test_a_run_that_was_stopped_ends_the_same(
    tiny_decoder: Callable[..., Any],
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same_state: Callable[..., None],
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    config = PretrainConfig(steps=10, batch=2, warmup=2)
    whole, stopped, resumed = (tiny_decoder(vocab=VOCAB) for _ in range(3))
    pretrain_decoder(whole, [corpus], config, tmp_path / "a")
    batch = corpus.batch
    with monkeypatch.context() as patch:
        turns: list[int] = []

        def stop(rng: np.random.Generator, size: int) -> list[Line]:
            turns.append(size)
            if len(turns) > 6:
                raise KeyboardInterrupt
            return batch(rng, size)

        patch.setattr(corpus, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain_decoder(stopped, [corpus], config, tmp_path / "b")
    pretrain_decoder(resumed, [corpus], config, tmp_path / "b")
    same_state(whole, resumed)
    rows = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10]
    assert [row["cpu_seconds"] for row in rows] == sorted(row["cpu_seconds"] for row in rows)


def test_one_episode_in_ten_is_neither_learnt_nor_fitted_on(
    recorded: Callable[[int], Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, fitted = recorded(12), []
    fit = fit_quantizers
    monkeypatch.setattr(pretrain, "fit_quantizers", lambda shards, *rest: fitted.extend(shards) or fit(shards, *rest))
    material = prepare({"bells": streams}, VOCAB, 0)
    assert len(material.learnt["bells"]) == 10 * 9 * 3 and len(material.held_out["bells"]) == 2 * 9 * 3
    assert len(fitted) == 10
    held_out = {Shard.load(streams.paths[index]).target("count_P").tobytes() for index in (0, 10)}
    assert not held_out & {shard.target("count_P").tobytes() for shard in fitted}


def test_two_applications_share_a_decoder_and_a_step_has_lines_of_one(
    recorded: Callable[[int], Streams], decision: Decide, tmp_path: Path
) -> None:
    paths = [tmp_path / f"short{index}.safetensors" for index in range(3)]
    for index, path in enumerate(paths):
        Shard.pack([decision(300 + 20 * index + step, ("lidar",)) for step in range(3)]).save(path)
    short = Streams(paths, lambda sample, places: "One of the others.", ("lidar",))
    material = prepare({"bells": recorded(3), "short": short}, VOCAB, 0)
    assert set(material.quantizers) == {"lidar", "video"}
    assert material.held_out["bells"].longest_past == 8 and material.held_out["short"].longest_past == 3
    corpora, kinds = list(material.learnt.values()), set()
    for step in range(12):
        entries_BL, _ = _batch(corpora, PretrainConfig(batch=3), step)
        said = {material.tokenizer.decode(row).partition(" ")[0].rpartition(">")[2] for row in entries_BL.tolist()}
        assert len(said) == 1
        kinds |= said
    assert kinds == {"There", "One"}


def test_one_episode_is_too_few(recorded: Callable[[int], Streams]) -> None:
    with pytest.raises(BadInput, match="'bells': expected two episodes or more, got 1"):
        prepare({"bells": recorded(1)}, VOCAB, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "parameters"), [("nano", 5_074_176), ("nano-moe", 10_173_696)])
def test_a_preset_becomes_a_folder_that_transformers_reads(
    recorded: Callable[[int], Streams], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, parameters: int
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(pretrain, "HELD_OUT_LINES", 4)
    config = PretrainConfig(steps=2, batch=2)
    facts = pretrain_preset(preset, {"bells": recorded(3)}, config, tmp_path / "work", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert told == facts and told["preset"] == preset and told["parameters"] == parameters
    assert (told["steps"], told["batch"], told["seed"]) == (2, 2, 0)
    assert {"held_out_nats", "repeat_hits", "words_nats", "scene_words_alone_nats"} <= told["streams"]["bells"].keys()
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", use_safetensors=True)
    assert decoder.dtype == torch.float16
    assert AutoTokenizer.from_pretrained(tmp_path / "out").decode([SAY]) == "<say>"
    assert set(load_quantizers(tmp_path / "out")) == {"lidar", "video"}
    log = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
