"""Pretraining of a decoder: predict the next token of sensor streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iotlam.contracts import BadInput
from iotlam.decoder import new_decoder
from iotlam.training.loop import optimise
from iotlam.training.progress import progress
from iotlam.training.shards import Shard
from iotlam.training.streams import SPECIALS, fit_quantizers, sentences


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """How long and how fast.

    Attributes:
        steps: optimiser steps.
        batch: sentences a step.
        learning_rate: peak, reached after `warmup` steps, then cosine to a tenth.
        warmup: steps of linear warm-up.
        seed: order of the sentences.
    """

    steps: int = 300
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 20
    seed: int = 0


INSTANTS = 9
"""Decisions in one sentence."""

HELD_OUT_EVERY = 10
"""One episode in so many measures the decoder and is never learnt, nor are the codes fitted on it."""

HELD_OUT_SENTENCES = 400
FITTED_EPISODES = 20


def pretrain_preset(
    preset: str, paths: Sequence[Path], config: PretrainConfig, work: Path, out: Path
) -> dict[str, float | str]:
    """Train a preset from random weights on recorded streams and save it in half precision.

    Args:
        preset: name of the decoder preset.
        paths: shards of the recorded streams, two episodes or more.
        config: how long and how fast.
        work: where checkpoints and the loss curve go.
        out: folder of the finished decoder (`config.json`, `model.safetensors`, `pretraining.json`).

    Returns:
        The held-out figures of `measure`, and what they were made with.
    """
    torch.set_num_threads(1)
    decoder = new_decoder(preset, config.seed)
    train_SL, held_out_SL = stream_sentences(paths, int(decoder.config.vocab_size), config.seed)
    work.mkdir(parents=True, exist_ok=True)
    with progress("Pretraining", total=config.steps) as show, (work / "metrics.jsonl").open("a") as log:

        def on_step(step: int, loss: float) -> None:
            show(1, loss=loss)
            log.write(json.dumps({"step": step, "loss": loss}) + "\n")
            log.flush()

        pretrain_decoder(decoder, train_SL, config, work, on_step)
    facts: dict[str, float | str] = {
        **measure(decoder, train_SL, held_out_SL, config.batch),
        "preset": preset,
        "parameters": sum(parameter.numel() for parameter in decoder.parameters()),
        "tokens_seen": config.steps * config.batch * train_SL.shape[1],
        **asdict(config),
    }
    decoder.half().save_pretrained(out, safe_serialization=True)  # type: ignore[no-untyped-call]
    (out / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def stream_sentences(paths: Sequence[Path], vocab: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sentences (S, L) to learn, and held-out ones spread over all held-out episodes.

    Raises:
        BadInput: if there are fewer than two episodes.
    """
    if len(paths) < 2:
        raise BadInput("Streams", expected="two episodes or more", got=str(len(paths)), fix="record more of them")
    shards = [Shard.load(path) for path in paths]
    learnt = [shard for index, shard in enumerate(shards) if index % HELD_OUT_EVERY]
    fitted = learnt[:: max(len(learnt) // FITTED_EPISODES, 1)]
    quantizers = fit_quantizers(fitted, shards[0].modalities, vocab, seed)
    train_SL = torch.cat([sentences(shard, quantizers, INSTANTS) for shard in learnt])
    held_out_SL = torch.cat([sentences(shard, quantizers, INSTANTS) for shard in shards[::HELD_OUT_EVERY]])
    return train_SL, held_out_SL[:: max(len(held_out_SL) // HELD_OUT_SENTENCES, 1)]


def pretrain_decoder(
    decoder: Any, train_SL: Tensor, config: PretrainConfig, folder: Path, on_step: Callable[[int, float], None]
) -> None:
    """Train all weights of a causal decoder on sentences of vocabulary entries; resumes from `folder`.

    Args:
        decoder: a causal language model of transformers.
        train_SL: sentences to learn, int64 (S, L).
        config: how long and how fast.
        folder: where the checkpoint goes.
        on_step: told the step and its loss in nats.
    """

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((config.seed, step))
        batch_BL = train_SL[torch.from_numpy(rng.integers(len(train_SL), size=config.batch))]
        loss: Tensor = decoder(input_ids=batch_BL, labels=batch_BL).loss
        return loss

    optimise(
        decoder,
        loss_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=0.05,
        folder=folder,
        recipe=f"{config}, {len(train_SL)} sentences",
        on_step=on_step,
    )


@torch.no_grad()
def measure(decoder: Any, train_SL: Tensor, held_out_SL: Tensor, batch: int) -> dict[str, float]:
    """How well held-out codes are predicted, by the decoder and by the two simplest rivals; marks do not count.

    Returns:
        `held_out_nats` per code against `unigram_nats` (the best guess without context), and the share of codes hit
        by the decoder's best guess, `held_out_hits`, against `repeat_hits` (what was there an instant before).
    """
    decoder.eval()
    nats, hits = [], []
    for part_BL in torch.split(held_out_SL, batch):
        log_BLV = decoder(input_ids=part_BL).logits[:, :-1].log_softmax(-1)
        code_BL = part_BL[:, 1:] >= SPECIALS
        nats.append(-log_BLV.gather(2, part_BL[:, 1:, None])[..., 0][code_BL])
        hits.append((log_BLV.argmax(-1) == part_BL[:, 1:])[code_BL])
    period = (held_out_SL.shape[1] - 1) // INSTANTS
    later_SL, before_SL = held_out_SL[:, 1 + period :], held_out_SL[:, 1:-period]
    size = int(max(train_SL.max(), held_out_SL.max())) + 1
    counts = torch.bincount(train_SL[train_SL >= SPECIALS], minlength=size).double() + 1.0
    unigram = -(counts / counts.sum()).log()[held_out_SL[held_out_SL >= SPECIALS]]
    return {
        "held_out_nats": float(torch.cat(nats).mean()),
        "unigram_nats": float(unigram.mean()),
        "held_out_hits": float(torch.cat(hits).float().mean()),
        "repeat_hits": float((later_SL == before_SL)[later_SL >= SPECIALS].float().mean()),
    }
