"""`iotlam pretrain`: a decoder learns the streams of a simulator, an encoder the readings of its sensor; no labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import click
import typer

from iotlam.contracts import BadInput, Json, check_writable
from iotlam.plugins import list_modalities, load_entry, unknown_name

DECODER_OPTIONS = ("streams", "word_weight")
ENCODER_OPTIONS = ("data", "held_out", "recorded")


def pretrain(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="A decoder preset, or a modality whose encoder learns.")] = "nano",
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("pretrained"),
    work: Annotated[
        Path | None, typer.Option(help="Folder for recorded streams and checkpoints; default: runs, or runs/MODALITY.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; each has a default.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Lines or windows a step; each has a default.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Its peak; each has a default.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of weights, data and order.")] = 0,
    streams: Annotated[
        list[str], typer.Option(help="Decoder: which application's sensor streams to learn; may be repeated.")
    ] = ["traffic", "faults"],  # noqa: B006 - Typer copies it
    word_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Decoder: weight of an entry of words; 1 of the stream's.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Encoder: recordings to learn, a file or a folder; may be repeated.")
    ] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Encoder: recordings that only measure; whole machines or sites.")
    ] = None,
    recorded: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Encoder: share of recorded windows, the rest simulated.")
    ] = None,
) -> None:
    """Train from random weights, without labels; resumes from --work where it was stopped.

    Example: iotlam pretrain nano-moe --out my-decoder

    Example: iotlam pretrain vibration --data recordings --held-out other-rig --out my-encoder
    """
    check_writable("--out", out)
    recipe = {"steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    if any(info.name == what for info in list_modalities()):
        _refuse(ctx, DECODER_OPTIONS, f"the encoder of '{what}'")
        work = work or Path("runs") / what
        check_writable("--work", work)
        facts = _pretrain_encoder(what, data or [], held_out or [], {**recipe, "recorded": recorded}, work, out)
    else:
        _refuse(ctx, ENCODER_OPTIONS, "a decoder")
        work = work or Path("runs")
        check_writable("--work", work)
        facts = _pretrain_decoder(what, streams, {**recipe, "word_weight": word_weight}, work, out)
    typer.echo(json.dumps(facts))


def _refuse(ctx: typer.Context, options: tuple[str, ...], learner: str) -> None:
    for name in options:
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise BadInput(
                f"Option {option}", expected=f"options of {learner}", got=option, fix="leave it out; see --help"
            )


def _pretrain_encoder(name: str, data: list[Path], held_out: list[Path], recipe: Json, work: Path, out: Path) -> Json:
    from iotlam.training.encoders import EncoderConfig, pretrain_encoder

    return pretrain_encoder(name, data, held_out, EncoderConfig(**_given(recipe)), work, out)


def _pretrain_decoder(preset: str, streams: list[str], recipe: Json, work: Path, out: Path) -> Json:
    from iotlam.decoder import PRESETS
    from iotlam.training.pretrain import PretrainConfig, pretrain_preset

    if preset not in PRESETS:  # said before an hour of recording
        raise unknown_name("What to pretrain", preset, [*PRESETS, *(info.name for info in list_modalities())])
    found = {name: load_entry("iotlam.streams", name, "Streams") for name in streams}
    config = PretrainConfig(**_given(recipe))
    material = {name: make(work / name, recipe["seed"]) for name, make in found.items()}
    return pretrain_preset(preset, material, config, work / f"pretraining-{preset}", out)


def _given(recipe: Json) -> Json:
    """What was given; the rest keeps its default."""
    for name, value in recipe.items():
        if isinstance(value, float) and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise BadInput(f"Option {option}", expected="a finite number", got=str(value), fix="correct it")
    return {name: value for name, value in recipe.items() if value is not None}
