from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import DecisionQuery, TokenBatch, TokenSpec
from iotlam.federated.local import Task
from iotlam.federated.radio import LN2, Requests
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel, ModelInput, collate, save_pretrained
from iotlam.training.imitation import ImitationConfig, label_loss
from iotlam.training.shards import PRESENT, Sample


def drawn(rng: np.random.Generator, devices: int, options: int = 1) -> tuple[Requests, np.ndarray]:
    """Requests of devices 50 to 500 m away over fading channels, each for some ranks; and whose each is."""
    clear = rng.uniform(50, 500, devices) ** -3.5 * rng.exponential(1, devices) * 1e-3 / 4e-21
    device_R = np.repeat(np.arange(devices), options)
    rank_R = np.tile([4, 8, 16][:options], devices)
    bits = rank_R * 6 * 14 * 512 * 8.0
    down_hz, up_hz = clear[device_R], 0.1 * clear[device_R]
    compute_s = rng.uniform(0.5, 5, devices)[device_R] * (1 + 0.01 * rank_R)
    return Requests(bits * LN2 / down_hz, bits * LN2 / up_hz, down_hz, up_hz, compute_s), device_R


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


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


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished model."""
    return finished(tmp_path_factory.mktemp("base"), 1)


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another one."""
    return finished(tmp_path_factory.mktemp("other"), 2)


@pytest.fixture(scope="session")
def inputs() -> ModelInput:
    """Some decisions."""
    return collate([(dict(sample.tokens), sample.query) for sample in map(counted, range(4))])


def right(model: IotlamModel, samples: Sequence[Sample]) -> float:
    """Share of candidates that are rightly said to hold, or not to."""
    logits_BP = model.answer_all([(dict(sample.tokens), sample.query) for sample in samples]).logits_BP
    return float(np.mean((logits_BP.numpy() > 0) == np.stack([sample.targets[PRESENT] > 0.5 for sample in samples])))


@pytest.fixture
def task(base: Path) -> Task:
    """Which places have three tokens or more."""
    return Task(base, label_loss, right, ImitationConfig(batch=4))
