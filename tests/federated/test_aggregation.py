from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iotlam.federated.aggregation import MODES, Assignment, Mode, ProductSvd, Update, fresh_a
from iotlam.federated.factors import Factors, total

OUTPUTS, INPUTS, MOST = 10, 8, 6
EXACT = ("product_svd", "stack", "residual", "freeze_a", "alternate")
SAME_EVERYWHERE = ("stack", "residual", "freeze_a", "alternate", "fold")
"""Modes in which each device computes with all that was learnt, whatever its rank."""


def made(name: str, seed: int = 0) -> Mode:
    b_OR = torch.zeros(OUTPUTS, MOST, dtype=torch.float64)
    start = Factors(b_OR, torch.zeros(MOST, INPUTS, dtype=torch.float64))
    return MODES[name](Factors(b_OR, fresh_a(start, seed, 0)), seed)


def dense(factors: Factors) -> torch.Tensor:
    return factors.b_OR @ factors.a_RI


def of_device(assignment: Assignment, trained: Factors) -> torch.Tensor:
    return dense(total([assignment.frozen, trained]))


def changed(assignment: Assignment, draw: torch.Generator) -> Factors:
    """As training changes it: only what it may change."""
    b_OR, a_RI = assignment.start.b_OR.clone(), assignment.start.a_RI.clone()
    if "b" in assignment.trains:
        b_OR += torch.randn(b_OR.shape, generator=draw, dtype=torch.float64)
    if "a" in assignment.trains:
        a_RI += torch.randn(a_RI.shape, generator=draw, dtype=torch.float64)
    return Factors(b_OR, a_RI)


def one_round(mode: Mode, ranks: list[int], number: int, seed: int) -> torch.Tensor:
    """Run a round; returns what the whole should be: before, plus the weighted changes of the devices' matrices."""
    draw = torch.Generator().manual_seed(seed * 100 + number)
    shares = torch.rand(len(ranks), generator=draw, dtype=torch.float64) + 0.1
    shares /= shares.sum()
    before = dense(mode.whole())
    updates, wanted = [], before.clone()
    for device, rank in enumerate(ranks):
        assignment = mode.assign(device, rank, number)
        trained = changed(assignment, draw)
        updates.append(Update(assignment, trained, float(shares[device])))
        moved = of_device(assignment, trained) - of_device(assignment, assignment.start)
        wanted += shares[device] * moved
    mode.merge(updates, number)
    return wanted


@pytest.mark.parametrize("name", EXACT)
@given(ranks=st.lists(st.integers(1, MOST), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_exact_modes_add_exactly_what_the_devices_changed(name: str, ranks: list[int], seed: int) -> None:
    mode = made(name, seed)
    for number in range(4):
        wanted = one_round(mode, ranks, number, seed)
        torch.testing.assert_close(dense(mode.whole()), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["zero_pad", "zero_pad_sparsity", "fold"])
def test_modes_that_average_factors_are_not_exact(name: str) -> None:
    mode = made(name)
    one_round(mode, [2, 6], 0, 1)
    wanted = one_round(mode, [2, 6], 1, 1)
    assert (dense(mode.whole()) - wanted).norm() > 0.05 * wanted.norm()


@pytest.mark.parametrize("name", SAME_EVERYWHERE)
def test_devices_of_all_ranks_compute_the_same(name: str) -> None:
    mode = made(name)
    for number in range(3):
        one_round(mode, [1, 3, 6], number, 2)
    for rank in (1, 3, 6):
        assignment = mode.assign(0, rank, 3)
        assert assignment.start.rank == rank == len(assignment.columns)
        torch.testing.assert_close(of_device(assignment, assignment.start), dense(mode.whole()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*EXACT, "fold"])  # the zeros of zero-padding shrink what small ranks never saw
def test_nothing_changes_where_no_device_changes_anything(name: str) -> None:
    mode = made(name)
    one_round(mode, [2, 4], 0, 3)
    one_round(mode, [2, 4], 1, 3)
    before = dense(mode.whole())
    given = [mode.assign(device, rank, 2) for device, rank in enumerate([2, 4])]
    mode.merge([Update(assignment, assignment.start, 0.5) for assignment in given], 2)
    torch.testing.assert_close(dense(mode.whole()), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MODES)
def test_a_mode_goes_on_from_its_tensors(name: str) -> None:
    first, second = made(name), made(name)
    one_round(first, [2, 5], 0, 4)
    second.load({key: value.clone() for key, value in first.tensors().items()})
    one_round(first, [2, 5], 1, 4)
    one_round(second, [2, 5], 1, 4)
    assert torch.equal(dense(first.whole()), dense(second.whole()))


@pytest.mark.parametrize("name", MODES)
def test_training_starts_where_the_model_is(name: str) -> None:
    mode = made(name)
    for rank in (1, 4, MOST):
        assignment = mode.assign(0, rank, 0)
        assert not of_device(assignment, assignment.start).any()
        assert assignment.start.a_RI.abs().amin(1).min() > 0, "a row of zeros never learns"


def test_a_device_gets_the_best_of_its_rank() -> None:
    mode = made("product_svd")
    for number in range(3):
        one_round(mode, [1, 2, 6], number, 5)
    whole = dense(mode.whole())
    values = torch.linalg.svdvals(whole)
    for rank in range(1, MOST + 1):
        missed = (whole - dense(mode.assign(0, rank, 3).start)).norm()
        torch.testing.assert_close(missed, values[rank:].norm(), rtol=1e-9, atol=1e-9)


def test_the_whole_does_not_grow_beyond_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProductSvd, "KEEP", 1)
    mode = made("product_svd")
    for number in range(3):
        one_round(mode, [6, 6], number, 6)
        assert mode.whole().rank == MOST


@pytest.mark.parametrize("name", ["zero_pad", "zero_pad_sparsity"])
def test_columns_that_no_answer_had_can_still_be_learnt(name: str) -> None:
    mode = made(name)
    one_round(mode, [2, 3], 0, 0)
    last = mode.assign(0, MOST, 1).start
    assert last.a_RI[3:].any() and not last.b_OR[:, 3:].any()
