"""Who finds the planted evidence: bits of the gates, against the ways to explain an ordinary network.

Shapes: B windows, T tokens, N tokens of all modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from iotlam.bench.fusion.data import CLASSES, PLANTED_SENSORS, Windows, World, planted
from iotlam.bench.fusion.network import Answer, FusionNetwork, answer, fit, from_pool, right, supervised
from iotlam.bench.rivals.fusion_attribution import integrated_gradients, m2ib, nib
from iotlam.bench.rivals.fusion_networks import Concatenation
from iotlam.contracts import Json, TokenBatch
from iotlam.fusion import optimise_bits, sanity

BETA = 0.1
POOL, TEST, EXPLAINED = 2000, 2000, 100
ZERO_BITS = 0.01  # a hundredth of a bit per token is about none
OURS, SAMPLE = "iotlam bits", "iotlam bits, per sample"

Batches = Mapping[str, TokenBatch]
Scores = Mapping[str, Tensor]


def measure_planted(seed: int, steps: int) -> Json:
    """One world: train iotlam's network and an ordinary one on 2000 windows, explain both on windows of their own.

    Returns:
        AUROC by method under "auroc", and the sanity tests of our bits.
    """
    world = World(PLANTED_SENSORS, seed)
    torch.manual_seed(seed)
    ours, rival = FusionNetwork(world.specs, CLASSES), Concatenation(world.specs, CLASSES)
    train = from_pool(planted(world, "train", POOL))
    fit(ours, train, steps, BETA, seed)
    fit(rival, _with_lost_modalities(train), steps, 0.0, seed)
    test = planted(world, "test", TEST)
    few = test.rows(torch.arange(EXPLAINED))
    scores = {**_ours(ours, few), **_rivals(rival, few, seed)}
    return {
        "experiment": "planted",
        "seed": seed,
        "accuracy": float(right(answer(ours, test.batches).logits_BC, test.labels).mean()),
        "rival_accuracy": float(right(answer(rival, test.batches).logits_BC, test.labels).mean()),
        "auroc": {name: mean_auroc(score, few) for name, score in scores.items()},
        **_sanity(ours, test, scores[OURS], few),
    }


def mean_auroc(scores: Scores, windows: Windows) -> float:
    """AUROC within a window, over its valid tokens of all modalities, averaged over the windows."""
    mask_BN, truth_BN, score_BN = (
        torch.cat([part[name] for name in windows.batches], 1).numpy()
        for part in ({n: b.mask_BT for n, b in windows.batches.items()}, windows.evidence, scores)
    )
    rows = zip(score_BN.astype(np.float64), truth_BN, mask_BN, strict=True)
    return float(np.nanmean([sanity.auroc(score[mask], truth[mask]) for score, truth, mask in rows]))


def _ours(network: FusionNetwork, windows: Windows) -> dict[str, Scores]:
    said = answer(network, windows.batches)
    choice_B = said.logits_BC.argmax(1)

    def loss() -> Tensor:
        return functional.cross_entropy(network(windows.batches).logits_BC, choice_B, reduction="sum")

    return {OURS: said.bits, SAMPLE: optimise_bits(network, loss)}


def _rivals(network: Concatenation, windows: Windows, seed: int) -> dict[str, Scores]:
    """Path methods have signs, and evidence may speak for or against: both the sums and their sizes are tried."""
    choice_B1 = answer(network, windows.batches).logits_BC.argmax(1, keepdim=True)

    def encode(batches: Batches) -> Tensor:
        said: Answer = network(batches)
        return said.logits_BC

    signed = {
        "integrated gradients": integrated_gradients(lambda b: encode(b).gather(1, choice_B1)[:, 0], windows.batches),
        "NIB": nib(encode, windows.batches),
    }
    sizes = {f"{name}, size": {n: s.abs() for n, s in score.items()} for name, score in signed.items()}
    return {
        **signed,
        **sizes,
        "M2IB": m2ib(encode, windows.batches, seed=seed),
        "attention rollout": network.rollout(windows.batches),
        "random": sanity.random_scores(windows.batches, seed),
    }


def _sanity(network: FusionNetwork, test: Windows, bits: Scores, few: Windows) -> Json:
    def predict(batches: Batches) -> Tensor:
        said: Answer = network(batches)
        return said.logits_BC

    def attribute(model: nn.Module, batches: Batches) -> Scores:
        return answer(model, batches).bits

    idle = answer(network, test.batches).bits["idle"]
    noise = {n: (bits[n] < ZERO_BITS) & b.mask_BT for n, b in few.batches.items()}
    with torch.no_grad():
        before, after = predict(few.batches), predict(sanity.replace_by_noise(few.batches, noise))
    chance = sanity.random_scores(few.batches)
    return {
        "noise_bits_per_token": float(idle.sum() / test.batches["idle"].mask_BT.sum()),
        "zero_bit_share": _total(noise) / _total({n: b.mask_BT for n, b in few.batches.items()}),
        "zero_bit_change": sanity.zero_bit_change(network, predict, test.batches, ZERO_BITS),
        "change_below_0.05_bits": sanity.zero_bit_change(network, predict, test.batches, 0.05),
        "zero_bit_change_in_front_of_the_gates": float((after - before).norm() / before.norm()),
        "deletion_area": sanity.deletion(predict, few.batches, bits).area,
        "deletion_area_random": sanity.deletion(predict, few.batches, chance).area,
        "insertion_area": sanity.insertion(predict, few.batches, bits).area,
        "insertion_area_random": sanity.insertion(predict, few.batches, chance).area,
        "randomisation_spearman": sanity.randomisation_correlation(network, attribute, few.batches),
    }


def _total(chosen: Scores) -> float:
    return float(sum(part.sum() for part in chosen.values()))


def _with_lost_modalities(train: Callable[[torch.Generator], Windows]) -> Callable[[torch.Generator], Windows]:
    """Half of the batches lack one modality or two, so that M2IB and NIB may ask the network about each by itself."""

    def draw_batch(draw: torch.Generator) -> Windows:
        windows = train(draw)
        names = list(windows.batches)
        kept = names if torch.rand((), generator=draw) < 0.5 else [names[int(torch.randint(3, (), generator=draw))]]
        return windows._replace(batches={name: windows.batches[name] for name in kept})

    return draw_batch


def retrained(seed: int, steps: int) -> Json:
    """ROAR: accuracy of networks trained anew without the tokens of most bits, and without random ones."""
    world = World(PLANTED_SENSORS, seed)
    torch.manual_seed(seed)
    pool, test = planted(world, "train", POOL), planted(world, "test", TEST)
    guide = FusionNetwork(world.specs, CLASSES)
    fit(guide, from_pool(pool), steps, BETA, seed)

    def train(prune: sanity.Prune) -> float:
        network = FusionNetwork(world.specs, CLASSES)
        fit(network, from_pool(pool._replace(batches=prune(pool.batches))), steps, 0.0, seed, supervised)
        return float(right(answer(network, prune(test.batches)).logits_BC, test.labels).mean())

    curves = {
        "bits": sanity.remove_and_retrain(train, lambda b: answer(guide, b).bits, (0.3,)),
        "random": sanity.remove_and_retrain(train, sanity.random_scores, (0.3,)),
    }
    accuracy = {name: float(curve.value_N[0]) for name, curve in curves.items()}
    return {"experiment": "remove and retrain", "seed": seed, "share_removed": 0.3, "accuracy": accuracy}
