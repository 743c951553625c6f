"""Self-supervised pretraining of any modality's encoder: on its simulated samples and on recordings, without labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iotlam.blocks.weights import save_weights
from iotlam.contracts import BadInput, SelfSupervised, SensorFrame, whole_files
from iotlam.plugins import LoadedModality, load
from iotlam.training.curve import METRICS, LossCurve
from iotlam.training.loop import optimise
from iotlam.training.progress import progress

WEIGHTS_NAME, RECIPE_NAME = "encoder.safetensors", "encoder.json"
HELD_OUT_SEED = 1_000_000
"""Samples from this seed on measure the encoder and are never learnt."""

MEASURED_WINDOWS = 256
RIVALS_WINDOWS = 1024

Window = Sequence[SensorFrame]


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """How long and how fast.

    Attributes:
        steps: optimiser steps.
        batch: windows a step.
        recorded: share of them that is recorded, where there are recordings.
        learning_rate: peak, reached after `warmup` steps, then cosine to a tenth.
        warmup: steps of linear warm-up.
        weight_decay: AdamW's.
        seed: of weights, order and whatever the loss draws.
        fresh: whether to start from random weights, not from those the plugin came with.
    """

    steps: int = 3000
    batch: int = 16
    recorded: float = 0.5
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    seed: int = 0
    fresh: bool = True


def pretrain_encoder(
    name: str, data: Sequence[Path], held_out: Sequence[Path], config: EncoderConfig, work: Path, out: Path
) -> dict[str, Any]:
    """Train the encoder of a modality to predict what its sensors measure; resumes from `work`.

    Args:
        name: of the modality; its plugin must have an `encoder` that is a `SelfSupervised` module.
        data: recordings to learn besides `sample(seed)`, read by the modality's reader; folders are searched.
        held_out: recordings that only measure. Keep whole machines or bearings out, never parts of one.
        config: how long and how fast.
        work: where the checkpoint and the loss curve (`metrics.jsonl`) go.
        out: folder of `encoder.safetensors` and `encoder.json`.

    Returns:
        What `encoder.json` says: recipe, data, held-out losses and those of simple rivals, processor seconds.

    Raises:
        BadInput: if the modality has no such encoder, or a file cannot be read or is in both lists.
    """
    torch.set_num_threads(1)
    for file in (out / WEIGHTS_NAME, out / RECIPE_NAME, work / METRICS):  # said before hours of training
        if file.is_dir():
            raise BadInput(str(file), expected="a file or nothing", got="a folder", fix="name another folder")
    modality = load(name)
    encoder = _encoder(modality)
    learnt_files, held_files = files_of(modality, data), files_of(modality, held_out)
    _check_apart(learnt_files, held_files)
    learnt, held = windows_of(modality, learnt_files), windows_of(modality, held_files)
    if config.fresh:
        _draw_anew(name, encoder, config.seed)
    curve = LossCurve(work)
    _optimise(
        modality, encoder, learnt, config, curve, work, recipe=f"{name}, {config}, {len(learnt)} recorded windows"
    )
    facts = {
        "modality": name,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        **asdict(config),
        "recordings": sorted(path.name for path in learnt_files),
        "held_out_recordings": sorted(path.name for path in held_files),
        "recorded_windows": len(learnt),
        "losses": measure(modality, encoder, learnt, held, config),
        "cpu_seconds": round(curve.cpu_seconds, 1),
    }
    with whole_files(out, last=RECIPE_NAME) as new:
        save_weights(encoder, new / WEIGHTS_NAME)
        (new / RECIPE_NAME).write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def files_of(modality: LoadedModality, paths: Sequence[Path]) -> list[Path]:
    """The files named, and those in the folders named that the modality's reader takes, sorted.

    Raises:
        BadInput: for a path that is neither, or a folder without such files.
    """
    found: set[Path] = set()
    for path in paths:
        inside = [path] if path.is_file() else [each for each in path.rglob("*") if _readable(modality, each)]
        if not inside:
            wanted = ", ".join(modality.manifest.files) or "files of this modality, which reads none"
            raise BadInput(str(path), expected=f"a file, or a folder with {wanted}", got="none", fix="check the path")
        found.update(inside)
    return sorted(found)


def windows_of(modality: LoadedModality, files: Sequence[Path]) -> list[Window]:
    """The recordings in windows of as many consecutive frames of a sensor as a sample has.

    Raises:
        BadInput: if a file cannot be read.
    """
    example = modality.sample(0)
    size = sum(frame.sensor == example[0].sensor for frame in example)
    windows: list[Window] = []
    for path in files:
        by_sensor: dict[str, list[SensorFrame]] = {}
        for frame in modality.read(path):
            by_sensor.setdefault(frame.sensor, []).append(frame)
        for frames in by_sensor.values():
            starts = range(0, max(len(frames) - size, 0) + 1, size)
            windows += [frames[start : start + size] for start in starts]
    return windows


@torch.no_grad()
def measure(
    modality: LoadedModality,
    encoder: nn.Module,
    learnt: Sequence[Window],
    held: Sequence[Window],
    config: EncoderConfig,
) -> dict[str, dict[str, float]]:
    """Losses on what was not learnt, `simulated` and `recorded` apart, the encoder's beside its simple rivals'.

    Rivals come from an encoder's optional `rival_losses(learnt, held_out, seed)` and are fitted on what it learnt.
    """
    encoder.eval()
    sources = {"simulated": [modality.sample(HELD_OUT_SEED + index) for index in range(MEASURED_WINDOWS)]}
    if held:
        sources["recorded"] = [held[index % len(held)] for index in range(max(MEASURED_WINDOWS, len(held)))]
    mixed = _batch(modality, learnt, RIVALS_WINDOWS, config.recorded, np.random.default_rng((config.seed, 2)))
    order = np.random.default_rng((config.seed, 3)).permutation(len(mixed))  # a rival may fit on the first few only
    mixed = [mixed[int(index)] for index in order]
    rivals = getattr(encoder, "rival_losses", None)
    losses_by_source = {}
    for source, windows in sources.items():
        chunks = [windows[start : start + config.batch] for start in range(0, len(windows), config.batch)]
        own = [float(_loss(encoder, chunk, index)) * len(chunk) for index, chunk in enumerate(chunks)]
        losses_by_source[source] = {"encoder": sum(own) / len(windows)}
        if rivals is not None:
            losses_by_source[source] |= rivals(mixed, windows, config.seed)
    return {
        source: {rival: round(loss, 4) for rival, loss in losses.items()} for source, losses in losses_by_source.items()
    }


def _optimise(
    modality: LoadedModality,
    encoder: nn.Module,
    learnt: Sequence[Window],
    config: EncoderConfig,
    curve: LossCurve,
    work: Path,
    recipe: str,
) -> None:
    def loss_at(step: int) -> Tensor:
        windows = _batch(modality, learnt, config.batch, config.recorded, np.random.default_rng((config.seed, 1, step)))
        return _loss(encoder, windows, step)

    with progress("Pretraining", total=config.steps) as show:

        def on_step(step: int, loss: float) -> None:
            show(1, loss=loss)
            curve.add(step, round(loss, 5))

        optimise(
            encoder,
            loss_at,
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            weight_decay=config.weight_decay,
            folder=work,
            recipe=recipe,
            on_step=on_step,
        )


def _batch(
    modality: LoadedModality, learnt: Sequence[Window], size: int, share: float, rng: np.random.Generator
) -> list[Window]:
    """Windows of a step: a share of recorded ones where there are any, the rest simulated."""
    recorded = round(size * share) if learnt else 0
    seeds = rng.integers(HELD_OUT_SEED, size=size - recorded)
    windows = [learnt[int(index)] for index in rng.integers(max(len(learnt), 1), size=recorded)]
    return windows + [modality.sample(int(seed)) for seed in seeds]


def _loss(encoder: nn.Module, windows: Sequence[Window], seed: int) -> Tensor:
    assert isinstance(encoder, SelfSupervised)
    return encoder.self_supervised_loss(windows, seed)


def _encoder(modality: LoadedModality) -> nn.Module:
    encoder = modality.encoder
    if isinstance(encoder, nn.Module) and isinstance(encoder, SelfSupervised):
        return encoder
    raise BadInput(
        f"Modality '{modality.manifest.name}'",
        expected="an attribute 'encoder', a torch module with self_supervised_loss",
        got="none" if encoder is None else f"a {type(encoder).__name__} without it",
        fix="pretrain a modality that learns, or give its encoder that method",
    )


def _draw_anew(name: str, encoder: nn.Module, seed: int) -> None:
    """Random weights by the modules' own rules."""
    fixed = [
        type(module).__name__
        for module in encoder.modules()
        if next(module.parameters(recurse=False), None) is not None and not hasattr(module, "reset_parameters")
    ]
    if fixed:
        raise BadInput(
            f"Encoder of modality '{name}'",
            expected="modules with reset_parameters",
            got=f"{fixed[0]} without",
            fix="give it one, or go on from the plugin's own weights",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in encoder.modules():
            if draw := getattr(module, "reset_parameters", None):
                draw()


def _readable(modality: LoadedModality, path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(modality.manifest.files or ("\0",))


def _check_apart(learnt: Sequence[Path], held_out: Sequence[Path]) -> None:
    if both := sorted({path.resolve() for path in learnt} & {path.resolve() for path in held_out}):
        raise BadInput(
            "Recordings",
            expected="each either learnt or held out",
            got=f"'{both[0].name}' as both",
            fix="hold whole machines out",
        )
