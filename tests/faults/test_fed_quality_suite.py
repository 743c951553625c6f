from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.bench.federated.places import counted, finished, right
from iotlam.contracts import Json
from iotlam.federated.adapter import RoundModel
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.rounds import Run
from iotlam.training.imitation import ImitationConfig, label_loss
from iotlam.training.shards import PRESENT, Sample
from iotlam_faults.suites import fed_distillation
from iotlam_faults.suites.attacks import ATTACKS, flipped
from iotlam_faults.suites.fed_distillation import FLEET
from iotlam_faults.suites.fed_quality import (
    ALIKE,
    ALONE,
    ATTACKED,
    ATTACKERS,
    CENTRAL,
    CLEAN,
    HONEST,
    MODES,
    ONE_CLASS,
    RANKS,
    ROUNDED,
    _attackable,
    _plant,
    figures,
)

KINDS = ("sound", "inner", "outer", "ball")
WINDOWS = {
    (end, kind): [[counted(1000 * (2 * place + at) + 10 * number + row) for row in range(3)] for number in range(count)]
    for at, end in enumerate(("DE", "FE"))
    for place, (kind, count) in enumerate(zip(KINDS, (1, 3, 4, 3), strict=True))
}
"""Three windows of each bearing, no two alike."""


def first_tokens(samples: Sequence[Sample]) -> set[bytes]:
    return {sample.tokens["video"].tokens_BTD.numpy().tobytes() for sample in samples}


@pytest.mark.parametrize("seed", range(3))
def test_bearings_to_test_with_are_with_no_device(seed: int) -> None:
    plant = _plant(WINDOWS, seed, alike=False)
    learnt = {name: first_tokens(samples) for name, samples in plant.learnt.items()}
    assert len(learnt) == 8 and sorted(plant.ranks.values()) == sorted(RANKS)
    assert len(plant.test) == 6 * 3 and not first_tokens(plant.test) & set().union(*learnt.values())
    for (end, kind), bearings in WINDOWS.items():
        held = first_tokens([sample for bearing in bearings for sample in bearing])
        assert learnt[f"{end} {kind}"] < held or (kind == "sound" and learnt[f"{end} {kind}"] == held)


def test_alike_devices_share_all_that_is_learnt_from() -> None:
    apart, alike = (_plant(WINDOWS, 1, alike) for alike in (False, True))
    counts = [len(samples) for samples in alike.learnt.values()]
    assert sum(counts) == sum(map(len, apart.learnt.values())) and max(counts) - min(counts) <= 1
    attackable = _attackable(WINDOWS, 1)
    assert len(attackable.learnt) == HONEST + ATTACKERS and sum(map(len, attackable.learnt.values())) == sum(counts)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attackers_answers_are_well_formed_and_the_rule_withstands_them(tmp_path: Path, attack: str) -> None:
    """With the mean a round of attackers moves the model elsewhere; with multi-Krum less so."""
    torch.set_num_threads(1)
    task = Task(finished(tmp_path, 1), label_loss, right, ImitationConfig(batch=4))
    moved = {
        (rule, hit): after_a_round(task, tmp_path, rule, attack * hit)
        for rule in ("mean", "multi_krum")
        for hit in (0, 1)
    }
    apart = {rule: float((moved[rule, 1] - moved[rule, 0]).norm()) for rule in ("mean", "multi_krum")}
    assert apart["mean"] > 1e-4, "an attack that changes nothing"
    if attack == "sign flip":
        assert apart["multi_krum"] < 0.5 * apart["mean"]


def after_a_round(task: Task, folder: Path, rule: str, attack: str) -> torch.Tensor:
    how, names = ATTACKS.get(attack), [f"d{n}" for n in range(10)]
    models: dict[int, RoundModel] = {}
    devices = {}
    for place, name in enumerate(names):
        samples = [counted(100 * place + row) for row in range(8)]
        learnt = how.learns(samples) if how and place < ATTACKERS else samples
        devices[name] = Local(name, task, LocalData(learnt, []), folder / rule / attack / name, models)
    enrolled = tuple(Enrolled(name, 2 + place % 3, 8) for place, name in enumerate(names))
    attackers = ATTACKERS if rule == "multi_krum" else 0
    config = RunConfig(enrolled, rounds=1, steps=3, learning_rate=1e-2, rule=rule, attackers=attackers)
    run = Run(folder / rule / f"run-{attack}", task.base, config)
    orders = run.orders()
    answers = {order.device: devices[order.device].work(order, arrays) for order, arrays in orders}
    forged = how.sends(orders, answers, names[:ATTACKERS]) if how else {}
    for device, sent in {**answers, **forged}.items():
        assert run.take(device, run.number, *sent) == "taken"
    run.close({})
    found = torch.cat(
        [
            parameter.detach().flatten()
            for name, parameter in run.model().named_parameters()
            if "lora" in name or "head" in name
        ]
    )
    run.leave()
    return found


