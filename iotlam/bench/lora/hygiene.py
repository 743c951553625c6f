"""What an adapter must leave alone, on a whole model that has really been trained for a few steps."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from iotlam.contracts import Json
from iotlam.decoder import adapted_modules, decoder_sha256
from iotlam.model import IotlamConfig, IotlamModel, from_pretrained, save_pretrained
from iotlam.plugins import load
from iotlam.training.imitation import ImitationConfig, imitate
from iotlam.training.shards import Shard

DECISIONS = 20
TRAINING = ImitationConfig(steps=30, batch=8, learning_rate=3e-3, warmup=5)


@dataclass(frozen=True, slots=True)
class Hygiene:
    """Largest absolute differences of the candidates' scores over some decisions, and counts.

    Attributes:
        decoder: which decoder.
        start: with the new adapter against without it.
        trained: with the trained adapter against without it: what the others are measured beside.
        reload: saved and loaded against the original.
        merge: merged into the base weights against beside them.
        modules: how many modules or fused experts are adapted.
        outside: how many of them lie outside the decoder.
        base_changed: whether the base weights' hash is another after training.
        share: trainable over all parameters, fusion, projector and heads counted.
    """

    decoder: str
    start: float
    trained: float
    reload: float
    merge: float
    modules: int
    outside: int
    base_changed: bool
    share: float


def examine(decoder: str, shard: Shard) -> Hygiene:
    """Build a model of the shard's modalities, train it for a few steps, and look at every promise."""
    specs = tuple(load(name).spec for name in shard.modalities)
    features = shard[0].query.features_PF.shape[1]
    model = IotlamModel(IotlamConfig(specs, n_features=features, decoder=decoder), seed=0)
    start = _largest(_scores(model, shard), _without_adapter(model, shard))
    with tempfile.TemporaryDirectory() as folder:
        imitate(model, [shard], TRAINING, Path(folder) / "checkpoint", lambda *_: None)
        scores = _scores(model, shard)
        save_pretrained(model, Path(folder) / "model")
        reloaded = _scores(from_pretrained(Path(folder) / "model"), shard)
    adapted = adapted_modules(model)
    merged = copy.deepcopy(model)
    merged.decoder.merge_adapter()
    return Hygiene(
        decoder=Path(decoder).name,
        start=start,
        trained=_largest(scores, _without_adapter(model, shard)),
        reload=_largest(scores, reloaded),
        merge=_largest(scores, _scores(merged, shard)),
        modules=len(adapted),
        outside=sum(not name.startswith("decoder.") for name in adapted),
        base_changed=decoder_sha256(model.decoder.get_base_model()) != model.base_sha256,
        share=model.trainable_share().ratio,
    )


def as_row(hygiene: Hygiene) -> Json:
    """A row of the suite."""
    return {"hygiene": hygiene.decoder, **{name: getattr(hygiene, name) for name in Hygiene.__dataclass_fields__}}


def _scores(model: IotlamModel, shard: Shard) -> list[Tensor]:
    samples = (shard[index] for index in range(min(DECISIONS, len(shard))))
    return [model.answer(sample.tokens, sample.query).logits_BP for sample in samples]


def _without_adapter(model: IotlamModel, shard: Shard) -> list[Tensor]:
    with model.decoder.disable_adapter():
        return _scores(model, shard)


def _largest(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference; scores of what is not allowed are -inf in both and count as equal."""
    pairs = zip(one, other, strict=True)
    return max(float(torch.where(a == b, 0.0, a - b).abs().max()) for a, b in pairs)
