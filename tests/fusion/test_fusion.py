import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iotlam.contracts import BadInput, TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, CrossModalLikelihood, FusionConfig

SPECS = (TokenSpec("lidar", 3, 100, True), TokenSpec("sound", 2, 100, False))
CONFIG = FusionConfig(d_fusion=16, n_anchors=4)
PLACES = torch.ones(2, 3, dtype=torch.bool)


def _fusion() -> BottleneckFusion:
    torch.manual_seed(0)
    return BottleneckFusion(SPECS, CONFIG).eval()


def _anchors() -> torch.Tensor:
    along = torch.arange(4.0) * 5.0
    lane = torch.stack([along, torch.zeros(4)], -1)
    return torch.stack([lane + torch.tensor([0.0, 40.0 * k]) for k in range(3)])[None].repeat(2, 1, 1, 1)


def _tokens(name: str, dim: int, count: int, positioned: bool, seed: int = 0) -> TokenBatch:
    draw = torch.Generator().manual_seed(seed)
    position = torch.rand(2, count, 2, generator=draw) * torch.tensor([20.0, 90.0]) if positioned else None
    tokens = torch.randn(2, count, dim, generator=draw)
    return TokenBatch(tokens, torch.ones(2, count, dtype=torch.bool), torch.zeros(2, count), name, position)


def _both() -> dict[str, TokenBatch]:
    return {"lidar": _tokens("lidar", 3, 12, True), "sound": _tokens("sound", 2, 5, False)}


def test_padding_tokens_change_nothing_even_if_they_are_nan() -> None:
    fusion, batches = _fusion(), _both()
    want = fusion(batches, _anchors(), PLACES)
    lidar = batches["lidar"]
    assert lidar.position_BTX is not None
    grow = {"value": float("nan")}
    padded = TokenBatch(
        torch.nn.functional.pad(lidar.tokens_BTD, (0, 0, 0, 6), **grow),
        torch.nn.functional.pad(lidar.mask_BT, (0, 6), value=False),
        torch.nn.functional.pad(lidar.time_BT, (0, 6), **grow),
        "lidar",
        torch.nn.functional.pad(lidar.position_BTX, (0, 0, 0, 6), **grow),
    )
    got = fusion({**batches, "lidar": padded}, _anchors(), PLACES)
    torch.testing.assert_close(got.latents_BKD, want.latents_BKD, rtol=0, atol=1e-5)
    torch.testing.assert_close(got.bits["lidar"][:, :12], want.bits["lidar"], rtol=0, atol=1e-4)
    assert float(got.bits["lidar"][:, 12:].abs().sum()) == 0.0


def test_places_do_not_depend_on_each_other_or_on_their_order() -> None:
    fusion, batches = _fusion(), _both()
    want = fusion(batches, _anchors(), PLACES).latents_BKD
    swapped = fusion(batches, _anchors()[:, [2, 0, 1]], PLACES).latents_BKD
    torch.testing.assert_close(swapped, want[:, [2, 0, 1]], rtol=0, atol=1e-5)
    one = fusion(batches, _anchors()[:, :1], PLACES[:, :1]).latents_BKD
    torch.testing.assert_close(one, want[:, :1], rtol=0, atol=1e-5)


def test_a_masked_place_is_zero() -> None:
    mask = PLACES.clone()
    mask[0, 1] = False
    anchors = _anchors()
    anchors[0, 1] = float("nan")
    latents = _fusion()(_both(), anchors, mask).latents_BKD
    assert float(latents[0, 1].abs().sum()) == 0.0
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize("missing", ["lidar", "sound"])
def test_a_missing_modality_is_the_same_left_out_or_masked(missing: str) -> None:
    fusion, batches = _fusion(), _both()
    left_out = fusion({name: b for name, b in batches.items() if name != missing}, _anchors(), PLACES)
    batches[missing].mask_BT.fill_(False)
    batches[missing].tokens_BTD.fill_(float("nan"))
    masked = fusion(batches, _anchors(), PLACES)
    torch.testing.assert_close(masked.latents_BKD, left_out.latents_BKD, rtol=0, atol=1e-6)
    assert float(masked.cross_nats) == 0.0
    assert float(masked.rate_bits) == pytest.approx(float(left_out.rate_bits), abs=1e-4)