def test_flipped_labels_say_the_opposite() -> None:
    sample = counted(3)
    (other,) = flipped([sample])
    np.testing.assert_array_equal(other.targets[PRESENT], 1 - sample.targets[PRESENT])


def curve_row(setting: str, method: str, seed: int, curve: list[float], up: int = 1) -> Json:
    facts = {"setting": setting, "method": method, "seed": seed, "curve": curve}
    weakest = 0.45 if method == "stack" else 0.9
    return {**facts, "up_bytes": [up] * len(curve), "up_share": 0.01, "weakest": weakest, "strongest": 0.9}


def test_the_figures_follow_from_the_rows() -> None:
    """Ours sends a quarter in a round: at equal bytes zero-padding has had one round when ours has had four."""
    rows: list[Json] = []
    for seed in range(3):
        ends = {CENTRAL: 0.95, ALONE: 0.6, **dict.fromkeys(MODES[2:], 0.8)}
        rows += [curve_row(ONE_CLASS, method, seed, [0.5, 0.5, 0.5, end]) for method, end in ends.items()]
        rows.append(curve_row(ONE_CLASS, "product_svd", seed, [0.5, 0.92, 0.91, 0.94]))
        rows.append(curve_row(ONE_CLASS, "zero_pad", seed, [0.7, 0.8, 0.9, 0.92], 4))
        rows.append(curve_row(ONE_CLASS, ROUNDED, seed, [0.7, 0.8, 0.9, 0.93]))
        rows += [curve_row(ALIKE, method, seed, [0.9]) for method in (CENTRAL, *MODES[:2])]
        rows += [curve_row(ATTACKED, CLEAN, seed, [0.9])]
        rows += [curve_row(ATTACKED, name, seed, [0.9 - 0.09 * place]) for place, name in enumerate(ATTACKS)]
    found = figures(rows)
    assert found["gap_to_central_one_class_per_client_points"].value == pytest.approx(1.0)
    assert found["above_zero_pad_points"].value == pytest.approx(2.0)
    assert found["above_zero_pad_at_equal_bytes_points"].value == pytest.approx(24.0)
    assert found[f"above_{ROUNDED}_at_equal_bytes_points"].value == pytest.approx(1.0)
    assert found["weakest_tier_over_strongest"].anchor.endswith("fold 1.0000, stack 0.5000")
    assert found["bytes_to_target_over_zero_pad"].value == pytest.approx(2 / 16)
    assert found["byzantine_30pct_retained"].value == pytest.approx(0.8)
    assert not found["byzantine_30pct_retained"].met and found["weakest_tier_over_strongest"].met


def test_gains_of_own_modules_follow_from_the_rows() -> None:
    """Half of the devices gain six points over learning alone, the others lose one."""
    rows: list[Json] = []
    for seed in range(2):
        facts = {"seed": seed, "own_kinds": 0.8, "best": 0.8}
        rows.append({**facts, "arm": "central", "module": "central", "device": "all", "score": 0.9})
        for arm in ("both ways", "none"):
            rows.append({**facts, "arm": arm, "module": "pooled", "device": "all", "score": 0.9})
        for place, device in enumerate(FLEET):
            gain = 0.06 if place % 2 else -0.01
            rows.append({**facts, "arm": "alone", "module": "alone", "device": device.name, "score": 0.7})
            for module in ("own", "shared", "together"):
                rows.append({**facts, "arm": "both ways", "module": module, "device": device.name, "score": 0.7 + gain})
            rows.append({**facts, "arm": "none", "module": "shared", "device": device.name, "score": 0.7})
    found = fed_distillation.figures(rows)
    assert found["distillation_devices_that_lose"].value == 4 and not found["distillation_devices_that_lose"].met
    assert found["distillation_mean_gain_points"].value == pytest.approx(2.5)
    assert found["distillation_shared_over_central"].value == pytest.approx(1.0)
