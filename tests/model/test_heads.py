"""The three heads on a whole model: choose one, classify many, write text; saved and loaded, on experts too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM

from iotlam.contracts import BadInput, DecisionQuery, TokenBatch
from iotlam.decoder import adapted_modules, classify, decoder_sha256, one_of
from iotlam.model import IotlamConfig, IotlamModel, collate, from_pretrained, save_pretrained

Example = tuple[dict[str, TokenBatch], DecisionQuery]
Make = Callable[..., Example]
SAY, END = 1, 2


def tuned(model: IotlamModel, loss_at: Callable[[], Tensor], steps: int) -> IotlamModel:
    torch.manual_seed(0)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_at().backward()
        optimiser.step()
    return model.eval()


def bright(example: Make, seed: int) -> tuple[Example, np.ndarray]:
    """A query whose candidates each serve one place, and which of the places are bright to the LiDAR."""
    tokens, query = example(seed, places=3, candidates=3, counts=(30, 4))
    query = replace(query, serves_PK=np.eye(3, dtype=np.float32), allowed_P=np.ones(3, np.bool_))
    shines_K = np.random.default_rng(seed).random(3) < 0.5
    away_TKH = torch.cdist(tokens["lidar"].position_BTX[0], torch.from_numpy(query.anchors_KHX).flatten(0, 1))
    place_T = away_TKH.argmin(1) // query.anchors_KHX.shape[1]
    sign_T1 = torch.from_numpy(np.where(shines_K, 1.0, -1.0).astype(np.float32))[place_T, None]
    lit = TokenBatch(sign_T1.expand(-1, 3)[None].clone(), *_rest(tokens["lidar"]))
    return ({**tokens, "lidar": lit}, query), shines_K


def _rest(batch: TokenBatch) -> tuple[Tensor, Tensor, str, Tensor | None]:
    return batch.mask_BT, batch.time_BT, batch.modality, batch.position_BTX


@pytest.mark.slow
def test_any_number_of_candidates_may_hold(config: IotlamConfig, example: Make) -> None:
    config = msgspec.structs.replace(config, head="classify", beta=0.0, gamma=0.0)
    model = IotlamModel(config, seed=1)
    examples, truth = zip(*(bright(example, seed) for seed in range(48)), strict=True)
    inputs, truth_BP = collate(examples), torch.from_numpy(np.stack(truth)).float()

    def loss_at() -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(model(inputs).logits_BP, truth_BP)

    tuned(model.train(), loss_at, 120)
    unseen, wanted = zip(*(bright(example, seed) for seed in range(1000, 1060)), strict=True)
    held_BP = classify(model(collate(unseen)).logits_BP)
    assert len({int(row.sum()) for row in held_BP}) > 1
    assert (held_BP.numpy() == np.stack(wanted)).mean() > 0.85
    forbidden = replace(unseen[0][1], allowed_P=np.array([True, False, False]))
    assert not classify(model.answer(unseen[0][0], forbidden).logits_BP)[0, 1:].any()


def lit(example: Make, seed: int) -> tuple[Example, int]:
    """A query about one place, and 1 where the LiDAR sees it bright, 0 where dark."""
    tokens, query = example(seed, places=1, counts=(20, 4))
    shines = seed % 2
    values = torch.full((1, 20, 3), 2.0 * shines - 1.0)
    return ({**tokens, "lidar": TokenBatch(values, *_rest(tokens["lidar"]))}, query), shines


@pytest.mark.slow
def test_it_learns_to_write_what_it_sees(config: IotlamConfig, example: Make, tmp_path: Path) -> None:
    config = msgspec.structs.replace(config, head="write", beta=0.0, gamma=0.0)
    model = IotlamModel(config, seed=1)
    examples, shines = zip(*(lit(example, seed) for seed in range(24)), strict=True)
    inputs, text_BL = collate(examples), torch.tensor([[SAY, 10 + bright, 5, END] for bright in shines])

    def loss_at() -> Tensor:
        logits_BLV = model.spell(inputs, text_BL).logits_BLV
        return nn.functional.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), text_BL[:, 1:].flatten())

    tuned(model.train(), loss_at, 80)
    for seed in (900, 901):
        (tokens, query), bright_now = lit(example, seed)
        assert model.write(tokens, query, [SAY]) == [10 + bright_now, 5]
        assert model.write(tokens, query, [SAY], beams=3) == [10 + bright_now, 5]
        assert model.write(tokens, query, [SAY], allowed=one_of([[7, 8], [9]], END)) in ([7, 8], [9])
    save_pretrained(model, tmp_path)
    again, (tokens, query) = from_pretrained(tmp_path), example(950)
    assert again.config.head == "write" and not hasattr(again, "head")
    with torch.no_grad():
        here, there = (each.spell(collate([(tokens, query)]), text_BL[:1]).logits_BLV for each in (model, again))
    assert torch.equal(here, there)


def test_text_is_scored_as_it_is_written(config: IotlamConfig, example: Make) -> None:
    """Teacher forcing and generation with a cache agree, in a batch with padding too."""
    model = IotlamModel(msgspec.structs.replace(config, head="write"), seed=1).eval()
    examples = [example(0, places=2), example(1, places=5)]
    for row, (tokens, query) in enumerate(examples):
        text = [SAY, *model.write(tokens, query, [SAY], longest=5)]
        with torch.no_grad():
            logits_LV = model.spell(collate(examples), torch.tensor([text, text])).logits_BLV[row]
        assert logits_LV[:-1].argmax(-1).tolist() == text[1:]


def test_a_head_is_asked_for_what_it_does(config: IotlamConfig, model: IotlamModel, example: Make) -> None:
    tokens, query = example(0)
    with pytest.raises(BadInput, match="head is to choose"):
        model.write(tokens, query, [SAY])
    writer = IotlamModel(msgspec.structs.replace(config, head="write"))
    with pytest.raises(BadInput, match="head is to write"):
        writer.answer(tokens, query)
    with pytest.raises(BadInput, match="head"):
        IotlamConfig.from_json(config.to_json().replace('"choose"', '"guess"'), "config.json")


def test_a_model_on_experts_is_saved_and_loaded(config: IotlamConfig, example: Make, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    MixtralForCausalLM(
        MixtralConfig(**sizes, vocab_size=16, num_local_experts=4, num_key_value_heads=2)
    ).save_pretrained(tmp_path / "moe")
    model = IotlamModel(msgspec.structs.replace(config, decoder=str(tmp_path / "moe")), seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.eval()
    adapted = adapted_modules(model)
    assert len(adapted) == 2 * 6 and all(name.startswith("decoder.") for name in adapted)
    assert sum(name.endswith(".experts.down_proj") for name in adapted) == 2
    assert decoder_sha256(model.decoder.get_base_model()) == model.base_sha256
    save_pretrained(model, tmp_path / "model")
    tokens, query = example(0)
    there = from_pretrained(tmp_path / "model").answer(tokens, query).logits_BP
    assert torch.equal(model.answer(tokens, query).logits_BP, there)
