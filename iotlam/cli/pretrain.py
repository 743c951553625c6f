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
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of weights, streams and order.")] = 0,
) -> None:
    """Train a decoder from random weights to predict the next token of sensor streams; resumes from --work.

    Example: iotlam pretrain --out my-decoder --steps 400
    """
    from iotlam.plugins import find
    from iotlam.training.pretrain import PretrainConfig, pretrain_preset

    paths = find("iotlam.streams", streams, "Streams").load()(work, seed)
    facts = pretrain_preset(preset, paths, PretrainConfig(steps=steps, seed=seed), work / "pretraining", out)
    typer.echo(json.dumps(facts))
