import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from iotlam.fusion import BottleneckGate, Whitening, gate_kl_nats

LAMBDAS = [0.01, 0.3, 0.5, 0.9, 0.99]


@pytest.mark.parametrize("lambda_", LAMBDAS)
def test_kl_is_that_of_two_gaussians(lambda_: float) -> None:
    r = torch.linspace(-3, 3, 7, dtype=torch.float64)
    prior = Normal(0.0, math.hypot(lambda_, 1 - lambda_))
    want = kl_divergence(Normal(lambda_ * r, torch.full_like(r, 1 - lambda_)), prior)
    torch.testing.assert_close(gate_kl_nats(torch.full_like(r, lambda_), r), want, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("lambda_", LAMBDAS)
def test_mean_kl_over_whitened_data_is_the_capacity_of_the_channel(lambda_: float) -> None:
    r = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kl = gate_kl_nats(torch.full_like(r, lambda_), r)
    capacity = 0.5 * math.log1p(lambda_**2 / (1 - lambda_) ** 2)
    assert abs(float(kl.mean()) - capacity) < 3 * float(kl.std()) / 1000
    assert float(gate_kl_nats(torch.tensor(lambda_, dtype=torch.float64), torch.ones(()))) == pytest.approx(capacity)


def test_kl_agrees_with_monte_carlo_over_the_noise() -> None:
    lambda_, r = torch.tensor(0.7, dtype=torch.float64), torch.tensor(1.3, dtype=torch.float64)
    z = lambda_ * r + (1 - lambda_) * torch.randn(1_000_000, generator=torch.Generator().manual_seed(2)).double()
    ratio = Normal(lambda_ * r, 1 - lambda_).log_prob(z) - Normal(0.0, math.hypot(0.7, 0.3)).log_prob(z)
    assert abs(float(ratio.mean()) - float(gate_kl_nats(lambda_, r))) < 3 * float(ratio.std()) / 1000


def test_gate_starts_open_and_its_capacity_stays_finite() -> None:
    gate = BottleneckGate(4)
    white = torch.randn(2, 5, 4)
    assert float(gate.openness(white).detach().mean()) == pytest.approx(0.9933, abs=2e-3)
    torch.nn.init.constant_(gate.outer.bias, 100.0)
    assert float(gate.openness(white).detach().max()) <= 1 - 1e-4
    assert torch.isfinite(gate(white, torch.ones(2, 5, dtype=torch.bool)).bits_BT).all()


def test_noise_in_training_none_in_eval_and_nothing_for_masked_tokens() -> None:
    gate = BottleneckGate(3)
    torch.nn.init.zeros_(gate.outer.weight)
    torch.nn.init.zeros_(gate.outer.bias)  # lambda = 1/2
    white, mask = torch.ones(1, 20_000, 3), torch.ones(1, 20_000, dtype=torch.bool)
    mask[0, -1] = False
    gate.requires_grad_(False)
    gated = gate.eval()(white, mask)
    assert torch.equal(gated.z_BTD[0, :-1], 0.5 * white[0, :-1])
    noisy = gate.train()(white, mask)
    assert float(noisy.z_BTD.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noisy.z_BTD[0, :-1].std()) == pytest.approx(0.5, abs=0.01)
    for out in (gated, noisy):
        assert float(out.z_BTD[0, -1].abs().sum()) == 0.0
        assert float(out.bits_BT[0, -1]) == 0.0
        assert float(out.bits_BT[0, 0]) == pytest.approx(3 * 0.5, abs=1e-5)  # 1/2 log2(1 + 1) bits per dimension


def test_a_price_on_bits_shuts_the_gate() -> None:
    gate = BottleneckGate(4).train()
    white, mask = torch.randn(1, 64, 4), torch.ones(1, 64, dtype=torch.bool)
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.05)
    before = float(gate(white, mask).bits_BT.mean())
    for _ in range(200):
        optimiser.zero_grad()
        gate(white, mask).bits_BT.mean().backward()
        optimiser.step()
    assert float(gate(white, mask).bits_BT.mean()) < 0.05 * before


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 1e4), st.floats(-1e3, 1e3))
def test_bits_do_not_depend_on_the_unit_of_a_feature(scale: float, offset: float) -> None:
    raw = torch.randn(8, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(8, 40, dtype=torch.bool)
    torch.manual_seed(0)
    gate = BottleneckGate(3).double().eval()
    torch.nn.init.normal_(gate.outer.weight)

    def bits(tokens: torch.Tensor) -> torch.Tensor:
        whitened: torch.Tensor = Whitening(3).double().train()(tokens, mask)
        counted: torch.Tensor = gate(whitened, mask).bits_BT
        return counted

    torch.testing.assert_close(bits(raw * scale + offset), bits(raw), rtol=1e-6, atol=1e-6)
