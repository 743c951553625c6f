"""The model card: README.md of a saved model."""

from __future__ import annotations

from collections.abc import Mapping

from iotlam.contracts import ModalityManifest, TokenSpec
from iotlam.model.config import IotlamConfig
from iotlam.model.model import Share
from iotlam.plugins import list_modalities

CARD = """\
---
library_name: iotlam
license: apache-2.0
tags: [iot, sensor-fusion, information-bottleneck, lora]
---
# iotlam model

{does} from the tokens of {names}: bottleneck gates, shared attention over places,
a causal decoder adapted by LoRA, and a head whose answers are projected onto the allowed ones.

## Inputs

| modality | units | rate | token width | most tokens | positions |
|---|---|---|---|---|---|
{rows}

Each place is given by {n_anchors} points in metres, each candidate by {n_features} features. Any number of places and
candidates, and any subset of the modalities, is accepted.

## Weights

- Decoder: `{decoder}`, base weights sha256 `{sha256}` (not in this folder).
- LoRA of rank {rank} on every linear layer of the decoder's blocks: `adapter_model.safetensors`.
- Fusion, projector and heads: `iotlam.safetensors`.
- Trainable: {trainable:,} of {total:,} parameters, {percent:.2f} % (LoRA, fusion, projector and heads counted).

## Training

{training}

## Limits

- It knows the sensors, traffic or machines that it was trained on; measure it on yours before you rely on it.
- Bits are those of the noisy channel that the gates were trained as, given how far each gate is open; a decision uses
  the channel's mean, and what the opening itself tells is not counted. They do not prove that a token mattered.
- It chooses among what the caller allows; safety rules such as minimum times are the caller's.

## Licence

Apache-2.0 for these weights; the base decoder keeps its own licence.
"""


DOES = {
    "choose": "Chooses among candidates",
    "classify": "Says which candidates hold",
    "write": "Writes text",
}


def model_card(config: IotlamConfig, share: Share, training: Mapping[str, object]) -> str:
    """The card as Markdown, from the configuration, the counted share and the facts of the training."""
    manifests = {info.name: info.manifest for info in list_modalities()}
    facts = "\n".join(f"- {name}: {value}" for name, value in training.items())
    return CARD.format(
        does=DOES[config.head],
        names=", ".join(spec.modality for spec in config.modalities),
        rows="\n".join(_row(spec, manifests.get(spec.modality)) for spec in config.modalities),
        n_anchors=config.fusion.n_anchors,
        n_features=config.n_features,
        decoder=config.decoder,
        sha256=config.decoder_sha256,
        rank=config.lora_rank,
        trainable=share.trainable,
        total=share.total,
        percent=100.0 * share.ratio,
        training=facts or "Not trained: the weights are those of the start.",
    )


def _row(spec: TokenSpec, manifest: ModalityManifest | None) -> str:
    """A line of the table; units and rate stand in the manifest, where the modality is installed."""
    units, rate = "not installed", "not installed"
    if manifest is not None:
        units, rate = " ".join(manifest.units), "{:g} to {:g} Hz".format(*manifest.rate_hz)
    positions = "yes" if spec.positioned else "no"
    return f"| {spec.modality} | {units} | {rate} | {spec.dim} | {spec.max_tokens} | {positions} |"
