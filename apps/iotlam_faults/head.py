"""What a machine's own recordings teach: a head on frozen evidence.

Two kinds of evidence are weighed. Lines are the same on every machine, so they are learnt from all bearings at once:
by physics and by the pretrained encoder, two readings of the same spectra, whose odds are averaged. The encoder's is
itself the mean of what its pretrained head says and of what a linear head learns here. What rings is the
machine's own structure, so it is learnt at each place by itself, and only for rolling elements: a damaged race always
draws its lines, while those of a ball come and go as it tumbles (Smith and Randall, MSSP 64-65, 2015), but it strikes
softly and leaves the machine ringing as no race fault does. That is another witness: its odds are added. Then the
faults compete, for evidence of one is evidence against the others.

Shapes: W windows, C columns of evidence, L faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from iotlam_faults.evidence import Evidence
from iotlam_machine.machine import BEARING_FAULTS

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Names = NDArray[np.str_]

STRENGTH = 0.01
"""Inverse of the penalty on the weights of standardised columns: there are more columns than bearings."""

FREEDOM = 4.0
"""Degrees of freedom of Student's distribution: windows of a few bearings tell little about the next one's tails."""

FEWEST = 8
"""Windows that a distribution is fitted to."""

BY_RINGING = "ball"


@dataclass(frozen=True, slots=True)
class Linear:
    """Logistic regressions, one for each fault: log odds (W, L) = columns (W, C) @ weight + bias."""

    weight_CL: Doubles
    bias_L: Doubles

    @classmethod
    def fit(cls, columns_WC: Doubles, present_WL: Flags) -> Linear:
        """Fit on windows; a fault that all of them have, or none, gets odds that do not depend on the columns."""
        from sklearn.linear_model import LogisticRegression  # a fitted head does without: 100 MB

        mean_C, scale_C = columns_WC.mean(0), columns_WC.std(0) + 1e-9
        weights, biases = [], []
        for present_W in present_WL.T:
            if present_W.all() or not present_W.any():
                weights.append(np.zeros(columns_WC.shape[1]))
                biases.append(np.log((present_W.sum() + 0.5) / ((~present_W).sum() + 0.5)))
                continue
            found = LogisticRegression(C=STRENGTH, max_iter=500).fit((columns_WC - mean_C) / scale_C, present_W)
            weights.append(found.coef_[0] / scale_C)
            biases.append(found.intercept_[0] - weights[-1] @ mean_C)
        return cls(np.stack(weights, 1), np.array(biases))

    def scores(self, columns_WC: Doubles) -> Doubles:
        """Log odds of each fault, (W, L)."""
        found: Doubles = columns_WC @ self.weight_CL + self.bias_L
        return found


@dataclass(frozen=True, slots=True)
class Spread:
    """Student's distribution of standardised levels."""

    centre_C: Doubles
    precision_CC: Doubles

    @classmethod
    def fit(cls, levels_WC: Doubles, apart_C: Doubles) -> Spread:
        """Fit on windows, the covariance shrunk as Ledoit and Wolf (2004) do.

        Args:
            levels_WC: of some bearings.
            apart_C: variance between bearings of a kind that so few of them do not show.
        """
        from sklearn.covariance import LedoitWolf

        found = LedoitWolf().fit(levels_WC)
        return cls(found.location_, np.linalg.inv(found.covariance_ + np.diag(apart_C)))

    def log_density(self, levels_WC: Doubles) -> Doubles:
        """Up to a constant that is the same for all, (W,)."""
        away_WC = levels_WC - self.centre_C
        square_W = np.einsum("wc,cd,wd->w", away_WC, self.precision_CC, away_WC)
        log_volume = np.linalg.slogdet(self.precision_CC)[1]
        found: Doubles = 0.5 * log_volume - 0.5 * (FREEDOM + levels_WC.shape[1]) * np.log1p(square_W / FREEDOM)
        return found


