"""Low-rank updates of a layer's weight as factors B A, and what can be done without ever forming their product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SMALL = 1e-9
"""Share of the greatest singular value below which a direction is rounding."""

MANY = 1024
"""A rank above which no rank x rank array is formed: that of a thousand devices' changes would fill the memory."""


@dataclass(frozen=True, slots=True)
class Factors:
    """The matrix `b_OR @ a_RI` that LoRA adds to a layer's weight, its scale (alpha / rank) multiplied in.

    Attributes:
        b_OR: output features x rank.
        a_RI: rank x input features.
    """

    b_OR: Tensor
    a_RI: Tensor

    @property
    def rank(self) -> int:
        """Columns of B; the rank of the product is at most that."""
        return self.a_RI.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the product: output x input features."""
        return self.b_OR.shape[0], self.a_RI.shape[1]

    def scaled(self, by: float) -> Factors:
        """The product times a number."""
        return Factors(self.b_OR * by, self.a_RI)

    def columns(self, which: Sequence[int]) -> Factors:
        """Some columns of B and rows of A."""
        return Factors(self.b_OR[:, list(which)], self.a_RI[list(which)])

    def first(self, rank: int) -> Factors:
        """The first columns of B and rows of A."""
        return Factors(self.b_OR[:, :rank], self.a_RI[:rank])

    def padded(self, rank: int) -> Factors:
        """The same product with zeros up to a rank."""
        more = rank - self.rank
        pad = torch.nn.functional.pad
        return Factors(pad(self.b_OR, (0, more)), pad(self.a_RI, (0, 0, 0, more)))

    def double(self) -> Factors:
        """In double precision."""
        return Factors(self.b_OR.double(), self.a_RI.double())


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A product as its singular value decomposition, u_OR diag(s_R) v_RI; values fall."""

    u_OR: Tensor
    s_R: Tensor
    v_RI: Tensor

    def best(self, rank: int) -> Factors:
        """The nearest product of at most that rank (Eckart and Young), each factor with half of the size."""
        root_R = self.s_R[:rank].sqrt()
        return Factors(self.u_OR[:, :rank] * root_R, root_R[:, None] * self.v_RI[:rank])


def no_update(outputs: int, inputs: int) -> Factors:
    """The zero matrix, as factors of rank 0 in double precision."""
    return Factors(torch.zeros(outputs, 0, dtype=torch.float64), torch.zeros(0, inputs, dtype=torch.float64))


def total(parts: Sequence[Factors]) -> Factors:
    """The sum of products: their factors side by side."""
    return Factors(torch.cat([part.b_OR for part in parts], 1), torch.cat([part.a_RI for part in parts], 0))


def inner(left: Factors, right: Factors) -> Tensor:
    """The inner product of two products, trace((B1 A1)^T B2 A2), from R x R matrices."""
    return ((left.b_OR.T @ right.b_OR) * (left.a_RI @ right.a_RI.T)).sum()


def spectrum(factors: Factors, most: int | None = None) -> Spectrum:
    """Singular value decomposition of a product: one thin QR and the eigenvectors of one rank x rank matrix.

    The product of all that is returned is as exact as double precision; values below 1e-8 of the greatest are not told
    apart from zero. Where the rank is above the layer's size, QR cuts it to that size; nothing of output x input is
    formed unless the rank itself is that large.

    Args:
        factors: in double precision.
        most: how many of the greatest values are wanted; None for all.
    """
    left_OQ, upper_QR = torch.linalg.qr(factors.b_OR)
    if factors.rank > MANY:
        core_QI = upper_QR @ factors.a_RI
        gram_QQ = core_QI @ core_QI.T
    else:
        gram_QQ = upper_QR @ (factors.a_RI @ factors.a_RI.T) @ upper_QR.T
    u_QS = torch.linalg.eigh(gram_QQ).eigenvectors.flip(1)[:, :most]
    core_SI = (u_QS.T @ upper_QR) @ factors.a_RI
    s_S = core_SI.norm(dim=1)
    real = s_S > s_S.max() * SMALL if len(s_S) else s_S > 0
    return Spectrum(left_OQ @ u_QS[:, real], s_S[real], core_SI[real] / s_S[real, None])


def turn(factors: Factors, to: Factors) -> Tensor:
    """The rotation (rank x rank) after which factors are nearest to others of the same rank (orthogonal Procrustes).

    Factors are defined up to a rotation between them, and those that a server sends turn from round to round.
    """
    u_RR, _, v_RR = torch.linalg.svd(factors.b_OR.T @ to.b_OR + factors.a_RI @ to.a_RI.T)
    turn_RR: Tensor = u_RR @ v_RR
    return turn_RR
