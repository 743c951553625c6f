"""A small model, and decisions at a made-up place: K places in a row, candidate p serves place p."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import DecisionQuery, TokenBatch, TokenSpec
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel
from iotlam.training.shards import Sample

PLACES, ANCHORS, MOST = 3, 4, 6
SPECS = (TokenSpec("lidar", 4, PLACES * MOST, True), TokenSpec("video", 3, PLACES * MOST, True))


def llama(hidden: int = 32, layers: int = 1, vocab: int = 16) -> LlamaForCausalLM:
    sizes = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=vocab,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(sizes)


@pytest.fixture
def tiny_decoder() -> Callable[..., LlamaForCausalLM]:
    """`tiny_decoder(hidden, layers, vocab)`: the same random decoder every time."""
    return llama


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> IotlamConfig:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decoder")
    llama().save_pretrained(folder)
    fusion = FusionConfig(d_fusion=16, n_anchors=ANCHORS)
    return IotlamConfig(SPECS, 2, decoder=str(folder), fusion=fusion)


@pytest.fixture
def new_model(config: IotlamConfig) -> Callable[[], IotlamModel]:
    """Builds the same untrained model every time, and fixes torch's global draws from then on."""

    def build() -> IotlamModel:
        torch.manual_seed(7)
        return IotlamModel(config, seed=1)

    return build


@pytest.fixture
def decision() -> Callable[..., Sample]:
    """`decision(seed, modalities)`: a sample without targets but `count_P`, how many tokens each candidate serves."""

    def make(seed: int, modalities: tuple[str, ...] = ("lidar", "video")) -> Sample:
        draw = np.random.default_rng(seed)
        count_K = draw.permutation(MOST)[:PLACES]
        anchors_KHX = np.zeros((PLACES, ANCHORS, 2), np.float32)
        anchors_KHX[..., 0] = 40.0 * np.arange(PLACES)[:, None] + 4.0 * np.arange(ANCHORS)
        query = DecisionQuery(
            anchors_KHX,
            np.eye(PLACES, dtype=np.float32),
            draw.normal(size=(PLACES, 2)).astype(np.float32),
            np.ones(PLACES, dtype=bool),
        )
        tokens = {spec.modality: _tokens(spec, count_K, draw) for spec in SPECS if spec.modality in modalities}
        return Sample(tokens, query, {"count_P": count_K.astype(np.float32)})

    return make


def _tokens(spec: TokenSpec, count_K: np.ndarray, draw: np.random.Generator) -> TokenBatch:
    place_T = np.repeat(np.arange(PLACES), count_K)
    position_TX = np.stack([40.0 * place_T + draw.uniform(0, 12, len(place_T)), draw.normal(size=len(place_T))], axis=1)
    return TokenBatch(
        torch.from_numpy(draw.normal(1.0, 0.3, (1, len(place_T), spec.dim)).astype(np.float32)),
        torch.ones(1, len(place_T), dtype=torch.bool),
        torch.zeros(1, len(place_T)),
        spec.modality,
        torch.from_numpy(position_TX[None].astype(np.float32)),
    )


@pytest.fixture
def same_state() -> Callable[[torch.nn.Module, torch.nn.Module], None]:
    """Asserts that two modules hold the same numbers, to the last bit."""

    def check(one: torch.nn.Module, other: torch.nn.Module) -> None:
        here, there = dict(one.state_dict()), dict(other.state_dict())
        assert here.keys() == there.keys()
        assert [name for name in here if not torch.equal(here[name], there[name])] == []

    return check


@pytest.fixture
def broken() -> Callable[[Path], None]:
    """Cuts a file short, as a full disk would."""

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-20])

    return cut
