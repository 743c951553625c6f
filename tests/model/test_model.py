from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, DecisionQuery, PluginError, SensorFrame, TokenBatch
from iotlam.decoder import adapted_modules, choose, decoder_sha256
from iotlam.model import IotlamConfig, IotlamModel, IotlamProcessor, ModelInput, collate
from iotlam.plugins import load

SENSORS = ("lidar", "video")
MANIFEST = """
name = "{name}"
api_version = 1
summary = "five tokens"
units = ["Pa"]
dtype = "float32"
dims = ["sample"]
shape = [0]
rate_hz = [1.0, 10.0]
clock = "site"
stamp = "start"
frame = "sensor"
value_range = [-1.0, 1.0]
missing = "mask"
token_budget = 8
licence = "Apache-2.0"
"""
FIVE = """
import torch
from iotlam.contracts import TokenBatch, TokenSpec

class Five:
    def tokenize(self, frames):
        positions = torch.tensor([[[0.0, 0.0], [0.0, 5.9], [0.0, 6.1], [100.0, 0.0], [0.0, 0.0]]])
        mask = torch.tensor([[True, True, True, True, False]])
        return TokenBatch(torch.arange(5.0).reshape(1, 5, 1), mask, torch.zeros(1, 5), "{name}", {position})

    def token_spec(self):
        return TokenSpec("{name}", dim=1, max_tokens=5, positioned="{position}" != "None")

    def sample(self, seed):
        return []
"""
Example = tuple[dict[str, TokenBatch], DecisionQuery]
Make = Callable[..., Example]


def test_a_padded_batch_says_what_each_query_says_alone(model: IotlamModel, example: Make) -> None:
    sizes = [(3, 2, (6, 4)), (5, 4, (20, 1)), (1, 3, (2, 30)), (2, 1, (1, 1))]
    examples = [example(i, *size) for i, size in enumerate(sizes)]
    with torch.inference_mode():
        together = model(collate(examples))
        for row, (places, candidates, _) in enumerate(sizes):
            alone = model(collate([examples[row]]))
            got = together.logits_BP[row]
            torch.testing.assert_close(got[:candidates], alone.logits_BP[0], rtol=0, atol=1e-5)
            assert torch.isneginf(got[candidates:]).all()
            torch.testing.assert_close(together.value_B[row], alone.value_B[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(together.latents_BKD[row, :places], alone.latents_BKD[0], rtol=0, atol=1e-5)


def test_every_subset_of_modalities_gives_a_decision(model: IotlamModel, example: Make) -> None:
    tokens, query = example(0)
    subsets = [tokens, {"lidar": tokens["lidar"]}, {"video": tokens["video"]}, {}]
    with torch.inference_mode():
        alone = [model(collate([(subset, query)])).logits_BP[0] for subset in subsets]
        together = model(collate([(subset, query) for subset in subsets])).logits_BP
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-5)
    assert torch.isfinite(together).all()
    assert not torch.allclose(alone[0], alone[1])


def test_lora_sits_on_the_decoder_alone(model: IotlamModel) -> None:
    linears = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    linears += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert adapted_modules(model) == [
        f"decoder.base_model.model.model.layers.{layer}.{linear}" for layer in (0, 1) for linear in linears
    ]


def test_gradient_reaches_lora_fusion_and_heads_but_never_the_base(model: IotlamModel, example: Make) -> None:
    model.train()
    out = model(collate([example(i) for i in range(4)]))
    (out.logits_BP.square().sum() + out.value_B.square().sum() + model.information_loss(out)).backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    base = {name for name in dict(model.named_parameters()) if name.startswith("decoder.") and "lora_" not in name}
    assert not learns & base
    assert dict(model.named_parameters()).keys() - base == learns


def test_a_training_step_leaves_the_base_weights_as_they_were(model: IotlamModel, example: Make) -> None:
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()(collate([example(0)])).logits_BP.sum().backward()
    optimiser.step()
    assert decoder_sha256(model.decoder.get_base_model()) == model.base_sha256


def test_trainable_share_counts_everything(model: IotlamModel) -> None:
    share = model.trainable_share()
    assert share.total == sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for n, p in model.named_parameters() if n.startswith("decoder.") and "lora_" not in n)
    assert share.trainable == share.total - frozen
    assert share.ratio == share.trainable / share.total


