"""Devices that attack a federated run: what they send is well-formed, and wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from iotlam.federated.codec import packed
from iotlam.federated.factors import Factors, Spectrum
from iotlam.federated.messages import Answer, Arrays, Given, Order, changes, content, flat, packed_arrays
from iotlam.training.shards import PRESENT, Sample

FLIP = -4.0
"""Times which a change is sent (Li et al., RSA, AAAI 2019)."""

Orders = Sequence[tuple[Order, Arrays]]
Answers = Mapping[str, tuple[Answer, Arrays]]
"""By device; all changes in eight bits."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What attackers do otherwise than they are asked.

    Attributes:
        learns: from what they have, what they learn from.
        sends: from orders, honest answers of all and the attackers' names, what these send.
    """

    learns: Callable[[Sequence[Sample]], Sequence[Sample]] = lambda learnt: learnt
    sends: Callable[[Orders, Answers, Sequence[str]], Answers] = lambda orders, answers, attackers: answers


def flipped(learnt: Sequence[Sample]) -> list[Sample]:
    """What is sound as faulty, and each fault as none."""
    return [replace(one, targets={**one.targets, PRESENT: 1 - one.targets[PRESENT]}) for one in learnt]


def sign_flip(orders: Orders, answers: Answers, attackers: Sequence[str]) -> Answers:
    """Changes the other way round, and larger."""
    return {name: _forged(answer, _times(sent, FLIP)) for name, (answer, sent) in answers.items() if name in attackers}


def a_little_is_enough(orders: Orders, answers: Answers, attackers: Sequence[str]) -> Answers:
    """Changes just within the spread of honest ones (Baruch et al., NeurIPS 2019), as far as each rank can be them.

    Attackers see all honest answers. Products are compared entry by entry.
    """
    given = {order.device: Given.of(arrays) for order, arrays in orders}
    honest = {
        name: changes(sent, flat(given[name].start, others=given[name].others), eight_bits=True)
        for name, (_, sent) in answers.items()
        if name not in attackers
    }
    needed = len(answers) // 2 + 1 - len(attackers)
    spreads = NormalDist().inv_cdf((len(honest) - needed) / len(honest))
    found = {}
    for name in attackers:
        start, made = given[name].start, {}
        for layer, factors in start.items():
            moved = [_moved(given[other].start[layer], change, layer) for other, change in honest.items()]
            wanted_OI = factors.b_OR @ factors.a_RI + _within(moved, spreads)
            best = Spectrum(*torch.linalg.svd(wanted_OI, full_matrices=False)).best(factors.rank)
            made[f"adapter/{layer}/b"] = (best.b_OR - factors.b_OR).T
            made[f"adapter/{layer}/a"] = best.a_RI - factors.a_RI
        for other in given[name].others:
            made[f"others/{other}"] = _within([change[f"others/{other}"] for change in honest.values()], spreads)
        found[name] = _forged(answers[name][0], packed_arrays(packed(made, {})[0]))
    return found


ATTACKS: Mapping[str, Attack] = {
    "sign flip": Attack(sends=sign_flip),
    "a little is enough": Attack(sends=a_little_is_enough),
    "label flip": Attack(learns=flipped),
}
"""By name."""


def _moved(start: Factors, change: Mapping[str, Tensor], layer: str) -> Tensor:
    b_OR = start.b_OR + change[f"adapter/{layer}/b"].T
    a_RI = start.a_RI + change[f"adapter/{layer}/a"]
    return b_OR @ a_RI - start.b_OR @ start.a_RI


def _within(honest: Sequence[Tensor], spreads: float) -> Tensor:
    together = torch.stack(list(honest))
    return together.mean(0) - spreads * together.std(0)


def _times(sent: Arrays, factor: float) -> Arrays:
    return {
        name: np.multiply(array, factor, dtype=np.float32) if name.endswith("/step") else array
        for name, array in sent.items()
    }


def _forged(answer: Answer, sent: Arrays) -> tuple[Answer, Arrays]:
    return answer.changed(content=content(sent)), sent
