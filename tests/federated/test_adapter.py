from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iotlam.federated.adapter import RoundModel, finished_model
from iotlam.federated.factors import Factors, no_update
from iotlam.model import IotlamModel, ModelInput, from_pretrained, save_pretrained


def logits(model: IotlamModel, inputs: ModelInput) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(inputs).logits_BP


def random_products(like: dict[str, Factors], rank: int) -> dict[str, Factors]:
    draw = torch.Generator().manual_seed(5)
    return {
        name: Factors(
            0.2 * torch.randn(one.shape[0], rank, generator=draw), 0.2 * torch.randn(rank, one.shape[1], generator=draw)
        )
        for name, one in like.items()
    }


@pytest.mark.parametrize("rank", [1, 5])
def test_a_round_begins_where_the_finished_model_is(base: Path, inputs: ModelInput, rank: int) -> None:
    found = RoundModel(base, rank)
    torch.testing.assert_close(logits(found.model, inputs), logits(from_pretrained(base), inputs), atol=1e-5, rtol=1e-5)
    assert {one.rank for one in found.adapter.values()} == {rank}


def test_the_adapter_is_what_is_added(base: Path, inputs: ModelInput) -> None:
    found = RoundModel(base, 3)
    products = random_products(found.adapter, 3)
    found.adapter = products
    for name, one in found.adapter.items():
        torch.testing.assert_close(one.b_OR @ one.a_RI, products[name].b_OR @ products[name].a_RI)
    trained = logits(found.model, inputs)
    found.adapter = {name: Factors(0 * one.b_OR, one.a_RI) for name, one in products.items()}
    found.freeze(products)
    torch.testing.assert_close(logits(found.model, inputs), trained, atol=1e-5, rtol=1e-5)
    found.freeze({})
    torch.testing.assert_close(logits(found.model, inputs), logits(from_pretrained(base), inputs), atol=1e-5, rtol=1e-5)


def test_the_result_is_an_ordinary_model(base: Path, inputs: ModelInput, tmp_path: Path) -> None:
    found = RoundModel(base, 3)
    products = random_products(found.adapter, 3)
    others = {name: tensor + 0.01 for name, tensor in found.others.items()}
    found.adapter, found.others = products, others
    save_pretrained(finished_model(base, products, others, None), tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    assert again.config.lora_rank == from_pretrained(base).config.lora_rank + 3
    torch.testing.assert_close(logits(again, inputs), logits(found.model, inputs), atol=1e-5, rtol=1e-5)


def test_a_result_of_little_rank_is_the_nearest(base: Path) -> None:
    found = RoundModel(base, 3)
    small = finished_model(base, {name: no_update(*one.shape) for name, one in found.adapter.items()}, found.others, 9)
    assert small.config.lora_rank == 9


@pytest.mark.parametrize(("factors", "others"), [(("b",), False), (("a", "b"), True), ((), True)])
def test_only_what_should_learn_does(base: Path, factors: tuple[str, ...], others: bool) -> None:
    found = RoundModel(base, 2)
    found.learns(factors, others)
    learning = {name for name, parameter in found.model.named_parameters() if parameter.requires_grad}
    assert any("lora_A" in name for name in learning) == ("a" in factors)
    assert any("lora_B" in name for name in learning) == ("b" in factors)
    assert any(not name.startswith("decoder.") for name in learning) == others


def test_models_that_differ_have_other_digests(base: Path, other_base: Path) -> None:
    assert RoundModel(base, 2).digest == RoundModel(base, 5).digest
    assert RoundModel(base, 2).digest != RoundModel(other_base, 2).digest
