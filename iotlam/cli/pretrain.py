"""`iotlam pretrain`: a decoder preset learns to predict the sensor streams of the simulators at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for the decoder.")],
    preset: Annotated[str, typer.Option(help="Which decoder to train.")] = "nano",
    streams: Annotated[str, typer.Option(help="Which application's sensor streams to learn.")] = "traffic",
    work: Annotated[Path, typer.Option(help="Folder for recorded streams and checkpoints.")] = Path("runs/traffic"),
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 1200,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps that the learning rate is planned for; --steps if not given.")
    ] = None,
    word_weight: Annotated[float, typer.Option(min=0.0, help="Weight of an entry of words; 1 of the stream's.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of weights, streams and order.")] = 0,
) -> None:
    """Train a decoder from random weights to predict sensor streams and words about them; resumes from --work.

    Example: iotlam pretrain --out my-decoder --preset nano-moe
    """
    from iotlam.contracts import check_writable
    from iotlam.decoder import new_decoder
    from iotlam.plugins import load_entry
    from iotlam.training.pretrain import PretrainConfig, pretrain_preset

    new_decoder(preset, seed)  # a wrong name is said before an hour of recording
    check_writable("--out", out)
    check_writable("--work", work)
    material = load_entry("iotlam.streams", streams, "Streams")(work, seed)
    config = PretrainConfig(steps=steps, horizon=horizon, word_weight=word_weight, seed=seed)
    facts = pretrain_preset(preset, material, config, work / f"pretraining-{preset}", out)
    typer.echo(json.dumps(facts))
