"""Pretraining of a decoder: predict the next token of sensor streams."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from iotlam.decoder import new_decoder
from iotlam.training.checkpoint import load_checkpoint, save_checkpoint
from iotlam.training.progress import progress
from iotlam.training.shards import Shard
from iotlam.training.streams import fit_quantizers, sentences

CHECKPOINT_EVERY = 25


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

    steps: int = 400
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 20
    seed: int = 0


INSTANTS = 9
"""Decisions in one sentence."""

HELD_OUT_EVERY = 10
"""One episode in so many measures the loss and is never learnt."""


def pretrain_preset(
    preset: str, paths: Sequence[Path], config: PretrainConfig, work: Path, out: Path
) -> dict[str, float | str]:
    """Train a preset from random weights on recorded streams and save it in half precision.

    Args:
        preset: name of the decoder preset.
        paths: shards of the recorded streams.
        config: how long and how fast.
        work: where checkpoints and the loss curve go.
        out: folder of the finished decoder (`config.json`, `model.safetensors`, `pretraining.json`).

    Returns:
        The figures of `pretrain_decoder` and what they were made with.
    """
    torch.set_num_threads(1)
    decoder = new_decoder(preset, config.seed)
    shards = [Shard.load(path) for path in paths]
    vocab = int(decoder.config.vocab_size)
    quantizers = fit_quantizers(shards[:: HELD_OUT_EVERY // 2], shards[0].modalities, vocab, config.seed)
    lines = [sentences(shard, quantizers, INSTANTS) for shard in shards]
    held_out_SL = torch.cat(lines[::HELD_OUT_EVERY])[:256]
    train_SL = torch.cat([part for index, part in enumerate(lines) if index % HELD_OUT_EVERY])
    work.mkdir(parents=True, exist_ok=True)
    with progress("Pretraining", total=config.steps) as show, (work / "metrics.jsonl").open("a") as log:

        def on_step(step: int, loss: float) -> None:
            show(1, loss=loss)
            log.write(json.dumps({"step": step, "loss": loss}) + "\n")
            log.flush()

        facts: dict[str, float | str] = {
            **pretrain_decoder(decoder, train_SL, held_out_SL, config, work, on_step),
            "preset": preset,
            "sentences": len(train_SL),
            "tokens_a_sentence": train_SL.shape[1],
            **asdict(config),
        }
    decoder.half().save_pretrained(out, safe_serialization=True)  # type: ignore[no-untyped-call]
    (out / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def pretrain_decoder(
    decoder: Any,
    train_SL: Tensor,
    held_out_SL: Tensor,
    config: PretrainConfig,
    folder: Path,
    on_step: Callable[[int, float], None],
) -> dict[str, float]:
    """Train all weights of a causal decoder on sentences of vocabulary entries; resumes from `folder`.

    Args:
        decoder: a causal language model of transformers.
        train_SL: sentences to learn, int64 (S, L).
        held_out_SL: sentences of other episodes, int64.
        config: how long and how fast.
        folder: where checkpoints go.
        on_step: told the step and its loss in nats.

    Returns:
        Held-out nats per token, and those of the best guess that ignores context (unigram).
    """
    optimizer = AdamW(decoder.parameters(), lr=config.learning_rate, weight_decay=0.05)
    first = int(load_checkpoint(folder, decoder, optimizer)["step"])
    decoder.train()
    for step in range(first, config.steps):
        chosen = torch.randint(
            len(train_SL), (config.batch,), generator=torch.Generator().manual_seed(config.seed + step)
        )
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config.steps, config.warmup)
        batch_BL = train_SL[chosen]
        loss = decoder(input_ids=batch_BL, labels=batch_BL).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == config.steps:
            save_checkpoint(folder, decoder, optimizer, step + 1)
    return {
        "held_out_nats": held_out_nats(decoder, held_out_SL, config.batch),
        "unigram_nats": unigram_nats(train_SL, held_out_SL),
    }


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine to a tenth."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * done))


@torch.no_grad()
def held_out_nats(decoder: Any, sentences_SL: Tensor, batch: int) -> float:
    """Mean negative log-likelihood per token, nats."""
    decoder.eval()
    losses = [float(decoder(input_ids=part, labels=part).loss) * len(part) for part in torch.split(sentences_SL, batch)]
    return sum(losses) / len(sentences_SL)


def unigram_nats(train_SL: Tensor, held_out_SL: Tensor) -> float:
    """Nats per token of the best guess without context, fitted on the training sentences."""
    size = int(max(train_SL.max(), held_out_SL.max())) + 1
    counts = torch.bincount(train_SL[:, 1:].flatten(), minlength=size).double() + 1.0
    return float(-(counts / counts.sum()).log()[held_out_SL[:, 1:]].mean())
