import numpy as np
import pytest
import torch

from iotlam.blocks.causal import (
    DELAY_SAMPLES,
    CausalBlock,
    common_rate_hz,
    delayed,
    resample,
    running_mean,
)

RATES_HZ = [5_000.0, 12_000.0, 20_000.0, 25_600.0, 44_100.0, 48_000.0, 97_656.0]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_keeps_its_frequency_amplitude_and_place(rate_hz: float) -> None:
    time_N = np.arange(int(rate_hz)) / rate_hz
    tone_N = np.sin(2 * np.pi * 700.0 * time_N).astype(np.float32)
    made = resample(tone_N[None], rate_hz, 12_000.0)[0]
    late_s = DELAY_SAMPLES / min(rate_hz, 12_000.0)
    time_M = np.arange(len(made)) / common_rate_hz(rate_hz, 12_000.0)
    np.testing.assert_allclose(made[300:], np.sin(2 * np.pi * 700.0 * (time_M - late_s))[300:], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [20_000.0, 48_000.0])
def test_what_the_common_rate_cannot_hold_is_filtered_out(rate_hz: float) -> None:
    tone_N = np.sin(2 * np.pi * 6_500.0 * np.arange(int(rate_hz)) / rate_hz).astype(np.float32)
    assert np.abs(resample(tone_N[None], rate_hz, 12_000.0)[0, 300:]).max() < 1e-3


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_resampling_does_not_look_ahead_by_a_bit(rate_hz: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3_000)).astype(np.float32)
    other = values.copy()
    other[:, 1_700:] = rng.normal(size=(2, 1_300)) * 1e3
    one, two = resample(values, rate_hz, 12_000.0), resample(other, rate_hz, 12_000.0)
    time_M = np.arange(one.shape[1]) / common_rate_hz(rate_hz, 12_000.0)
    before_M = time_M < 1_700 / rate_hz - 1e-9
    assert before_M.sum() > 200 and np.array_equal(one[:, before_M], two[:, before_M])
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(97_656.0, 12_000.0), (44_100.0, 12_000.0), (777.0, 2_000.0)])
def test_the_rate_given_is_close_to_the_rate_wanted(rate_hz: float, wanted_hz: float) -> None:
    assert common_rate_hz(rate_hz, wanted_hz) == pytest.approx(wanted_hz, rel=4e-3)


def test_running_mean_of_what_was_measured() -> None:
    values = np.array([[9.0, 1.0, 3.0, 50.0, 5.0]])
    valid = np.array([[False, True, True, False, True]])
    np.testing.assert_allclose(running_mean(values, valid), [[0.0, 1.0, 2.0, 2.0, 3.0]])


def test_delayed_moves_and_keeps_the_length() -> None:
    x_BTD = torch.arange(1.0, 5.0).reshape(1, 4, 1)
    assert delayed(x_BTD, 1).flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert delayed(x_BTD, 9).flatten().tolist() == [0.0] * 4


def test_a_causal_block_has_no_gradient_from_later_steps() -> None:
    torch.manual_seed(0)
    block, x_BTD = CausalBlock(8, dilation=3), torch.randn(1, 20, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x_BTD)[0, 9].square().sum(), x_BTD)
    assert gradient[0, 10:].abs().max() == 0.0
    reached = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert reached == [3, 6, 9]