@dataclass(frozen=True, slots=True)
class Ringing:
    """How one place of a machine rings with damaged rolling elements, and with other damage."""

    mean_C: Doubles
    scale_C: Doubles
    balls: Spread
    others: Spread

    @classmethod
    def fit(cls, levels_WC: Doubles, present_WL: Flags, groups_W: Names) -> Ringing | None:
        """Fit on windows of damaged bearings; None where there are too few with damaged balls, or without."""
        is_ball_W = present_WL[:, BEARING_FAULTS.index(BY_RINGING)]
        if min(is_ball_W.sum(), (~is_ball_W).sum()) < FEWEST:
            return None
        mean_C, scale_C = levels_WC.mean(0), levels_WC.std(0) + 1e-9
        even_WC = (levels_WC - mean_C) / scale_C
        apart_C = _between_bearings(even_WC, present_WL, groups_W)
        spreads = [
            Spread.fit(even_WC[side_W], apart_C / len(np.unique(groups_W[side_W])))
            for side_W in (is_ball_W, ~is_ball_W)
        ]
        return cls(mean_C, scale_C, *spreads)

    def scores(self, levels_WC: Doubles) -> Doubles:
        """Log odds of rolling elements, (W,)."""
        even_WC = (levels_WC - self.mean_C) / self.scale_C
        return self.balls.log_density(even_WC) - self.others.log_density(even_WC)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The frozen encoder's view of windows.

    Attributes:
        latents_WC: of the bearing's places.
        alone_WL: log odds of its faults, by the pretrained head.
        beside_WL: the same beside a healthy window, where there is one.
        severity_WL: how bad each would be, 0 hardly measurable to 1 drowning all else, as simulated machines taught it.
    """

    latents_WC: Doubles
    alone_WL: Doubles
    beside_WL: Doubles
    severity_WL: Doubles


@dataclass(frozen=True, slots=True)
class Columns:
    """Evidence of windows.

    Attributes:
        lines_WC: how lines stand out.
        latents_WC: of the pretrained encoder; no columns where there is none.
        alone_WL: log odds by its pretrained head, which has seen simulated machines alone.
        beside_WL: the same beside a healthy window, where there is one.
        levels_WC: what rings.
        parts_W: place in the machine of each window's sensor.
        rises_WC: by how much lines stand out more than in that window, 0 where there is none; no columns if not asked.
    """

    lines_WC: Doubles
    latents_WC: Doubles
    alone_WL: Doubles
    beside_WL: Doubles
    levels_WC: Doubles
    parts_W: Names
    rises_WC: Doubles

    @classmethod
    def of(
        cls,
        found: Evidence,
        parts_W: Names,
        encoding: Encoding | None = None,
        rises_WC: Doubles | None = None,
    ) -> Columns:
        """From evidence of physics, and the encoder's view of the same windows if there is one."""
        lines_WC, levels_WC = found.lines_BC.astype(np.float64), found.levels_BC.astype(np.float64)
        rises_WC = lines_WC[:, :0] if rises_WC is None else rises_WC
        if encoding is None:
            none_WC = lines_WC[:, :0]
            return cls(lines_WC, none_WC, none_WC, none_WC, levels_WC, parts_W, rises_WC)
        return cls(lines_WC, encoding.latents_WC, encoding.alone_WL, encoding.beside_WL, levels_WC, parts_W, rises_WC)

    def rows(self, rows: NDArray[np.intp]) -> Columns:
        """Some of the windows."""
        return Columns(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def without_encoder(self) -> Columns:
        """Physics alone."""
        return replace(
            self, latents_WC=self.latents_WC[:, :0], alone_WL=self.alone_WL[:, :0], beside_WL=self.beside_WL[:, :0]
        )

    @property
    def without_past(self) -> Columns:
        """Without what healthy windows tell."""
        return replace(self, beside_WL=self.alone_WL, rises_WC=self.rises_WC[:, :0])

    @property
    def without_lines(self) -> Columns:
        """The encoder's reading of the lines alone."""
        return replace(self, lines_WC=self.lines_WC[:, :0])


@dataclass(frozen=True, slots=True)
class Encoded:
    """The encoder's reading of the lines: the mean of its pretrained head's odds and of a linear head's."""

    linear: Linear

    @classmethod
    def fit(cls, columns: Columns, present_WL: Flags) -> Encoded:
        """Fit the linear head."""
        return cls(Linear.fit(columns.latents_WC, present_WL))

    def scores(self, columns: Columns) -> Doubles:
        """Log odds of each fault, (W, L)."""
        return 0.5 * (self.linear.scores(columns.latents_WC) + columns.beside_WL)


@dataclass(frozen=True, slots=True)
class Head:
    """Both kinds of evidence, weighed.

    Attributes:
        physics: reads lines; None where it was given none.
        encoded: reads them through the encoder; None where there is none.
        ringing: of each place that was learnt from.
    """

    physics: Linear | None
    encoded: Encoded | None
    ringing: Mapping[str, Ringing]

    @classmethod
    def fit(cls, columns: Columns, present_WL: Flags, groups_W: Names) -> Head:
        """Fit on windows of damaged bearings.

        Args:
            columns: their evidence.
            present_WL: which of `BEARING_FAULTS` each window's bearing has.
            groups_W: the physical bearing of each window.
        """
        ringing = {}
        for part in np.unique(columns.parts_W):
            here_W = columns.parts_W == part
            found = Ringing.fit(columns.levels_WC[here_W], present_WL[here_W], groups_W[here_W])
            if found is not None:
                ringing[str(part)] = found
        physics = Linear.fit(columns.lines_WC, present_WL) if columns.lines_WC.shape[1] else None
        encoded = Encoded.fit(columns, present_WL) if columns.latents_WC.shape[1] else None
        return cls(physics, encoded, ringing)

    def scores(self, columns: Columns) -> Doubles:
        """Log odds of each of `BEARING_FAULTS` against the others, (W, L)."""
        odds_WL = np.mean(self._readings(columns), 0)
        for part, ringing in self.ringing.items():
            here_W = columns.parts_W == part
            odds_WL[here_W, BEARING_FAULTS.index(BY_RINGING)] += ringing.scores(columns.levels_WC[here_W])
        return compete(odds_WL)

    def _readings(self, columns: Columns) -> list[Doubles]:
        physics = [self.physics.scores(columns.lines_WC)] if self.physics else []
        return physics + ([self.encoded.scores(columns)] if self.encoded else [])


def compete(odds_WL: Doubles) -> Doubles:
    """Each fault's odds less the others': log(e^a / (e^b + e^c))."""
    rivals = [np.delete(odds_WL, fault, 1) for fault in range(odds_WL.shape[1])]
    against_WL = np.stack([np.logaddexp.reduce(rival, 1) for rival in rivals], 1)
    found: Doubles = odds_WL - against_WL
    return found


def _between_bearings(levels_WC: Doubles, present_WL: Flags, groups_W: Names) -> Doubles:
    """Variance of bearings' means about that of their fault, pooled over the faults; 0 where each has one bearing."""
    square_C, freedom = np.zeros(levels_WC.shape[1]), 0
    for present_W in present_WL.T:
        names = np.unique(groups_W[present_W])
        if len(names) > 1:
            mean_GC = np.stack([levels_WC[present_W & (groups_W == name)].mean(0) for name in names])
            square_C = square_C + np.square(mean_GC - mean_GC.mean(0)).sum(0)
            freedom += len(names) - 1
    found: Doubles = square_C / max(freedom, 1)
    return found
