"""Whether a fusion keeps what one sensor knows, what several know, and what only all together know."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.bench.fusion.data import KIND_SENSORS, KINDS, Windows, World, kinds
from iotlam.bench.fusion.network import FusionNetwork, answer, fit, from_pool, one_place, right, supervised, task_loss
from iotlam.bench.rivals.fusion_networks import BottleneckAttention, Concatenation, LateFusion, Perceiver
from iotlam.contracts import Json, TokenSpec

BETA = 0.008
POOL, TEST = 40_000, 20_000
OURS, UNPRICED, M2IB = "iotlam", "iotlam, bits for nothing", "M2IB objective alone"
RIVALS: dict[str, Callable[[tuple[TokenSpec, ...], int], nn.Module]] = {
    "concatenation": Concatenation,
    "bottleneck attention": BottleneckAttention,
    "Perceiver": Perceiver,
    "late fusion": LateFusion,
}


def measure_kinds(seed: int, steps: int, tick: Callable[[], None]) -> list[Json]:
    """One world: every network trained alike, then asked on 20,000 windows that none has seen.

    Returns:
        Of each network its points below the Bayes classifier on the same windows, by kind. Ours answers through
        the noisy channel that its bits are counted for; "mean" is without the noise, as a decision is made.
    """
    world = World(KIND_SENSORS, seed)
    train, test = from_pool(kinds(world, "train", POOL)), kinds(world, "test", TEST)
    rows = []
    for name in (OURS, UNPRICED, M2IB, *RIVALS):
        torch.manual_seed(seed)
        if name in RIVALS:
            network = RIVALS[name](world.specs, len(KINDS))
        else:
            network = FusionNetwork(world.specs, len(KINDS))
        beta = 0.0 if name in (UNPRICED, *RIVALS) else BETA
        fit(network, train, steps, beta, seed, modalities_agree if name == M2IB else supervised)
        rows.append({"experiment": "kinds", "seed": seed, "network": name, **_points(network, test)})
        tick()
    return rows


def modalities_agree(network: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
    """M2IB's objective as that of a fusion: modalities tell the same (InfoNCE), at a price per bit; no task.

    Its cosine alone would be best for a constant latent; contrast is what keeps CLIP, on which M2IB stands, from
    that. The head learns the task on latents that it cannot change.
    """
    assert isinstance(network, FusionNetwork)
    latents = {name: functional.normalize(network.latent({name: b}), dim=-1) for name, b in windows.batches.items()}
    same_B = torch.arange(len(windows.labels))
    contrast = [
        functional.cross_entropy(latents[one] @ latents[other].T / 0.1, same_B)
        for one, other in permutations(latents, 2)
    ]
    fused = network.fusion(windows.batches, *one_place(windows.batches, network.fusion.n_anchors))
    task = task_loss(network.head(fused.latents_BKD[:, 0].detach()), windows.labels)
    return torch.stack(contrast).mean() + task, fused.rate_bits


def _points(network: nn.Module, test: Windows) -> Json:
    assert test.best is not None
    torch.manual_seed(0)
    bayes_Q = (test.best == test.labels).float().mean(0)
    said = answer(network, test.batches, noisy=True)
    gap_Q = 100.0 * (bayes_Q - right(said.logits_BC, test.labels).mean(0))
    mean_Q = 100.0 * (bayes_Q - right(answer(network, test.batches).logits_BC, test.labels).mean(0))
    tokens = sum(float(batch.mask_BT.sum()) for batch in test.batches.values())
    return {
        "bayes": dict(zip(KINDS, bayes_Q.tolist(), strict=True)),
        "points_below_bayes": dict(zip(KINDS, gap_Q.tolist(), strict=True)),
        "points_below_bayes_mean": dict(zip(KINDS, mean_Q.tolist(), strict=True)),
        "bits_per_token": sum(float(bits_BT.sum()) for bits_BT in said.bits.values()) / tokens if said.bits else None,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
