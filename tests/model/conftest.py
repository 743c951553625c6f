"""A small model on a tiny decoder, which is used by path."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import DecisionQuery, TokenBatch, TokenSpec
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel

Example = tuple[dict[str, TokenBatch], DecisionQuery]
H, F = 4, 3
SPECS = (TokenSpec("lidar", 3, 100, True), TokenSpec("video", 5, 100, True))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> IotlamConfig:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decoder")
    sizes = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(sizes).save_pretrained(folder)
    return IotlamConfig(SPECS, F, decoder=str(folder), fusion=FusionConfig(d_fusion=16, n_anchors=H))


@pytest.fixture
def model(config: IotlamConfig) -> IotlamModel:
    """A model whose LoRA and heads are not at their neutral start, in eval mode."""
    model = IotlamModel(config)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or name.startswith("head."):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


@pytest.fixture
def example() -> Callable[..., Example]:
    def make(seed: int, places: int = 3, candidates: int = 2, counts: tuple[int, ...] = (6, 4)) -> Example:
        draw = np.random.default_rng(seed)
        start_K1X = draw.uniform(-40, 40, (places, 1, 2))
        anchors_KHX = start_K1X + np.arange(H)[:, None] * np.array([5.0, 0.0])
        tokens = {}
        for spec, count in zip(SPECS, counts, strict=True):
            near = anchors_KHX.reshape(-1, 2)[draw.integers(0, places * H, count)] + draw.normal(size=(count, 2))
            tokens[spec.modality] = TokenBatch(
                torch.from_numpy(draw.normal(size=(1, count, spec.dim)).astype(np.float32)),
                torch.ones(1, count, dtype=torch.bool),
                torch.from_numpy(-draw.uniform(size=(1, count)).astype(np.float32)),
                spec.modality,
                torch.from_numpy(near[None].astype(np.float32)),
            )
        query = DecisionQuery(
            anchors_KHX.astype(np.float32),
            draw.integers(0, 2, (candidates, places)).astype(np.float32),
            draw.normal(size=(candidates, F)).astype(np.float32),
            np.ones(candidates, dtype=np.bool_),
        )
        return tokens, query

    return make
