"""The options of docs/adr/0005, and that without them the fusion computes what it always did."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iotlam.contracts import BadInput, TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, BottleneckGate, FusionConfig, FusionOutput, Whitening

SPECS = (TokenSpec("lidar", 3, 100, True), TokenSpec("sound", 2, 100, False))
ALL = FusionConfig(d_fusion=16, n_anchors=4, gate_weighs=True, sees_spread=True, pair_width=4)
PLACES = torch.ones(2, 2, dtype=torch.bool)


def _wave(*shape: int) -> Tensor:
    return torch.sin(torch.arange(math.prod(shape)).float()).view(*shape)


def _tokens(name: str, dim: int, count: int, positioned: bool) -> TokenBatch:
    mask = torch.ones(2, count, dtype=torch.bool)
    mask[1, -2:] = False
    position = 10 * _wave(2, count, 2) if positioned else None
    return TokenBatch(2 * _wave(2, count, dim), mask, -_wave(2, count).abs(), name, position)


def _both() -> dict[str, TokenBatch]:
    return {"lidar": _tokens("lidar", 3, 6, True), "sound": _tokens("sound", 2, 5, False)}


def _fuse(fusion: BottleneckFusion, batches: dict[str, TokenBatch]) -> FusionOutput:
    output: FusionOutput = fusion(batches, 10 * _wave(2, 2, 4, 2), PLACES)
    return output


def _fusion(config: FusionConfig) -> BottleneckFusion:
    torch.manual_seed(0)
    return BottleneckFusion(SPECS, config).eval()


@torch.no_grad()
def test_without_options_the_numbers_are_those_of_the_first_release() -> None:
    fusion = _fusion(FusionConfig(d_fusion=16, n_anchors=4))
    for index, parameter in enumerate(fusion.parameters()):
        parameter.copy_(0.5 * torch.cos(torch.arange(parameter.numel()).float() + index).view(parameter.shape))
    out = _fuse(fusion, _both())
    want = [-3.340432, -0.4048, 3.35965, -1.374809, 0.173585, 1.872114]
    want += [-0.78442, -0.5662, 1.138618, -0.583869, -0.469455, 0.988389]
    assert out.latents_BKD[:, :, :3].flatten().tolist() == pytest.approx(want, abs=1e-4)
    assert out.bits["lidar"].sum(1).tolist() == pytest.approx([11.03, 5.8994], abs=1e-3)
    assert out.bits["sound"].sum(1).tolist() == pytest.approx([16.2913, 10.3226], abs=1e-3)
    assert (float(out.rate_bits), float(out.cross_nats)) == pytest.approx((2.5098371, 74.31858), rel=1e-4)


@torch.no_grad()
@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False), st.sampled_from([ALL, FusionConfig(d_fusion=16, n_anchors=4)]))
def test_the_order_of_tokens_and_of_modalities_does_not_matter(random: object, config: FusionConfig) -> None:
    fusion, batches = _fusion(config), _both()
    want = _fuse(fusion, batches)
    shuffled: dict[str, TokenBatch] = {}
    orders: dict[str, list[int]] = {}
    for name in sorted(batches, reverse=True):
        batch = batches[name]
        order = list(range(batch.mask_BT.shape[1]))
        random.shuffle(order)  # type: ignore[attr-defined]
        position = None if batch.position_BTX is None else batch.position_BTX[:, order]
        parts = (batch.tokens_BTD[:, order], batch.mask_BT[:, order], batch.time_BT[:, order])
        shuffled[name] = TokenBatch(*parts, name, position)
        orders[name] = order
    got = _fuse(fusion, shuffled)
    torch.testing.assert_close(got.latents_BKD, want.latents_BKD, rtol=1e-4, atol=1e-4)
    for name, order in orders.items():
        torch.testing.assert_close(got.bits[name], want.bits[name][:, order], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("missing", ["lidar", "sound"])
def test_with_all_options_missing_is_the_same_left_out_or_masked_whatever_the_padding_holds(missing: str) -> None:
    fusion, batches = _fusion(ALL), _both()
    left_out = _fuse(fusion, {name: batch for name, batch in batches.items() if name != missing})
    batches[missing].mask_BT.fill_(False)
    batches[missing].tokens_BTD.fill_(float("nan"))
    masked = _fuse(fusion, batches)
    torch.testing.assert_close(masked.latents_BKD, left_out.latents_BKD, rtol=0, atol=1e-6)
    nothing = _fuse(fusion, {})
    assert torch.isfinite(nothing.latents_BKD).all() and nothing.bits == {}


def test_with_all_options_gradients_are_finite_and_reach_every_part() -> None:
    fusion = _fusion(ALL).train()
    out = _fuse(fusion, _both())
    (out.latents_BKD.square().sum() + out.rate_bits + out.cross_nats).backward()
    gradients = {name: parameter.grad for name, parameter in fusion.named_parameters()}
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients.values())
    for part in (
        "attention.pairs.inner.weight",
        "attention.pairs.outer.weight",
        "attention.adaptors.sound.direct.weight",
    ):
        gradient = gradients[part]
        assert gradient is not None and gradient.abs().sum() > 0


@torch.no_grad()
def test_a_pair_says_what_neither_says_alone() -> None:
    fusion = _fusion(FusionConfig(d_fusion=16, n_anchors=4, pair_width=4))
    pairs = fusion.attention.pairs
    assert pairs is not None
    stack = torch.randn(2, 3, 3, 16)
    p = pairs.inner(stack)
    want = pairs.outer(p[:, :, 0] * p[:, :, 1] + p[:, :, 0] * p[:, :, 2] + p[:, :, 1] * p[:, :, 2])
    torch.testing.assert_close(pairs(stack), want, rtol=1e-4, atol=1e-5)
    stack[:, :, 1:] = 0.0
    assert float(pairs(stack).abs().max()) < 1e-6


@torch.no_grad()
def test_a_shut_token_is_an_absent_one_where_gates_weigh() -> None:
    fusion = _fusion(FusionConfig(d_fusion=16, n_anchors=4, gate_weighs=True))
    torch.nn.init.constant_(fusion.gates["sound"].get_submodule("outer").bias, -12.0)
    batches = _both()
    with_shut = _fuse(fusion, batches).latents_BKD
    batches["sound"].tokens_BTD.mul_(-3.0)
    torch.testing.assert_close(_fuse(fusion, batches).latents_BKD, with_shut, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_stuck_sensor_differs_from_a_steady_one_of_the_same_mean_where_spread_is_seen() -> None:
    tokens = 0.5 + torch.randn(2, 400, 2, generator=torch.Generator().manual_seed(0))
    mask, time = torch.ones(2, 400, dtype=torch.bool), torch.zeros(2, 400)

    def features(config: FusionConfig, tokens: Tensor) -> Tensor:
        fusion, seen = _fusion(config), []
        fusion.attention.merge_heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        _fuse(fusion, {"sound": TokenBatch(tokens, mask, time, "sound")})
        width = config.d_fusion // config.n_anchors + (2 if config.sees_spread else 1)
        spread: Tensor = seen[0].unflatten(-1, (config.n_anchors, width))[..., -1]
        return spread

    alive, stuck = (features(ALL, t) for t in (tokens, tokens[:, :1].expand(2, 400, 2).contiguous()))
    assert stuck.max() == pytest.approx(0.0, abs=1e-3) and float(alive.min()) > 0.02


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 1e4), st.floats(-1e3, 1e3))
def test_bits_do_not_depend_on_the_unit_of_a_feature(scale: float, offset: float) -> None:
    raw = torch.randn(8, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(8, 40, dtype=torch.bool)
    torch.manual_seed(0)
    gate = BottleneckGate(3).double().eval()
    torch.nn.init.normal_(gate.outer.weight)

    def bits(tokens: Tensor) -> Tensor:
        whitened: Tensor = Whitening(3).double().train()(tokens, mask)
        counted: Tensor = gate(whitened, mask).bits_BT
        return counted

    torch.testing.assert_close(bits(raw * scale + offset), bits(raw), rtol=1e-6, atol=1e-6)


def test_a_negative_pair_width_is_told() -> None:
    with pytest.raises(BadInput, match="pair_width"):
        FusionConfig(pair_width=-1)
