"""Suite `fusion`: its data have the truth that they claim, its rivals run, and the whole ends in every figure."""

import math
from itertools import product

import pytest
import torch

from iotlam.bench.fusion import channel, robustness
from iotlam.bench.fusion import kinds as kinds_part
from iotlam.bench.fusion import planted as planted_part
from iotlam.bench.fusion.data import (
    KIND_SENSORS,
    PLANTED,
    PLANTED_SENSORS,
    PLANTED_SHARE,
    VALID_SHARE,
    Windows,
    World,
    kinds,
    planted,
)
from iotlam.bench.fusion.network import FusionNetwork, answer
from iotlam.bench.fusion.scenes import FAULTS, SCENE_SENSORS, Fault, lose_modalities, scenes
from iotlam.bench.rivals.fusion_attribution import integrated_gradients, m2ib, nib
from iotlam.bench.rivals.fusion_networks import BottleneckAttention, Concatenation, LateFusion, Perceiver
from iotlam.bench.suites.fusion import fusion
from iotlam.contracts import TokenBatch
from iotlam.training.progress import progress

FIGURES = {
    "kl_closed_form_error",
    "kl_monte_carlo_standard_errors",
    "kl_affine_rescaling_change",
    "bound_gap_nats_per_dim",
    "planted_auroc",
    "planted_auroc_above_best_rival",
    "noise_modality_bits_per_token",
    "zero_bit_replacement_output_change",
    "bayes_gap_points_unique",
    "bayes_gap_points_shared",
    "bayes_gap_points_synergy",
    "bits_against_concatenation",
    "missing_modality_retained_min",
    "corrupt_modality_retained_min",
}


