from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import BadInput, DecisionQuery, TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig, modality_bits, modality_shares, optimise_bits
from iotlam.model import IotlamConfig, IotlamModel, collate

SPECS = (TokenSpec("lidar", 3, 100), TokenSpec("sound", 2, 100))


def _batch(name: str, dim: int, count: int) -> TokenBatch:
    tokens = torch.randn(2, count, dim, generator=torch.Generator().manual_seed(dim))
    mask = torch.ones(2, count, dtype=torch.bool)
    mask[0, -1] = False
    return TokenBatch(tokens, mask, torch.zeros(2, count), name)


def _batches() -> dict[str, TokenBatch]:
    return {"lidar": _batch("lidar", 3, 6), "sound": _batch("sound", 2, 4)}


def _fusion() -> BottleneckFusion:
    torch.manual_seed(0)
    fusion = BottleneckFusion(SPECS, FusionConfig(d_fusion=8, n_anchors=2)).eval()
    fusion.freeze_whitening()
    return fusion


def _gated(fusion: BottleneckFusion, batches: dict[str, TokenBatch]) -> Tensor:
    """A loss that one feature of one token decides, behind the gates: the first of lidar token 2."""
    seen: list[Tensor] = []
    hook = fusion.attention.adaptors["lidar"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fusion(batches, torch.zeros(2, 1, 2, 2), torch.ones(2, 1, dtype=torch.bool))
    hook.remove()
    return 40.0 * (seen[0].tokens_BTD[:, 2, 0] - batches["lidar"].tokens_BTD[:, 2, 0]).square().sum()


def test_bits_add_up_by_modality_and_shares_to_one() -> None:
    bits = {"lidar": torch.tensor([[1.0, 2.0], [0.0, 0.0]]), "sound": torch.tensor([[1.0], [0.0]])}
    assert {name: b.tolist() for name, b in modality_bits(bits).items()} == {"lidar": [3.0, 0.0], "sound": [1.0, 0.0]}
    shares = modality_shares(bits)
    assert shares["lidar"].tolist() == [0.75, 0.0] and shares["sound"].tolist() == [0.25, 0.0]
    assert modality_shares({}) == {}


def test_the_optimiser_finds_the_one_token_that_the_loss_needs() -> None:
    fusion, batches = _fusion(), _batches()
    bits = optimise_bits(fusion, lambda: _gated(fusion, batches), beta=0.1, steps=15, draws=2)
    others = bits["lidar"].clone()
    others[:, 2] = 0.0
    assert (bits["lidar"][:, 2] > 1.0).all()
    assert float(others.max()) < 0.1 and float(bits["sound"].max()) < 0.1
    assert float(bits["lidar"][0, -1]) == 0.0  # masked


def test_the_optimiser_leaves_the_model_as_it_was() -> None:
    fusion, batches = _fusion(), _batches()
    before = {name: value.clone() for name, value in fusion.state_dict().items()}
    query = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, dtype=torch.bool)
    want = fusion(batches, *query)
    optimise_bits(fusion, lambda: _gated(fusion, batches), steps=2)
    assert all(torch.equal(before[name], value) for name, value in fusion.state_dict().items())
    assert all(parameter.grad is None for parameter in fusion.parameters())
    assert torch.equal(fusion(batches, *query).latents_BKD, want.latents_BKD)


def test_a_model_without_gates_or_a_loss_that_runs_none_is_told() -> None:
    with pytest.raises(BadInput, match="BottleneckFusion"):
        optimise_bits(nn.Linear(2, 2), lambda: torch.zeros(()))
    with pytest.raises(BadInput, match="no gate was passed"):
        optimise_bits(_fusion(), lambda: torch.zeros((), requires_grad=True))


def test_a_whole_model_is_explained_as_its_guide_says(tmp_path: Path) -> None:
    sizes = LlamaConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=8)
    LlamaForCausalLM(sizes).save_pretrained(tmp_path)
    config = IotlamConfig(SPECS, 3, decoder=str(tmp_path), fusion=FusionConfig(d_fusion=8, n_anchors=2))
    model = IotlamModel(config).eval()
    tokens = {name: TokenBatch(b.tokens_BTD[:1], b.mask_BT[:1], b.time_BT[:1], name) for name, b in _batches().items()}
    zeros, ones = np.zeros((4, 2, 2), np.float32), np.ones((3, 4), np.float32)
    query = DecisionQuery(zeros, ones, np.eye(3, dtype=np.float32), np.ones(3, dtype=np.bool_))
    carried = modality_bits(model.answer(tokens, query).bits)
    assert set(carried) == set(tokens) and all(bits_B.shape == (1,) and bits_B > 0 for bits_B in carried.values())
    inputs = collate([(tokens, query)])
    choice = model(inputs).logits_BP.argmax(1)
    bits = optimise_bits(
        model, lambda: cross_entropy(model(inputs).logits_BP, choice, reduction="sum"), beta=1.0, draws=1
    )
    assert {name: b.shape for name, b in bits.items()} == {name: b.mask_BT.shape for name, b in tokens.items()}
    assert float(modality_bits(bits)["lidar"]) < float(carried["lidar"])
