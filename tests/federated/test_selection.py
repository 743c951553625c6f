from __future__ import annotations

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam.federated.selection import Choice, cheapest, select

from .conftest import drawn

BAND_HZ = 20e6


def choice(rng: np.random.Generator, devices: int, options: int, worth: float) -> Choice:
    asked, device_R = drawn(rng, devices, options)
    worth_s = (rng.uniform(0.2, 3, devices) * worth / devices)[device_R] * np.tile([2.0, 2.8, 4.0][:options], devices)
    return Choice(asked, device_R, worth_s)


@pytest.mark.parametrize("worth", [0.3, 3.0, 30.0, 100.0])
@pytest.mark.parametrize(("devices", "options"), [(1, 1), (3, 3), (6, 2), (9, 1)])
def test_the_search_finds_what_trying_all_finds(
    rng: np.random.Generator, devices: int, options: int, worth: float
) -> None:
    for _ in range(8):
        asked = choice(rng, devices, options, worth)
        found, best = select(asked, BAND_HZ), cheapest(asked, BAND_HZ)
        assert found.cost_s == pytest.approx(best.cost_s, rel=1e-9)
        assert found.bound_s <= best.cost_s * (1 + 1e-9)
        assert found.gap <= 0.01


@pytest.mark.parametrize("worth", [0.3, 3.0, 30.0, 100.0])
def test_a_hundred_devices_are_planned_within_a_certified_hundredth(rng: np.random.Generator, worth: float) -> None:
    found = select(choice(rng, 100, 3, worth), BAND_HZ)
    assert 0 <= found.gap <= 0.01
    assert len(found.granted) > 0


def test_a_plan_costs_what_it_says_and_grants_each_device_one_request(rng: np.random.Generator) -> None:
    asked = choice(rng, 12, 3, 3.0)
    found = select(asked, BAND_HZ)
    devices = asked.device_R[found.granted]
    assert len(set(devices)) == len(devices)
    best = sum(asked.worth_s[asked.device_R == device].max() for device in range(12))
    cost_s = found.split.round_s + best - asked.worth_s[found.granted].sum()
    assert found.cost_s == pytest.approx(cost_s, rel=1e-9)


def test_who_is_worth_more_takes_part_sooner(rng: np.random.Generator) -> None:
    asked = choice(rng, 8, 1, 1.0)
    left = np.setdiff1d(np.arange(8), select(asked, BAND_HZ).granted)
    assert len(left), "otherwise there is nothing to see"
    worth_s = asked.worth_s.copy()
    worth_s[left[0]] = 1e4
    assert left[0] in select(Choice(asked.asked, asked.device_R, worth_s), BAND_HZ).granted


def test_nothing_to_choose_from_is_refused(rng: np.random.Generator) -> None:
    asked = choice(rng, 2, 1, 1.0)
    for worth_s in (np.array([1.0, -1.0]), np.array([np.nan, 1.0])):
        with pytest.raises(BadInput, match="positive worth"):
            Choice(asked.asked, asked.device_R, worth_s)
    with pytest.raises(BadInput, match="Requests"):
        Choice(asked.asked[np.zeros(0, dtype=int)], np.zeros(0, dtype=int), np.zeros(0))
    with pytest.raises(BadInput, match="Band"):
        select(asked, -1.0)
