"""A small task for tests and measurements of rounds: which places have three tokens or more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import DecisionQuery, TokenBatch, TokenSpec
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel, save_pretrained
from iotlam.training.shards import PRESENT, Sample

PLACES, ANCHORS, MOST = 3, 4, 6
SPECS = (TokenSpec("lidar", 4, PLACES * MOST, True), TokenSpec("video", 3, PLACES * MOST, True))


def counted(seed: int) -> Sample:
    """Places in a row with some tokens each; a candidate holds if its place has three or more."""
    draw = np.random.default_rng(seed)
    count_K = draw.permutation(MOST)[:PLACES]
    anchors_KHX = np.zeros((PLACES, ANCHORS, 2), np.float32)
    anchors_KHX[..., 0] = 40.0 * np.arange(PLACES)[:, None] + 4.0 * np.arange(ANCHORS)
    features_PF = draw.normal(size=(PLACES, 2)).astype(np.float32)
    query = DecisionQuery(anchors_KHX, np.eye(PLACES, dtype=np.float32), features_PF, np.ones(PLACES, dtype=bool))
    place_T = np.repeat(np.arange(PLACES), count_K)
    position_TX = np.stack([40.0 * place_T + draw.uniform(0, 12, len(place_T)), draw.normal(size=len(place_T))], axis=1)
    tokens = {
        spec.modality: TokenBatch(
            torch.from_numpy(draw.normal(1.0, 0.3, (1, len(place_T), spec.dim)).astype(np.float32)),
            torch.ones(1, len(place_T), dtype=torch.bool),
            torch.zeros(1, len(place_T)),
            spec.modality,
            torch.from_numpy(position_TX[None].astype(np.float32)),
        )
        for spec in SPECS
    }
    return Sample(tokens, query, {PRESENT: (count_K >= 3).astype(np.float32)})


def finished(folder: Path, seed: int) -> Path:
    """A small model on a tiny decoder, whose adapter and heads are not at their neutral start."""
    torch.set_num_threads(1)
    sizes = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(sizes).save_pretrained(folder / "decoder")
    fusion = FusionConfig(d_fusion=16, n_anchors=ANCHORS)
    model = IotlamModel(IotlamConfig(SPECS, 2, head="classify", decoder=str(folder / "decoder"), fusion=fusion), seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    for example in range(20):
        model.fusion.learn_moments(counted(example).tokens)
    model.fusion.freeze_whitening()
    save_pretrained(model, folder / "model")
    return folder / "model"


def right(model: IotlamModel, samples: Sequence[Sample]) -> float:
    """Share of candidates that are rightly said to hold, or not to."""
    logits_BP = model.answer_all([(dict(sample.tokens), sample.query) for sample in samples]).logits_BP
    return float(np.mean((logits_BP.numpy() > 0) == np.stack([sample.targets[PRESENT] > 0.5 for sample in samples])))
