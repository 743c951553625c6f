"""Sensor tokens whose truth is known: which tokens carry evidence, what a perfect observer would say.

Shapes: B windows, T tokens, D token width, Q questions. A world (bases, patterns, scales) is drawn from a seed, and the
windows of one split from a stream of their own, so that training, validation and test never share a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from iotlam.contracts import TokenBatch, TokenSpec

RATE_HZ = 10.0
SPLITS = {"train": 0, "validation": 1, "test": 2, "corrupt": 3}


class Windows(NamedTuple):
    """Windows of tokens with their truth.

    Attributes:
        batches: by modality.
        labels: int64 (B,) for a choice among classes, float32 (B, Q) of 0 and 1 for yes-or-no questions.
        best: the answer of the Bayes classifier, shaped as `labels`; None where it is not known.
        evidence: by modality bool (B, T), tokens in which the truth was planted.
    """

    batches: dict[str, TokenBatch]
    labels: Tensor
    best: Tensor | None
    evidence: dict[str, Tensor]

    def rows(self, index: Tensor) -> Windows:
        """The windows at `index`."""
        batches = {name: batch_rows(batch, index) for name, batch in self.batches.items()}
        best = None if self.best is None else self.best[index]
        return Windows(batches, self.labels[index], best, {n: e[index] for n, e in self.evidence.items()})


def batch_rows(batch: TokenBatch, index: Tensor) -> TokenBatch:
    """The windows at `index` of one modality."""
    return TokenBatch(batch.tokens_BTD[index], batch.mask_BT[index], batch.time_BT[index], batch.modality)


@dataclass(frozen=True)
class Sensor:
    """Size of one modality: T tokens of width D."""

    tokens: int
    dim: int


class World:
    """Bases and units of a set of modalities, drawn from a seed; raw features have arbitrary scales and offsets."""

    def __init__(self, sensors: Mapping[str, Sensor], seed: int) -> None:
        self.sensors, self.seed = dict(sensors), seed
        draw = torch.Generator().manual_seed(1_000_003 * (seed + 1))
        self.basis = {
            name: torch.linalg.qr(torch.randn(s.dim, s.dim, generator=draw))[0] for name, s in sensors.items()
        }
        self.scale = {name: 0.2 + 5.0 * torch.rand(s.dim + 1, generator=draw) for name, s in sensors.items()}
        self.offset = {name: 5.0 * torch.randn(s.dim + 1, generator=draw) for name, s in sensors.items()}

    @property
    def specs(self) -> tuple[TokenSpec, ...]:
        """Token specs; one more dimension than the sensor has, for the kind of a token."""
        return tuple(TokenSpec(name, s.dim + 1, s.tokens) for name, s in self.sensors.items())

    def generator(self, split: str) -> torch.Generator:
        """The stream of random numbers of a split."""
        return torch.Generator().manual_seed(104_729 * (self.seed + 1) + 7919 * SPLITS[split])

    def batch(self, name: str, x_BTD: Tensor, kind_BT: Tensor, mask_BT: Tensor) -> TokenBatch:
        """Tokens in the units of the sensor, newest last, with their kind as the last dimension."""
        raw_BTD = torch.cat([x_BTD, kind_BT[..., None]], -1) * self.scale[name] + self.offset[name]
        time_T = (torch.arange(x_BTD.shape[1]) - (x_BTD.shape[1] - 1)) / RATE_HZ
        return TokenBatch(raw_BTD, mask_BT, time_T.expand(mask_BT.shape), name)


def signs(count: int, draw: torch.Generator) -> Tensor:
    """Fair signs, +1 or -1."""
    return torch.randint(0, 2, (count,), generator=draw).float() * 2.0 - 1.0


# --- three kinds of information in one window -------------------------------------------------------------------

KINDS = ("unique", "shared", "synergy")
KIND_SENSORS = {"camera": Sensor(8, 8), "radar": Sensor(7, 10), "idle": Sensor(5, 6)}
PLANTED_SHARE, VALID_SHARE = 0.5, 0.9
# Of each sensor the planted bits: name and how far a token's mean moves along the bit's own direction.
PLANTED = {"camera": {"unique": 1.0, "shared": 0.8, "left": 1.3}, "radar": {"shared": 0.8, "right": 1.3}, "idle": {}}


def kinds(world: World, split: str, count: int) -> Windows:
    """Three questions per window: a bit that the camera alone knows, one that both know, and left XOR right.

    Half of the tokens carry the bits, which their kind says, each along a direction of its own that is oblique to
    the features, in unit Gaussian noise; "idle" measures nothing. The log-likelihood ratio of a bit is
    2 mu sum_t x_t along its direction, ratios of the sensors add, and the best guess of an XOR is the product of the
    best guesses of its sides: that is the Bayes classifier, and its accuracy the Bayes rate.
    """
    draw = world.generator(split)
    bits = {name: signs(count, draw) for name in ("unique", "shared", "left", "right")}
    ratio = {name: torch.zeros(count) for name in bits}
    batches, evidence = {}, {}
    for name, sensor in world.sensors.items():
        shape = (count, sensor.tokens)
        planted_BT = torch.rand(shape, generator=draw) < PLANTED_SHARE
        mask_BT = torch.rand(shape, generator=draw) < VALID_SHARE
        x_BTD = torch.randn(*shape, sensor.dim, generator=draw)
        for axis_D, (bit, mean) in zip(world.basis[name], PLANTED[name].items(), strict=False):
            x_BTD += mean * (bits[bit][:, None] * planted_BT)[..., None] * axis_D
            ratio[bit] += 2.0 * mean * ((x_BTD @ axis_D) * (planted_BT & mask_BT)).sum(1)
        evidence[name] = planted_BT & mask_BT & bool(PLANTED[name])
        batches[name] = world.batch(name, x_BTD, planted_BT.float() * 2.0 - 1.0, mask_BT)
    truth_BQ = torch.stack([bits["unique"], bits["shared"], bits["left"] * bits["right"]], 1)
    guess_BQ = torch.stack([ratio["unique"], ratio["shared"], ratio["left"] * ratio["right"]], 1)
    return Windows(batches, (truth_BQ > 0).float(), (guess_BQ > 0).float(), evidence)


# --- planted evidence among clutter -----------------------------------------------------------------------------

CLASSES = 4
PLANTED_SENSORS = {"camera": Sensor(12, 8), "radar": Sensor(16, 8), "idle": Sensor(8, 8)}
SIGNATURE, CLUTTER, CLUTTER_SHARE = 4.0, 5.0, 0.5


class Planting(NamedTuple):
    """How one sensor shows the class: how many tokens, how far each moves, in how many windows."""

    fewest: int
    most: int
    strength: float
    share: float


PLANTING = {"camera": Planting(1, 3, 3.0, 0.7), "radar": Planting(5, 9, 0.9, 1.0)}


def planted(world: World, split: str, count: int) -> Windows:
    """One of four classes, told by the tokens of one object among those of others, for two sensors out of three.

    A token of the object in question has its signature, a token of clutter one of three other, louder signatures;
    the rest is background, and "idle" is nothing but background. Along two more directions lies what a token says
    of the class, in unit noise: much in the camera, which does not always see the object; little in each of many
    returns of the radar.
    """
    draw = world.generator(split)
    label_B = torch.randint(0, CLASSES, (count,), generator=draw)
    batches, evidence = {}, {}
    for name, sensor in world.sensors.items():
        shape = (count, sensor.tokens)
        mask_BT = torch.rand(shape, generator=draw) < VALID_SHARE
        x_BTD = torch.randn(*shape, sensor.dim, generator=draw)
        planted_BT = torch.zeros(shape, dtype=torch.bool)
        if how := PLANTING.get(name):
            planted_BT = _object(how, shape, draw)
            clutter_BT = ~planted_BT & (torch.rand(shape, generator=draw) < CLUTTER_SHARE)
            axes_XD = world.basis[name]
            which_BT = torch.randint(3, 6, shape, generator=draw)
            x_BTD += SIGNATURE * planted_BT[..., None] * axes_XD[0]
            x_BTD += CLUTTER * clutter_BT[..., None] * axes_XD[which_BT]
            for bit in range(2):
                sign_B1 = ((label_B[:, None] >> bit) & 1) * 2.0 - 1.0
                x_BTD += (how.strength * planted_BT * sign_B1)[..., None] * axes_XD[1 + bit]
        evidence[name] = planted_BT & mask_BT
        batches[name] = world.batch(name, x_BTD, torch.randn(shape, generator=draw), mask_BT)
    return Windows(batches, label_B, None, evidence)


def _object(how: Planting, shape: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Which tokens are the object's, bool (B, T)."""
    many_B1 = torch.randint(how.fewest, how.most + 1, (shape[0], 1), generator=draw)
    seen_B1 = torch.rand(shape[0], 1, generator=draw) < how.share
    return (torch.rand(shape, generator=draw).argsort(1) < many_B1) & seen_B1