def test_candidates_that_are_not_allowed_are_never_chosen(model: IotlamModel, example: Make) -> None:
    tokens, query = example(0, 3, 3)
    for only in range(3):
        allowed = replace(query, allowed_P=np.arange(3) == only)
        assert choose(model(collate([(tokens, allowed)])).logits_BP).tolist() == [only]


def test_wrong_queries_are_named(model: IotlamModel, example: Make) -> None:
    tokens, query = example(0)
    wide = replace(query, features_PF=np.zeros((2, 9), dtype=np.float32))
    with pytest.raises(BadInput, match="Features per candidate: expected 3, got 9"):
        model(collate([(tokens, wide)]))
    with pytest.raises(BadInput, match="same numbers of anchors"):
        collate([(tokens, query), (tokens, wide)])
    with pytest.raises(BadInput, match="one query or more"):
        collate([])


def _count_example(seed: int) -> tuple[Example, int]:
    """Two lanes, and the candidate to choose: the one whose lane has more tokens."""
    draw = np.random.default_rng(seed)
    anchors = np.stack([np.stack([np.arange(4) * 5.0, np.full(4, y)], -1) for y in (0.0, 30.0)])
    anchors += draw.uniform(-20, 20, 2)
    counts = draw.permutation(7)[:2] + 1
    position = np.concatenate([a[draw.integers(0, 4, n)] for a, n in zip(anchors, counts, strict=True)])
    total = int(counts.sum())
    batch = TokenBatch(
        torch.ones(1, total, 3),
        torch.ones(1, total, dtype=torch.bool),
        torch.zeros(1, total),
        "lidar",
        torch.from_numpy(position[None].astype(np.float32)),
    )
    swap = draw.permutation(2)
    query = DecisionQuery(
        anchors.astype(np.float32),
        np.eye(2, dtype=np.float32)[swap],
        np.zeros((2, 3), dtype=np.float32),
        np.ones(2, dtype=np.bool_),
    )
    return ({"lidar": batch}, query), int(counts[swap].argmax())


def _counting_batch(seeds: range) -> tuple[ModelInput, torch.Tensor]:
    examples, labels = zip(*map(_count_example, seeds), strict=True)
    return collate(examples), torch.tensor(labels)


def test_it_learns_to_choose_the_fuller_lane_at_junctions_never_seen(config: IotlamConfig) -> None:
    model = IotlamModel(config.changed(beta=0.0, gamma=0.0), seed=1)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    inputs, labels = _counting_batch(range(64))
    torch.manual_seed(0)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model.train()(inputs).logits_BP, labels).backward()
        optimiser.step()
    unseen, truth = _counting_batch(range(1000, 1200))
    with torch.inference_mode():
        accuracy = (choose(model.eval()(unseen).logits_BP) == truth).float().mean()
    assert float(accuracy) > 0.9


@pytest.fixture(scope="module")
def sensing(config: IotlamConfig) -> IotlamModel:
    """An untrained model of the built-in LiDAR and camera modalities."""
    specs = tuple(load(name).spec for name in SENSORS)
    return IotlamModel(config.changed(modalities=specs), seed=1)


@pytest.fixture(scope="module")
def frames() -> dict[str, Sequence[SensorFrame]]:
    """A window that the plugins themselves give to try them on."""
    return {name: load(name).sample(3) for name in SENSORS}


def around(tokens: TokenBatch) -> DecisionQuery:
    """A query for one place of 15 m, through the middle of the tokens."""
    middle_2 = tokens.position_BTX[0, tokens.mask_BT[0]].median(dim=0).values.numpy()
    anchors_KHX = middle_2 + np.array([[[-7.5, 0.0], [-2.5, 0.0], [2.5, 0.0], [7.5, 0.0]]])
    ones = np.ones((2, 1), np.float32)
    return DecisionQuery(anchors_KHX.astype(np.float32), ones, np.zeros((2, 3), np.float32), np.ones(2, np.bool_))


def test_decide_is_deterministic_and_restores_the_mode(
    sensing: IotlamModel, frames: dict[str, Sequence[SensorFrame]]
) -> None:
    processor = IotlamProcessor(SENSORS)
    query = around(load("lidar").tokenize(frames["lidar"]))
    first = sensing.train().decide(processor, frames, query)
    again = sensing.decide(processor, frames, query)
    assert sensing.training
    assert torch.equal(first.logits_BP, again.logits_BP)
    assert first.bits["lidar"].shape[1] > 0
    assert int(sensing.fusion.whitening["lidar"].count) == 0


