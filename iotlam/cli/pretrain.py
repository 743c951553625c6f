"""`iotlam pretrain`: a decoder learns the streams of a simulator, an encoder the readings of its sensor; no labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from iotlam.contracts import Json, check_writable
from iotlam.plugins import list_modalities, load_entry, unknown_name


def pretrain(
    what: Annotated[str, typer.Argument(help="A decoder preset, or a modality whose encoder learns.")] = "nano",
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("pretrained"),
    work: Annotated[
        Path | None, typer.Option(help="Folder for recorded streams and checkpoints; runs/STREAMS or runs/MODALITY.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; each has a default.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of weights, data and order.")] = 0,
    streams: Annotated[str, typer.Option(help="Decoder: which application's sensor streams to learn.")] = "traffic",
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Decoder: steps that the learning rate is planned for; --steps if none.")
    ] = None,
    word_weight: Annotated[
        float, typer.Option(min=0.0, help="Decoder: weight of an entry of words; 1 of the stream's.")
    ] = 1.0,
    data: Annotated[
        list[Path] | None, typer.Option(help="Encoder: recordings to learn, a file or a folder; may be repeated.")
    ] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Encoder: recordings that only measure; whole machines or sites.")
    ] = None,
) -> None:
    """Train from random weights, without labels; resumes from --work where it was stopped.

    Example: iotlam pretrain nano-moe --out my-decoder

    Example: iotlam pretrain vibration --data recordings --held-out other-rig --out my-encoder
    """
    check_writable("--out", out)
    if any(info.name == what for info in list_modalities()):
        folder = work or Path("runs") / what
        check_writable("--work", folder)
        facts = _pretrain_encoder(what, data or [], held_out or [], steps, seed, folder, out)
    else:
        folder = work or Path("runs") / streams
        check_writable("--work", folder)
        recipe = {"steps": steps, "horizon": horizon, "word_weight": word_weight, "seed": seed}
        facts = _pretrain_decoder(what, streams, recipe, folder, out)
    typer.echo(json.dumps(facts))


def _pretrain_encoder(
    name: str, data: list[Path], held_out: list[Path], steps: int | None, seed: int, work: Path, out: Path
) -> Json:
    from iotlam.training.encoders import EncoderConfig, pretrain_encoder

    config = EncoderConfig(seed=seed)
    config = config if steps is None else replace(config, steps=steps)
    return pretrain_encoder(name, data, held_out, config, work, out)


def _pretrain_decoder(preset: str, streams: str, recipe: dict[str, Any], work: Path, out: Path) -> Json:
    from iotlam.decoder import PRESETS
    from iotlam.training.pretrain import PretrainConfig, pretrain_preset

    if preset not in PRESETS:  # said before an hour of recording
        raise unknown_name("What to pretrain", preset, [*PRESETS, *(info.name for info in list_modalities())])
    material = load_entry("iotlam.streams", streams, "Streams")(work, recipe["seed"])
    config = PretrainConfig(**{name: value for name, value in recipe.items() if value is not None})
    return pretrain_preset(preset, material, config, work / f"pretraining-{preset}", out)
