"""One model for every set of sensors and every fault, against a specialist for each."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from iotlam.bench.fusion.data import Windows, World
from iotlam.bench.fusion.network import FusionNetwork, answer, fit, from_pool, right
from iotlam.bench.fusion.scenes import (
    FAULTS,
    SCENE_CLASSES,
    SCENE_SENSORS,
    SUBSETS,
    join,
    lose_modalities,
    only,
    scenes,
)
from iotlam.contracts import Json

BETA = 0.002
POOL, TEST = 18_000, 6_000


def measure_robustness(seed: int, steps: int, specialist_steps: int, tick: Callable[[], None]) -> list[Json]:
    """One world: the one model, then a specialist for each subset of the sensors and each fault of each sensor.

    A specialist is the one model trained on, on nothing but what it is tested on: a harder rival than one from
    scratch, which needs many times the steps to come as far.
    """
    world = World(SCENE_SENSORS, seed)
    torch.manual_seed(seed)
    one = FusionNetwork(world.specs, SCENE_CLASSES)
    fit(one, _everything(world), steps, BETA, seed)
    tick()
    pool, test = scenes(world, "train", POOL), scenes(world, "test", TEST)
    cases = [("missing", "+".join(subset), only(pool, subset), only(test, subset)) for subset in SUBSETS]
    cases += [
        ("corrupt", f"{f.kind} {f.sensor}", scenes(world, "train", POOL, f), scenes(world, "test", TEST, f))
        for f in FAULTS
    ]
    rows = []
    for kind, case, train, unseen in cases:
        specialist = copy.deepcopy(one)
        fit(specialist, from_pool(train), specialist_steps, BETA, seed)
        tick()
        ours, theirs = _accuracy(one, unseen), _accuracy(specialist, unseen)
        rows.append({"experiment": kind, "seed": seed, "case": case, "accuracy": ours, "specialist": theirs})
    return rows


def _accuracy(network: FusionNetwork, unseen: Windows) -> float:
    return float(right(answer(network, unseen.batches).logits_BC, unseen.labels).mean())


def _everything(world: World) -> Callable[[torch.Generator], Windows]:
    """Batches of which half are whole, a third has one fault each, and a half then loses modalities."""
    parts = [scenes(world, "train", POOL)]
    parts += [scenes(world, "train", POOL // len(FAULTS), fault) for fault in FAULTS]
    train = from_pool(join(parts))
    return lambda draw: lose_modalities(train(draw), 0.4, draw)
