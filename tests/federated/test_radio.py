from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, minimize
from scipy.special import lambertw

from iotlam.contracts import BadInput, ChannelState, Device
from iotlam.federated.radio import LN2, Requests, Work, need, requests, round_seconds, seconds, split

from .conftest import drawn

BAND_HZ = 20e6


@pytest.mark.parametrize("devices", [1, 2, 5, 40])
def test_all_end_together_and_the_band_is_used_up(rng: np.random.Generator, devices: int) -> None:
    for _ in range(10):
        asked, _ = drawn(rng, devices)
        found = split(asked, BAND_HZ)
        np.testing.assert_allclose(seconds(asked, found.down_hz, found.up_hz), found.round_s, rtol=1e-9)
        np.testing.assert_allclose((found.down_hz + found.up_hz).sum(), BAND_HZ, rtol=1e-9)
        assert (found.down_hz > 0).all() and (found.up_hz > 0).all()


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_no_solver_finds_a_shorter_round(rng: np.random.Generator, devices: int) -> None:
    for _ in range(5):
        asked, _ = drawn(rng, devices)
        found = split(asked, BAND_HZ)

        def round_s(logit: np.ndarray, asked: Requests = asked) -> np.ndarray:
            part = np.exp(logit - logit.max())
            hz = BAND_HZ * part / part.sum()
            return seconds(asked, hz[:devices], hz[devices:])

        ours = np.append(np.log(np.append(found.down_hz, found.up_hz) / BAND_HZ), 1.0)
        for first in (np.append(np.zeros(2 * devices), 1e3), ours):
            solved = solve(lambda x, unit=found.round_s: x[-1] - round_s(x[:-1]) / unit, first)
            assert round_s(solved.x[:-1]).max() >= found.round_s * (1 - 1e-7)
            if solved.success:
                assert solved.x[-1] == pytest.approx(1.0, rel=1e-5)


def solve(room: Callable[[np.ndarray], np.ndarray], first: np.ndarray) -> OptimizeResult:
    """The least last variable that leaves room for all."""
    return minimize(
        lambda x: x[-1],
        first,
        method="SLSQP",
        constraints={"type": "ineq", "fun": room},
        options={"maxiter": 500, "ftol": 1e-14},
    )


def test_bandwidth_of_a_transfer_is_that_of_lamberts_w() -> None:
    wide_hz, bits = 3e7, 2e6
    least_s, hz = np.array([bits * LN2 / wide_hz]), np.array([wide_hz])
    asked = Requests(least_s, least_s, hz, hz, np.zeros(1))  # both ways alike, so each takes half of the time
    for time_s in (0.1, 0.2, 2.0, 60.0):
        rho = bits * LN2 / (time_s / 2) / wide_hz
        snr = -lambertw(-rho * np.exp(-rho), -1).real / rho - 1
        assert need(asked, np.array([time_s])).down_hz[0] == pytest.approx(wide_hz / snr, rel=1e-9)


def test_need_is_infinite_where_no_band_is_wide_enough(rng: np.random.Generator) -> None:
    asked, _ = drawn(rng, 3)
    assert np.isinf(need(asked, asked.least_s).hz).all()
    assert np.isfinite(need(asked, asked.least_s * (1 + 1e-9)).hz).all()


def test_need_falls_with_time_as_it_says(rng: np.random.Generator) -> None:
    asked, _ = drawn(rng, 50)
    round_s = asked.least_s * rng.uniform(1.01, 30, 50)
    step_s = 1e-6 * (round_s - asked.least_s)
    fall = (need(asked, round_s - step_s).hz - need(asked, round_s + step_s).hz) / (2 * step_s)
    np.testing.assert_allclose(need(asked, round_s).hz_per_s, fall, rtol=1e-5)


def test_many_sets_at_once_are_as_each_alone(rng: np.random.Generator) -> None:
    asked, _ = drawn(rng, 6)
    sets = rng.random((20, 6)) < 0.5
    sets[:, 0] |= ~sets.any(1)
    found = round_seconds(asked, sets, BAND_HZ)
    for members, round_s in zip(sets, found, strict=True):
        assert split(asked[members], BAND_HZ).round_s == pytest.approx(round_s, rel=1e-10)


def test_an_empty_round_takes_no_time(rng: np.random.Generator) -> None:
    asked, _ = drawn(rng, 2)
    assert split(asked[np.zeros(2, dtype=bool)], BAND_HZ).round_s == 0.0


def test_requests_are_those_of_devices_on_their_channels() -> None:
    device = Device("a", compute_flops=1e9, memory_bytes=10**9, energy_j_per_flop=1e-9, transmit_w=0.2)
    channel = ChannelState(gain=1e-9, noise_w_per_hz=4e-21)
    asked = requests([Work(8e6, 2.0, 4e6)], [device], [channel], server_w=1.0)
    found = split(asked, 1e6)
    down_s = 8e6 / (found.down_hz * np.log2(1 + 1.0 * 1e-9 / 4e-21 / found.down_hz))
    up_s = 4e6 / (found.up_hz * np.log2(1 + 0.2 * 1e-9 / 4e-21 / found.up_hz))
    assert float(down_s[0] + 2.0 + up_s[0]) == pytest.approx(found.round_s)


def test_what_carries_nothing_is_refused(rng: np.random.Generator) -> None:
    device = Device("mute", compute_flops=1e9, memory_bytes=1, energy_j_per_flop=0.0, transmit_w=0.0)
    with pytest.raises(BadInput, match="'mute'"):
        requests([Work(1, 1, 1)], [device], [ChannelState(1e-9, 1e-20)], 1.0)
    with pytest.raises(BadInput, match="Band"):
        split(drawn(rng, 1)[0], 0.0)