@pytest.mark.parametrize("name", ["lidar", "video"])
@pytest.mark.parametrize("roi_m", [1.0, 6.0, 30.0])
def test_processor_keeps_valid_tokens_near_a_place(
    frames: dict[str, Sequence[SensorFrame]], name: str, roi_m: float
) -> None:
    whole = load(name).tokenize(frames[name])
    query = around(whole)
    x_T, y_T = whole.position_BTX[0].T
    start_X, stop_X = (torch.from_numpy(query.anchors_KHX[0, end]) for end in (0, -1))
    beyond_T = x_T - x_T.clamp(start_X[0], stop_X[0])  # the place is a stretch of road along x
    near_T = (torch.hypot(beyond_T, y_T - start_X[1]) <= roi_m) & whole.mask_BT[0]
    kept = IotlamProcessor([name], roi_m).tokenize({name: frames[name], "other": []}, query)
    assert list(kept) == [name]
    assert 0 < int(near_T.sum()) < near_T.numel()
    for field in ("tokens_BTD", "time_BT", "position_BTX"):
        assert torch.equal(getattr(kept[name], field)[0], getattr(whole, field)[0, near_T])
    assert kept[name].mask_BT.all()


def test_processor_leaves_out_modalities_without_frames(frames: dict[str, Sequence[SensorFrame]]) -> None:
    query = around(load("lidar").tokenize(frames["lidar"]))
    processor = IotlamProcessor(SENSORS)
    assert list(processor.tokenize({"video": frames["video"]}, query)) == ["video"]
    assert processor.tokenize({"lidar": []}, query) == {}


def test_processor_drops_masked_and_far_tokens_and_keeps_those_without_place(install: Callable[..., Path]) -> None:
    """Of five tokens one is masked and two lie beyond 6 m; without positions nothing is far."""
    for name, position in (("near", "positions"), ("sound", "None")):
        points = {"iotlam.modalities": {name: f"acme_{name}:Five"}}
        code = FIVE.format(name=name, position=position)
        install(f"acme_{name}", code, points, {"modality.toml": MANIFEST.format(name=name)})
    line_KHX = np.array([[[-5.0, 0.0], [5.0, 0.0]]], np.float32)
    query = DecisionQuery(line_KHX, np.ones((1, 1), np.float32), np.zeros((1, 3), np.float32), np.ones(1, np.bool_))
    frame = SensorFrame(0, np.zeros(1, np.float32))
    tokens = IotlamProcessor(["near", "sound"], roi_m=6.0).tokenize({"near": [frame], "sound": [frame]}, query)
    assert tokens["near"].tokens_BTD.flatten().tolist() == [0.0, 1.0]
    assert tokens["sound"].tokens_BTD.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_late_sensor_shows_in_its_times_and_a_broken_one_stops_no_other(install: Callable[..., Path]) -> None:
    for name in ("early", "late", "broken"):
        code = FIVE.format(name=name, position="None").replace(
            "mask = ", "1 / 0\n        mask = " if name == "broken" else "mask = "
        )
        points = {"iotlam.modalities": {name: f"acme_{name}:Five"}}
        install(f"acme_{name}", code, points, {"modality.toml": MANIFEST.format(name=name)})
    query = DecisionQuery(
        np.zeros((1, 1, 2), np.float32), np.ones((1, 1), np.float32), np.zeros((1, 3), np.float32), np.ones(1, np.bool_)
    )
    now, before = (SensorFrame(t_ns, np.zeros(1, np.float32)) for t_ns in (10**9, 8 * 10**8))
    frames = {"early": [now], "late": [before], "broken": [now]}
    processor, problems = IotlamProcessor(list(frames)), {}
    tokens = processor.tokenize(frames, query, problems.__setitem__)
    assert tokens.keys() == {"early", "late"} and "ZeroDivisionError" in str(problems["broken"])
    assert tokens["early"].time_BT.eq(0.0).all() and torch.allclose(tokens["late"].time_BT, torch.tensor(-0.2))
    with pytest.raises(PluginError, match="'broken'"):
        processor.tokenize(frames, query)