def test_without_any_modality_all_places_look_alike() -> None:
    out = _fusion()({}, _anchors(), PLACES)
    assert torch.equal(out.latents_BKD, out.latents_BKD[:1, :1].expand(2, 3, 16))
    assert float(out.rate_bits) == float(out.cross_nats) == 0.0
    assert out.bits == {}


def test_only_tokens_near_an_anchor_matter_and_more_of_them_matter_more() -> None:
    fusion = _fusion()

    def attended(count: int, y_m: float) -> torch.Tensor:
        position = torch.tensor([5.0, y_m]).repeat(2, count, 1)
        tokens = torch.zeros(2, count, 3)
        batch = TokenBatch(tokens, torch.ones(2, count, dtype=torch.bool), torch.zeros(2, count), "lidar", position)
        return fusion({"lidar": batch}, _anchors(), PLACES, with_attention=True).attention["lidar"].sum(-1)

    one, five = attended(1, 0.0), attended(5, 0.0)
    assert one.shape == (2, 4, 3)
    assert (one[:, 1, 0] > 0.05).all()  # head 1 looks at x = 5 m of place 0
    assert (five[:, 1, 0] > 2 * one[:, 1, 0]).all()
    assert float(one[:, :, 1:].max()) < 1e-6  # the places 40 and 80 m away
    assert float(attended(5, 15.0).max()) < 1e-4


def test_gradient_reaches_every_parameter() -> None:
    fusion = _fusion().train()
    out = fusion(_both(), _anchors(), PLACES)
    (out.latents_BKD.square().sum() + out.rate_bits + out.cross_nats).backward()
    dead = [name for name, p in fusion.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Without times there is no recency to learn, and a place-less modality has no reach.
    assert sorted(dead) == [
        "attention.adaptors.lidar.recency_H",
        "attention.adaptors.sound.recency_H",
        "attention.adaptors.sound.sigma_raw_H",
    ]


def test_wrong_inputs_are_named() -> None:
    fusion, batches = _fusion(), _both()
    with pytest.raises(BadInput, match="lidar, sound.*thermal"):
        fusion({"thermal": batches["lidar"]}, _anchors(), PLACES)
    with pytest.raises(BadInput, match="width 3, with positions"):
        fusion({"lidar": batches["sound"]}, _anchors(), PLACES)
    with pytest.raises(BadInput, match="Anchors per place: expected 4, got 3"):
        fusion(batches, _anchors()[:, :, :3], PLACES)
    with pytest.raises(BadInput, match="multiple of n_anchors"):
        FusionConfig(d_fusion=10, n_anchors=4)


def test_cross_modal_likelihood_learns_the_entropy_of_what_it_cannot_predict() -> None:
    torch.manual_seed(0)
    source = torch.randn(256, 4, 2)
    noise = torch.randn(256, 4, 2)
    target = torch.tanh(source) + 0.5 * noise
    likelihood = CrossModalLikelihood(2)
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        loss = likelihood(source, target).mean()
        loss.backward()
        optimiser.step()
    entropy = 2 * 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert float(loss) == pytest.approx(entropy, abs=0.1)


def test_cross_modal_likelihood_does_not_train_its_target() -> None:
    source, target = (torch.randn(1, 2, 3, requires_grad=True) for _ in range(2))
    CrossModalLikelihood(3)(source, target).sum().backward()
    assert source.grad is not None
    assert target.grad is None


@torch.no_grad()
@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_tokens_and_of_modalities_does_not_matter(random: object) -> None:
    fusion, batches = _fusion(), _both()
    want = fusion(batches, _anchors(), PLACES)
    shuffled: dict[str, TokenBatch] = {}
    orders: dict[str, list[int]] = {}
    for name in sorted(batches, reverse=True):
        batch, order = batches[name], list(range(batches[name].mask_BT.shape[1]))
        random.shuffle(order)  # type: ignore[attr-defined]
        position = None if batch.position_BTX is None else batch.position_BTX[:, order]
        parts = (batch.tokens_BTD[:, order], batch.mask_BT[:, order], batch.time_BT[:, order])
        shuffled[name], orders[name] = TokenBatch(*parts, name, position), order
    got = fusion(shuffled, _anchors(), PLACES)
    torch.testing.assert_close(got.latents_BKD, want.latents_BKD, rtol=1e-4, atol=1e-4)
    for name, order in orders.items():
        torch.testing.assert_close(got.bits[name], want.bits[name][:, order], rtol=1e-5, atol=1e-5)
