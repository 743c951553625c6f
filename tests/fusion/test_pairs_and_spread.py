"""Shut tokens, pairs and spread (docs/adr/0005)."""

import math

import pytest
import torch
from torch import Tensor

from iotlam.contracts import BadInput, TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig, FusionOutput

SPECS = (TokenSpec("lidar", 3, 100, True), TokenSpec("sound", 2, 100, False))
CONFIG = FusionConfig(d_fusion=16, n_anchors=4, pair_width=4)
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


def _fusion() -> BottleneckFusion:
    torch.manual_seed(0)
    return BottleneckFusion(SPECS, CONFIG).eval()


@torch.no_grad()
def test_a_pair_says_what_neither_says_alone() -> None:
    pairs = _fusion().attention.pairs
    stack = torch.randn(2, 3, 3, 16)
    p = pairs.inner(stack)
    p = p / (1.0 + p.square().mean(-1, keepdim=True)).sqrt()
    together = p[:, :, 0] * p[:, :, 1] + p[:, :, 0] * p[:, :, 2] + p[:, :, 1] * p[:, :, 2]
    want = pairs.outer(p.sum(2) + together)
    torch.testing.assert_close(pairs(stack), want, rtol=1e-4, atol=1e-5)
    large, larger = pairs(1e4 * stack), pairs(1e5 * stack)
    torch.testing.assert_close(large, larger, rtol=1e-3, atol=1e-3)  # however large: bounded
    stack[:, :, 1:] = 0.0
    torch.testing.assert_close(pairs(stack), pairs.outer(p[:, :, 0]), rtol=1e-4, atol=1e-5)  # alone: no pair
    assert not pairs(torch.zeros_like(stack)).any()


@torch.no_grad()
def test_a_sensor_that_sees_nothing_has_no_pairs() -> None:
    fusion = _fusion()
    torch.nn.init.normal_(fusion.attention.merge_heads.bias)
    batches, seen = _both(), []
    fusion.attention.pairs.inner.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batches["lidar"].position_BTX.add_(1e4)  # type: ignore[union-attr]
    _fuse(fusion, batches)
    lidar, sound = seen[0].unbind(2)
    assert float(lidar.abs().max()) < 1e-5 and float(sound.abs().max()) > 0.1


@torch.no_grad()
def test_a_shut_token_is_an_absent_one() -> None:
    fusion = _fusion()
    torch.nn.init.constant_(fusion.gates["sound"].get_submodule("outer").bias, -12.0)
    batches = _both()
    with_shut = _fuse(fusion, batches).latents_BKD
    batches["sound"].tokens_BTD.mul_(-3.0)
    torch.testing.assert_close(_fuse(fusion, batches).latents_BKD, with_shut, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_stuck_sensor_differs_from_a_steady_one_of_the_same_mean() -> None:
    tokens = 0.5 + torch.randn(2, 400, 2, generator=torch.Generator().manual_seed(0))
    mask, time = torch.ones(2, 400, dtype=torch.bool), torch.zeros(2, 400)

    def spread(tokens: Tensor) -> Tensor:
        fusion, seen = _fusion(), []
        fusion.attention.merge_heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        _fuse(fusion, {"sound": TokenBatch(tokens, mask, time, "sound")})
        last: Tensor = seen[0].unflatten(-1, (CONFIG.n_anchors, -1))[..., -1]
        return last

    alive, stuck = (spread(t) for t in (tokens, tokens[:, :1].expand(2, 400, 2).contiguous()))
    assert stuck.max() == pytest.approx(0.0, abs=1e-3) and float(alive.min()) > 0.02


def test_pairs_without_width_are_told() -> None:
    with pytest.raises(BadInput, match="pair_width 0"):
        FusionConfig(pair_width=0)