def _phi(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def _tokens_seen(sensor: str) -> list[float]:
    """Chance of 0, 1, ... planted and valid tokens."""
    count, p = KIND_SENSORS[sensor].tokens, PLANTED_SHARE * VALID_SHARE
    return [math.comb(count, n) * p**n * (1 - p) ** (count - n) for n in range(count + 1)]


def _rate(sensor: str, bit: str) -> float:
    return sum(chance * _phi(PLANTED[sensor][bit] * math.sqrt(n)) for n, chance in enumerate(_tokens_seen(sensor)))


def test_the_bayes_classifier_reaches_the_bayes_rate_of_each_kind() -> None:
    windows = kinds(World(KIND_SENSORS, 3), "test", 100_000)
    assert windows.best is not None
    measured = (windows.best == windows.labels).float().mean(0).tolist()
    squares = PLANTED["camera"]["shared"] ** 2, PLANTED["radar"]["shared"] ** 2
    counts = product(enumerate(_tokens_seen("camera")), enumerate(_tokens_seen("radar")))
    shared = sum(p * q * _phi(math.sqrt(squares[0] * n + squares[1] * m)) for (n, p), (m, q) in counts)
    left, right = _rate("camera", "left"), _rate("radar", "right")
    want = [_rate("camera", "unique"), shared, left * right + (1 - left) * (1 - right)]
    # Without a single planted token the Bayes classifier guesses 0: right half of the time, as Phi(0) says.
    assert measured == pytest.approx(want, abs=0.004)


def test_splits_share_no_window_and_a_seed_gives_the_same_again() -> None:
    world = World(PLANTED_SENSORS, 3)
    train, test, again = (planted(world, split, 50) for split in ("train", "test", "train"))
    assert torch.equal(train.batches["radar"].tokens_BTD, again.batches["radar"].tokens_BTD)
    assert not torch.isin(train.batches["radar"].tokens_BTD, test.batches["radar"].tokens_BTD).any()


def test_planted_tokens_have_the_signature_and_the_idle_sensor_none() -> None:
    world = World(PLANTED_SENSORS, 3)
    windows = planted(world, "test", 200)
    radar = windows.batches["radar"]
    plain = (radar.tokens_BTD - world.offset["radar"]) / world.scale["radar"]
    along = plain[..., :-1] @ world.basis["radar"][0]
    assert float(along[windows.evidence["radar"]].mean()) == pytest.approx(4.0, abs=0.1)
    assert float(along[radar.mask_BT & ~windows.evidence["radar"]].mean()) == pytest.approx(0.0, abs=0.1)
    assert not windows.evidence["idle"].any()


def test_faults_break_one_sensor_in_the_way_that_they_say() -> None:
    world = World(SCENE_SENSORS, 3)
    whole = scenes(world, "test", 400)
    for kind in ("noise", "lag", "stuck"):
        broken = scenes(world, "test", 400, Fault(kind, "radar"))
        assert torch.equal(broken.labels, whole.labels)
        camera, radar = broken.batches["camera"].tokens_BTD, broken.batches["radar"].tokens_BTD
        assert torch.equal(camera, whole.batches["camera"].tokens_BTD)
        change = radar - whole.batches["radar"].tokens_BTD
        if kind == "noise":
            power = change.square().mean() / whole.batches["radar"].tokens_BTD.var((0, 1)).mean()
            assert float(10 * power.log10()) == pytest.approx(0.0, abs=0.2)  # dB
        if kind == "stuck":
            assert torch.equal(radar, radar[:, :1].expand_as(radar))
        if kind == "lag":
            moved = (change.abs().amax(-1) > 1e-4).float().mean()
            assert 0.05 < float(moved) < 0.5  # two of eight tokens, where the state changed, to another of six
    assert len(FAULTS) == 9


def test_lost_modalities_are_masked_and_one_stays() -> None:
    windows = scenes(World(SCENE_SENSORS, 3), "train", 500)
    lost = lose_modalities(windows, 1.0, torch.Generator().manual_seed(0))
    present = torch.stack([batch.mask_BT.any(1) for batch in lost.batches.values()], 1)
    assert 1 <= int(present.sum(1).min()) and int(present.sum(1).max()) == 2


def _small() -> tuple[World, Windows]:
    world = World(PLANTED_SENSORS, 4)
    return world, planted(world, "test", 6)


@pytest.mark.parametrize("make", [Concatenation, BottleneckAttention, Perceiver, LateFusion, FusionNetwork])
def test_no_network_looks_at_what_is_masked(make: type) -> None:
    world, windows = _small()
    torch.manual_seed(0)
    network = make(world.specs, 4).eval()
    before = answer(network, windows.batches).logits_BC
    hidden = {
        name: TokenBatch(b.tokens_BTD.masked_fill(~b.mask_BT[..., None], 1e6), b.mask_BT, b.time_BT, name)
        for name, b in windows.batches.items()
    }
    torch.testing.assert_close(answer(network, hidden).logits_BC, before)
    assert before.shape == (6, 4) and (before.std(0) > 0).all()


def test_path_methods_add_up_to_what_they_explain() -> None:
    world, windows = _small()
    weight = {name: torch.randn(b.dim) for name, b in windows.batches.items()}

    def value(batches: dict[str, TokenBatch]) -> torch.Tensor:
        return torch.stack([torch.tanh((b.tokens_BTD @ weight[n]) / 50).sum(1) for n, b in batches.items()]).sum(0)

    mean = {
        n: TokenBatch(b.tokens_BTD[b.mask_BT].mean(0).expand_as(b.tokens_BTD), b.mask_BT, b.time_BT, n)
        for n, b in windows.batches.items()
    }
    score = integrated_gradients(value, windows.batches, steps=200)
    total = torch.stack([s.sum(1) for s in score.values()]).sum(0)
    torch.testing.assert_close(total, value(windows.batches) - value(mean), rtol=0.02, atol=0.1)


def test_m2ib_and_nib_find_the_token_that_makes_two_modalities_agree() -> None:
    zeros = torch.zeros(4, 5, 2)
    batches = {}
    for name, place in (("a", 1), ("b", 3)):
        tokens = 0.1 * torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(place))
        tokens[:, place, 0] = torch.tensor([3.0, -3.0, 3.0, -3.0])
        batches[name] = TokenBatch(tokens, torch.ones(4, 5, dtype=torch.bool), zeros[..., 0], name)

    def encode(batches: dict[str, TokenBatch]) -> torch.Tensor:
        (batch,) = batches.values()
        return torch.cat([batch.tokens_BTD.sum(1), torch.ones(len(batch.mask_BT), 1)], 1)

    for score in (m2ib(encode, batches, beta=0.01), nib(encode, batches)):
        assert score["a"].argmax(1).tolist() == [1] * 4
        assert score["b"].argmax(1).tolist() == [3] * 4


def test_the_arithmetic_of_the_gate_holds() -> None:
    assert channel.closed_form_error().value < 1e-5
    assert max(channel.monte_carlo_errors(20_000)) < 4.0
    (change, m2ib_ratio), (gap, iba_gap) = channel.rescaling_change(), channel.bound_gaps()
    assert change.value < 1e-5 and 70 < m2ib_ratio < 100
    assert gap.value < 1e-6 and iba_gap == pytest.approx(0.0966, abs=1e-4)


@pytest.mark.slow
def test_a_quick_run_ends_in_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    for part, windows in ((kinds_part, 1000), (robustness, 600), (planted_part, 400)):
        monkeypatch.setattr(part, "TEST", windows)
    result = fusion(True, progress)
    assert set(result.metrics) == FIGURES
    assert all(metric.target and math.isfinite(metric.value) for metric in result.metrics.values())
    assert {row["experiment"] for row in result.rows} >= {
        "planted",
        "remove and retrain",
        "kinds",
        "missing",
        "corrupt",
    }
    assert {row["network"] for row in result.rows if row["experiment"] == "kinds"} >= {"iotlam", "concatenation"}
