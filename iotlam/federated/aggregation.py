"""How updates of unequal rank become one: the paper's zero-padding, its rivals, and the exact product.

Each mode keeps, for one layer, factors that devices train (`shared`) and a product that they add without training it
(`frozen`). They differ in what a device is given and in how answers are put together. All arithmetic is in double
precision, on factors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from iotlam.federated.factors import Factors, Spectrum, inner, no_update, spectrum, total

Factor = Literal["a", "b"]

Basis = Literal["kept", "turned", "new"]
"""What a device's factors have in common with those that it last had: their columns, their product, or nothing."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a device gets for one layer in one round.

    Attributes:
        start: what its training starts from.
        frozen: a product that it adds to the layer's weight and leaves alone.
        columns: which columns of the shared factors `start` is.
        trains: which of the factors it may change.
    """

    start: Factors
    frozen: Factors
    columns: tuple[int, ...]
    trains: tuple[Factor, ...] = ("a", "b")


@dataclass(frozen=True, slots=True)
class Update:
    """What a device made of an assignment.

    Attributes:
        assignment: as it was given to the device.
        trained: its factors after training, of the same rank as the start.
        weight: its share; those of a round sum to one.
    """

    assignment: Assignment
    trained: Factors
    weight: float


class Mode(ABC):
    """A way to aggregate one layer's updates.

    Args:
        start: factors of the greatest rank of any device; B is zero, as LoRA starts.
        seed: of whatever the mode draws anew later on.
    """

    name: ClassVar[str]
    basis: ClassVar[Basis] = "kept"
    robust: ClassVar[bool] = False
    """Whether an update counts by its product alone, which is all that robust rules see of it."""

    def __init__(self, start: Factors, seed: int) -> None:
        self.shared, self.frozen, self.seed = start.double(), no_update(*start.shape), seed

    def assign(self, device: int, rank: int, number: int) -> Assignment:
        """What a device is given.

        Args:
            device: its place among the devices.
            rank: that it can train; at most that of the start.
            number: of the round, from 0.
        """
        return Assignment(self.shared.first(rank), self.frozen, tuple(range(rank)))

    def columns(self, device: int, rank: int, number: int) -> list[int]:
        """Which columns a device is given in a round to train; devices with the same are given the same."""
        return list(range(rank))

    @abstractmethod
    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Put the answers of a round together; each was assigned in this round."""

    def whole(self) -> Factors:
        """All that the rounds so far add to the layer's weight."""
        return total([self.frozen, self.shared])

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        return {
            "shared.b": self.shared.b_OR,
            "shared.a": self.shared.a_RI,
            "frozen.b": self.frozen.b_OR,
            "frozen.a": self.frozen.a_RI,
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self.shared = Factors(tensors["shared.b"], tensors["shared.a"])
        self.frozen = Factors(tensors["frozen.b"], tensors["frozen.a"])


class ZeroPad(Mode):
    """A and B are averaged each by itself, padded with zeros; devices get the first columns (the source paper)."""

    name = "zero_pad"

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average the padded factors; columns that nobody had stay as they were: of zeros nothing is learnt."""
        met = max(update.trained.rank for update in updates)
        mean, rest = _padded_mean(updates, met), self.shared.columns(range(met, self.shared.rank))
        self.shared = total([mean, rest])


class ZeroPadSparsity(ZeroPad):
    """Zero-padding in which an update weighs by the size of its product, too (HetLoRA, Cho et al., EMNLP 2024)."""

    name = "zero_pad_sparsity"

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average the padded factors by weight times the norm of the product."""
        sizes = [u.weight * math.sqrt(max(float(inner(u.trained, u.trained)), 0.0)) for u in updates]
        whole = sum(sizes)
        if whole > 0.0:
            updates = [Update(u.assignment, u.trained, size / whole) for u, size in zip(updates, sizes, strict=True)]
        super().merge(updates, number)


class Stack(Mode):
    """The weighted products are added to the frozen part, and training starts afresh (FLoRA, NeurIPS 2024)."""

    name = "stack"
    basis = "new"
    robust = True

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Add the exact mean of the products; draw a new A."""
        self.frozen = _compact(total([self.frozen, *_weighted(updates)]))
        self.shared = Factors(torch.zeros_like(self.shared.b_OR), fresh_a(self.shared, self.seed, number + 1))


class _Whole(Mode):
    """Modes in which a device adds, frozen, all columns that it does not train: all devices compute the same."""

    def assign(self, device: int, rank: int, number: int) -> Assignment:
        """Some columns to train, the others frozen."""
        columns = self.columns(device, rank, number)
        others = sorted(set(range(self.shared.rank)) - set(columns))
        frozen = total([self.frozen, self.shared.columns(others)])
        return Assignment(self.shared.columns(columns), frozen, tuple(columns), self.trains(number))

    def trains(self, number: int) -> tuple[Factor, ...]:
        """Which factors are trained in a round."""
        return ("a", "b")


class Residual(_Whole):
    """Averaged factors, and what they differ by from the mean of the products is frozen (FedEx-LoRA, ACL 2025)."""

    name = "residual"

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average the factors column by column; freeze the difference to the exact mean."""
        rest = [self.shared.columns(range(u.trained.rank, self.shared.rank)).scaled(u.weight) for u in updates]
        mean = Factors(_mean_of(self.shared.b_OR, updates, "b"), _mean_of(self.shared.a_RI.T, updates, "a").T)
        self.frozen = _compact(total([self.frozen, *_weighted(updates), *rest, mean.scaled(-1.0)]))
        self.shared = mean


class FreezeA(_Whole):
    """A stays as it was drawn and is common to all, so that the mean of B is exact (FFA-LoRA, ICLR 2024)."""

    name = "freeze_a"
    robust = True

    def trains(self, number: int) -> tuple[Factor, ...]:
        """Only B."""
        return ("b",)

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average B, column by column, over all devices; those who did not train a column have it as it was."""
        self.shared = Factors(_mean_of(self.shared.b_OR, updates, "b"), self.shared.a_RI)


class Alternate(_Whole):
    """B in even rounds, A in odd ones, the other being common to all: exact in either (RoLoRA, NeurIPS 2025)."""

    name = "alternate"

    def trains(self, number: int) -> tuple[Factor, ...]:
        """B first: LoRA starts with B = 0, where A has no gradient."""
        return ("a",) if number % 2 else ("b",)

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average the factor of this round."""
        b_OR, a_RI = self.shared.b_OR, self.shared.a_RI
        if number % 2:
            self.shared = Factors(b_OR, _mean_of(a_RI.T, updates, "a").T)
        else:
            self.shared = Factors(_mean_of(b_OR, updates, "b"), a_RI)


class Fold(_Whole):
    """Modules of rank one, of which a device trains some and adds the others frozen (Fed-PLoRA, ICLR 2026)."""

    name = "fold"
    basis = "new"

    def columns(self, device: int, rank: int, number: int) -> list[int]:
        """In turn, so that in time each device trains each module."""
        first = (device + number) * rank
        return sorted({(first + step) % self.shared.rank for step in range(rank)})

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Average each module over the devices that trained it."""
        rank = self.shared.rank
        share_R = torch.zeros(rank, dtype=torch.float64)
        b_OR, a_RI = torch.zeros_like(self.shared.b_OR), torch.zeros_like(self.shared.a_RI)
        for update in updates:
            columns, trained = list(update.assignment.columns), update.trained.double()
            share_R[columns] += update.weight
            b_OR[:, columns] += update.weight * trained.b_OR
            a_RI[columns] += update.weight * trained.a_RI
        met_R = share_R > 0
        by_R = torch.where(met_R, share_R, 1.0)
        self.shared = Factors(
            torch.where(met_R, b_OR / by_R, self.shared.b_OR),
            torch.where(met_R[:, None], a_RI / by_R[:, None], self.shared.a_RI),
        )


class ProductSvd(Mode):
    """The mean of the products, exact up to `KEEP`; each device gets the best factors of its rank (the default).

    `shared` is the singular value decomposition of all that was learnt, split evenly, so its first columns are the best
    of their rank (Eckart and Young). A device changes only what it was given: the change is added to the whole, and
    what its rank cut off is still there (error feedback), where `ProductMean` lets each device of small rank shrink the
    directions that it never saw.
    """

    name = "product_svd"
    basis = "turned"
    robust = True

    KEEP: ClassVar[int] = 2
    """The whole keeps directions up to that many times the greatest rank: beyond, they are noise of single devices."""

    def __init__(self, start: Factors, seed: int) -> None:
        super().__init__(start, seed)
        self._most = start.rank
        self._start_a_RI = self.shared.a_RI
        self.shared = no_update(*start.shape)

    def assign(self, device: int, rank: int, number: int) -> Assignment:
        """The best factors of that rank, and fresh rows of A where less has been learnt."""
        known = self.shared.first(rank)
        lacking = rank - known.rank
        new = Factors(torch.zeros(known.shape[0], lacking, dtype=torch.float64), self._start_a_RI[:lacking])
        return Assignment(total([known, new]), self.frozen, tuple(range(rank)))

    def merge(self, updates: Sequence[Update], number: int) -> None:
        """Add the changes to the whole."""
        most = self.KEEP * self._most
        self.shared = self.added(updates, most).best(most)

    def added(self, updates: Sequence[Update], most: int | None = None) -> Spectrum:
        """The whole with the changes added, or the greatest directions of it.

        What devices were given is the whole's first columns: taken out as shares of these, it need not be carried.
        """
        kept_R = torch.ones(self.shared.rank, dtype=torch.float64)
        for update in updates:
            kept_R[: update.trained.rank] -= update.weight
        left_R = kept_R.abs() > 1e-12
        kept = Factors((self.shared.b_OR * kept_R)[:, left_R], self.shared.a_RI[left_R])
        return spectrum(total([kept, *_weighted(updates)]), most)


class ProductMean(ProductSvd):
    """The mean of the products and nothing else (FlexLoRA, NeurIPS 2024): what a device's rank cuts off shrinks."""

    name = "product_mean"

    def added(self, updates: Sequence[Update], most: int | None = None) -> Spectrum:
        """The mean, or the greatest directions of it."""
        return spectrum(total(_weighted(updates)), most)


MODES: Mapping[str, type[Mode]] = {
    mode.name: mode
    for mode in (ProductSvd, ZeroPad, ZeroPadSparsity, Stack, ProductMean, Residual, FreezeA, Alternate, Fold)
}
"""By name; the first is the default."""


def fresh_a(like: Factors, seed: int, number: int) -> Tensor:
    """Rows of A as PEFT draws them: uniform within 1 / sqrt(inputs), (Kaiming, slope sqrt(5))."""
    draw = torch.Generator().manual_seed(seed * 1_000_003 + number)
    a_RI = torch.rand(like.rank, like.shape[1], generator=draw, dtype=torch.float64)
    return a_RI.mul(2).sub(1).mul(like.shape[1] ** -0.5)


def _weighted(updates: Sequence[Update]) -> list[Factors]:
    return [update.trained.double().scaled(update.weight) for update in updates]


def _padded_mean(updates: Sequence[Update], rank: int) -> Factors:
    padded = [(update.weight, update.trained.double().padded(rank)) for update in updates]
    b_OR = torch.stack([weight * factors.b_OR for weight, factors in padded]).sum(0)
    a_RI = torch.stack([weight * factors.a_RI for weight, factors in padded]).sum(0)
    return Factors(b_OR, a_RI)


def _mean_of(shared_XR: Tensor, updates: Sequence[Update], factor: Factor) -> Tensor:
    """Mean of one factor, each device's own columns in place of the shared ones."""
    mean_XR = torch.zeros_like(shared_XR)
    for update in updates:
        trained = update.trained.double()
        own_XR = shared_XR.clone()
        own_XR[:, list(update.assignment.columns)] = trained.b_OR if factor == "b" else trained.a_RI.T
        mean_XR += update.weight * own_XR
    return mean_XR


def _compact(factors: Factors) -> Factors:
    """The same product with no more factors than its rank can be."""
    if factors.rank <= min(factors.shape):
        return factors
    return spectrum(factors).best(min(factors.shape))
