from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iotlam.federated.factors import Factors, inner, no_update, spectrum, total, turn


def drawn(seed: int, outputs: int = 12, inputs: int = 9, rank: int = 4) -> Factors:
    draw = torch.Generator().manual_seed(seed)
    return Factors(
        torch.randn(outputs, rank, generator=draw, dtype=torch.float64),
        torch.randn(rank, inputs, generator=draw, dtype=torch.float64),
    )


def dense(factors: Factors) -> torch.Tensor:
    return factors.b_OR @ factors.a_RI


@given(st.lists(st.integers(0, 14), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_spectrum_is_that_of_the_product_at_any_rank(ranks: list[int], seed: int) -> None:
    whole = total([drawn(seed + place, rank=rank) for place, rank in enumerate(ranks)])
    found = spectrum(whole)
    wanted = torch.linalg.svdvals(dense(whole))
    count = min(len(wanted), len(found.s_R))
    torch.testing.assert_close(found.s_R[:count], wanted[:count], rtol=1e-10, atol=1e-10)
    assert wanted[count:].abs().sum() < 1e-9
    torch.testing.assert_close(dense(found.best(len(found.s_R))), dense(whole), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_best_is_as_near_as_a_product_of_its_rank_can_be(rank: int) -> None:
    whole = total([drawn(1), drawn(2), drawn(3)])
    wanted = torch.linalg.svdvals(dense(whole))[rank:].norm()
    best = spectrum(whole).best(rank)
    assert best.rank == rank
    torch.testing.assert_close((dense(whole) - dense(best)).norm(), wanted, rtol=1e-9, atol=1e-9)


def test_the_halves_of_best_are_of_one_size() -> None:
    best = spectrum(drawn(5)).best(3)
    torch.testing.assert_close(best.b_OR.norm(dim=0), best.a_RI.norm(dim=1))


def test_inner_products_are_those_of_the_matrices() -> None:
    left, right = drawn(1, rank=3), drawn(2, rank=7)
    torch.testing.assert_close(inner(left, right), (dense(left) * dense(right)).sum())


def test_padding_and_cutting() -> None:
    factors = drawn(4)
    torch.testing.assert_close(dense(factors.padded(7)), dense(factors))
    assert factors.padded(7).rank == 7
    torch.testing.assert_close(dense(factors.padded(7).first(4)), dense(factors))


def turned(factors: Factors, turn_RR: torch.Tensor) -> Factors:
    return Factors(factors.b_OR @ turn_RR, turn_RR.T @ factors.a_RI)


def test_a_turn_brings_factors_back_without_changing_the_product() -> None:
    last = drawn(7)
    other = turned(last, torch.linalg.qr(drawn(8, 4, 4).b_OR).Q)
    back = turned(other, turn(other, last))
    torch.testing.assert_close(back.b_OR, last.b_OR, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dense(back), dense(last), rtol=1e-9, atol=1e-9)


def test_no_update_adds_nothing() -> None:
    assert dense(no_update(3, 5)).shape == (3, 5)
    assert not dense(no_update(3, 5)).any()
    assert spectrum(no_update(3, 5)).best(2).rank == 0
