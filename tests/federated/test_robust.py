from __future__ import annotations

import pytest
import torch

from iotlam.federated.factors import Factors
from iotlam.federated.robust import RULES, gram

LAYERS = {"q": (8, 6), "v": (5, 8)}
RANKS = [2, 3, 4, 2, 3, 4, 6, 2, 3, 5]


def near(truth: dict[str, torch.Tensor], rank: int, draw: torch.Generator, times: float = 1.0) -> dict[str, Factors]:
    """An update of some rank that is about a truth of rank one."""
    found = {}
    for layer, (outputs, inputs) in LAYERS.items():
        b_OR = 0.1 * torch.randn(outputs, rank, generator=draw, dtype=torch.float64)
        a_RI = 0.1 * torch.randn(rank, inputs, generator=draw, dtype=torch.float64)
        b_OR[:, 0], a_RI[0] = truth[f"{layer}.b"], truth[f"{layer}.a"]
        found[layer] = Factors(b_OR * times, a_RI)
    return found


def mixed(attackers: int, times: float = -10.0) -> list[dict[str, Factors]]:
    draw = torch.Generator().manual_seed(3)
    truth = {}
    for layer, (outputs, inputs) in LAYERS.items():
        truth[f"{layer}.b"] = torch.randn(outputs, generator=draw, dtype=torch.float64)
        truth[f"{layer}.a"] = torch.randn(inputs, generator=draw, dtype=torch.float64)
    return [near(truth, rank, draw, times if place < attackers else 1.0) for place, rank in enumerate(RANKS)]


def average(changes: list[dict[str, Factors]], shares: torch.Tensor) -> torch.Tensor:
    flat = [torch.cat([(c[layer].b_OR @ c[layer].a_RI).flatten() for layer in LAYERS]) for c in changes]
    return (shares[:, None] * torch.stack(flat)).sum(0)


def test_the_gram_matrix_is_that_of_the_products() -> None:
    changes = mixed(0)
    flat = torch.stack([average([change], torch.ones(1)) for change in changes])
    torch.testing.assert_close(gram(changes), flat @ flat.T)


@pytest.mark.parametrize("rule", RULES)
def test_shares_sum_to_one_and_nobody_is_negative(rule: str) -> None:
    shares = RULES[rule](gram(mixed(3)), 3)
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert (shares >= 0).all()


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "multi_krum"])
def test_three_of_ten_attackers_hardly_move_the_aggregate(rule: str) -> None:
    attacked = mixed(3)
    clean = average(attacked[3:], torch.full((7,), 1 / 7, dtype=torch.float64))
    found = average(attacked, RULES[rule](gram(attacked), 3))
    mean = average(attacked, torch.full((10,), 0.1, dtype=torch.float64))
    assert (found - clean).norm() < 0.1 * clean.norm()
    assert (mean - clean).norm() > 2 * clean.norm()


@pytest.mark.parametrize("rule", RULES)
def test_equal_updates_are_shared_alike(rule: str) -> None:
    changes = [mixed(0)[0]] * 5
    shares = RULES[rule](gram(changes), 0)
    torch.testing.assert_close(shares, torch.full((5,), 0.2, dtype=torch.float64))


def test_the_median_is_that_of_a_line() -> None:
    places = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0], dtype=torch.float64)
    shares = RULES["median"](torch.outer(places, places), 2)
    assert float(shares @ places) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("rule", RULES)
def test_however_much_a_device_sends_it_moves_nothing(rule: str) -> None:
    attacked = mixed(3)
    honest = attacked[3:]
    clean = average(honest, torch.full((7,), 1 / 7, dtype=torch.float64))
    huge = [{layer: one.scaled(10.0**power) for layer, one in attacked[0].items()} for power in (6, 3, 1)]
    found = average([*huge, *honest], RULES[rule](gram([*huge, *honest]), 3))
    assert (found - clean).norm() < 0.1 * clean.norm()


@pytest.mark.parametrize(("count", "attackers"), [(3, 1), (5, 2), (7, 3)])
@pytest.mark.parametrize("power", range(0, 16, 3))
def test_attackers_of_any_size_in_a_direction_of_their_own_leave_the_median(
    count: int, attackers: int, power: int
) -> None:
    draw = torch.Generator().manual_seed(count)
    changes_NX = torch.zeros(count, 12, dtype=torch.float64)
    changes_NX[:attackers, 0] = 10.0**power
    changes_NX[attackers:, 1:] = 1 + 0.1 * torch.randn(count - attackers, 11, generator=draw, dtype=torch.float64)
    honest_NX = changes_NX[attackers:]
    radius = float((honest_NX - honest_NX.mean(0)).norm(dim=1).max())
    found_X = RULES["median"](changes_NX @ changes_NX.T, attackers) @ changes_NX
    bound = 2 * (count - attackers) / (count - 2 * attackers) * radius
    assert float((found_X - honest_NX.mean(0)).norm()) < bound


def test_of_many_devices_products_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gram(mixed(3))
    monkeypatch.setattr("iotlam.federated.robust.MANY", 5)
    torch.testing.assert_close(gram(mixed(3)), whole)
