"""Pretraining of a decoder: predict the next entry of sensor streams and of words about them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from iotlam.contracts import BadInput, whole_files
from iotlam.decoder import new_decoder
from iotlam.decoder.vocabulary import TOKENIZER, train_tokenizer
from iotlam.training.curve import METRICS, LossCurve
from iotlam.training.device import accelerator, half_precision
from iotlam.training.lines import MOST, Corpus, Line, pad
from iotlam.training.loop import optimise
from iotlam.training.measure import stream_figures, word_figures
from iotlam.training.progress import progress
from iotlam.training.shards import Shard
from iotlam.training.streams import Describe, Quantizer, Streams, fit_quantizers, save_quantizers


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """How long and how fast.

    Attributes:
        steps: optimiser steps.
        batch: lines a step.
        learning_rate: peak, reached after `warmup` steps, then cosine to a tenth.
        warmup: steps of linear warm-up.
        word_weight: how much an entry of the words counts in the loss, against 1 for one of the stream.
        seed: weights, codebooks and the lines drawn.
    """

    steps: int = 4800
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 50
    word_weight: float = 4.0
    seed: int = 0


HELD_OUT_EVERY = 10
"""One episode in so many measures the decoder and is never learnt; neither codes nor vocabulary are fitted on it."""

HELD_OUT_LINES = 400
FITTED_DECISIONS = 6000
FITTED_TEXTS = 4000
"""Decisions of each application that the codebooks are fitted on, and descriptions that the vocabulary is."""

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """What a decoder learns from and is measured on.

    Attributes:
        tokenizer: the vocabulary.
        quantizers: codebooks by modality.
        learnt: episodes to learn, by application.
        held_out: episodes to measure on, by application.
    """

    tokenizer: Tokenizer
    quantizers: dict[str, Quantizer]
    learnt: dict[str, Corpus]
    held_out: dict[str, Corpus]


def pretrain_preset(
    preset: str, streams: Mapping[str, Streams], config: PretrainConfig, work: Path, out: Path
) -> Facts:
    """Train a preset from random weights on applications' streams and words, and save it in half precision.

    Uses a GPU where there is one.

    Args:
        preset: name of the decoder preset.
        streams: recorded streams by application, two episodes or more of each, and words about them.
        config: how long and how fast.
        work: where checkpoints and the loss curve go.
        out: folder of the finished decoder: `config.json`, `model.safetensors`, its vocabulary (`tokenizer.json`), the
            codebooks of its streams (`quantizers.safetensors`), `pretraining.json` and the loss curve, `metrics.jsonl`.

    Returns:
        The held-out figures, and what they were made with.
    """
    torch.set_num_threads(1)
    decoder: Any = new_decoder(preset, config.seed)
    with progress("Reading streams"):
        material = prepare(streams, int(decoder.config.vocab_size), config.seed)
    decoder.to(accelerator())
    cost = pretrain_decoder(decoder, list(material.learnt.values()), config, work)
    decoder.cpu().eval()
    rng = np.random.default_rng((config.seed, 0))
    facts: Facts = {
        "preset": preset,
        "parameters": sum(parameter.numel() for parameter in decoder.parameters()),
        "streams": figures(decoder, material, rng),
        **cost,
        **asdict(config),
    }
    with whole_files(out, last="config.json") as new:
        decoder.half().save_pretrained(new, safe_serialization=True)
        material.tokenizer.save(str(new / TOKENIZER))
        save_quantizers(material.quantizers, new)
        shutil.copyfile(work / METRICS, new / METRICS)
        (new / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def prepare(streams: Mapping[str, Streams], vocab: int, seed: int) -> Material:
    """Read the episodes, fit vocabulary and codebooks on those to learn, and turn all into codes.

    Raises:
        BadInput: if there are fewer than two episodes of an application.
    """
    if few := [name for name, one in streams.items() if len(one.paths) < 2]:
        got = str(len(streams[few[0]].paths))
        raise BadInput(f"Streams of '{few[0]}'", expected="two episodes or more", got=got, fix="record more of them")
    shards = {name: [Shard.load(path) for path in one.paths] for name, one in streams.items()}
    learnt = {name: [s for index, s in enumerate(all_) if index % HELD_OUT_EVERY] for name, all_ in shards.items()}
    held_out = {name: all_[::HELD_OUT_EVERY] for name, all_ in shards.items()}
    modalities = list(dict.fromkeys(modality for one in streams.values() for modality in one.modalities))
    rng = np.random.default_rng(seed)
    texts = [text for name, one in streams.items() for text in _texts(learnt[name], one.describe, rng)]
    tokenizer = train_tokenizer(texts, modalities, vocab)
    fitted = [shard for each in learnt.values() for shard in _spread(each, FITTED_DECISIONS)]
    quantizers = fit_quantizers(fitted, modalities, tokenizer, seed)

    def corpora(parts: Mapping[str, Sequence[Shard]]) -> dict[str, Corpus]:
        return {name: Corpus(part, quantizers, tokenizer, streams[name].describe) for name, part in parts.items()}

    return Material(tokenizer, quantizers, corpora(learnt), corpora(held_out))


def pretrain_decoder(decoder: Any, corpora: Sequence[Corpus], config: PretrainConfig, folder: Path) -> Facts:
    """Train all weights of a causal decoder; resumes from `folder`, where `metrics.jsonl` gets the loss curve.

    Each step's lines are of one application, drawn with equal odds: looks are as long as its sensors make them.

    Returns:
        Entries seen, and what all steps have cost, those before a resume included.
    """
    experts = {"output_router_logits": True} if hasattr(decoder.config, "router_aux_loss_coef") else {}

    def loss_at(step: int) -> Tensor:
        entries_BL, weights_BL = (each.to(decoder.device) for each in _batch(corpora, config, step))
        with half_precision(decoder.device):
            output = decoder(input_ids=entries_BL, **experts)
        loss = weighted_loss(output.logits, entries_BL, weights_BL)
        balance: Tensor | float = decoder.config.router_aux_loss_coef * output.aux_loss if experts else 0.0
        return loss + balance

    curve = LossCurve(folder)
    with progress("Pretraining", total=config.steps) as show:

        def on_step(step: int, loss: float) -> None:
            show(1, loss=loss)
            curve.add(step, loss)

        optimise(
            decoder,
            loss_at,
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            weight_decay=0.05,
            folder=folder,
            recipe=f"{config}, {[len(corpus) for corpus in corpora]} looks",
            on_step=on_step,
        )
    return {
        "entries_seen": sum(int((_batch(corpora, config, step)[1] > 0).sum()) for step in range(config.steps)),
        "seconds": curve.seconds,
        "cpu_seconds": curve.cpu_seconds,
        "device": decoder.device.type,
    }


def figures(decoder: Any, material: Material, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Held-out figures of each application's streams and words; see `stream_figures` and `word_figures`."""
    found = {}
    for name, held_out in material.held_out.items():
        past = [held_out.line(rng, held_out.longest_past, scene=False) for _ in range(HELD_OUT_LINES)]
        scenes = [held_out.line(rng, MOST, scene=True) for _ in range(HELD_OUT_LINES // 2)]
        found[name] = {
            **stream_figures(decoder, _looks(past), material.learnt[name].codes, held_out.longest_past),
            **word_figures(decoder, past, material.tokenizer),
            **{f"scene_{key}": value for key, value in word_figures(decoder, scenes, material.tokenizer).items()},
        }
    return found


def weighted_loss(logits_BLV: Tensor, entries_BL: Tensor, weights_BL: Tensor) -> Tensor:
    """Weighted mean nats per entry, each predicted from those before it."""
    nats_N = functional.cross_entropy(
        logits_BLV[:, :-1].flatten(0, 1).float(), entries_BL[:, 1:].flatten(), reduction="none"
    )
    weights_N = weights_BL[:, 1:].flatten()
    loss: Tensor = (weights_N * nats_N).sum() / weights_N.sum()
    return loss


def _batch(corpora: Sequence[Corpus], config: PretrainConfig, step: int) -> tuple[Tensor, Tensor]:
    """Entries and their weights (B, L) in the loss, 0 for padding."""
    rng = np.random.default_rng((config.seed, 1, step))
    lines = corpora[int(rng.integers(len(corpora)))].batch(rng, config.batch)
    entries_BL, labels_BL = pad([line.entries for line in lines])
    weights_BL = (labels_BL >= 0).float()
    for row, line in enumerate(lines):
        weights_BL[row, len(line.looks) : len(line.entries)] = config.word_weight
    return entries_BL, weights_BL


def _spread(shards: Sequence[Shard], decisions: int) -> Sequence[Shard]:
    """Some of the episodes, evenly spread, that hold about so many decisions."""
    return shards[:: max(sum(map(len, shards)) // decisions, 1)]


def _looks(lines: Sequence[Line]) -> Tensor:
    return torch.tensor([line.looks for line in lines])


def _texts(shards: Sequence[Shard], describe: Describe, rng: np.random.Generator) -> list[str]:
    """Descriptions of one place and of several, as lines have them."""
    texts = []
    for turn in range(FITTED_TEXTS):
        shard = shards[int(rng.integers(len(shards)))]
        sample = shard[int(rng.integers(len(shard)))]
        places = rng.permutation(sample.query.serves_PK.shape[1])[: 1 + turn % MOST].tolist()
        texts.append(describe(sample, places))
    return texts
