"""Evidence of many windows at once: lines where they should be, what rings and not how loudly, baselines, the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iotlam_faults.baseline import CHANGED, Baseline, profile
from iotlam_faults.evidence import LINES, evidence, levels, line_orders
from iotlam_faults.head import Columns, Head, Linear, Ringing, compete
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate

RATE_HZ = 12_000.0
ORDERS = BEARINGS["6205"].orders


def window(seed: int, *faults: Fault, structure: int = 3) -> tuple[torch.Tensor, float]:
    machine = Machine(structure=structure, vibration_rate_hz=RATE_HZ, faults=faults)
    run = simulate(machine, 1.0, seed)
    return torch.from_numpy(run.vibration_NA[:, 0]).float(), float(run.speed_hz.mean())


def batch(*windows: tuple[torch.Tensor, float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([values for values, _ in windows]), torch.tensor([shaft_hz for _, shaft_hz in windows])


def test_the_lines_are_named_as_they_are_placed() -> None:
    order = dict(zip(LINES, line_orders(ORDERS), strict=True))
    assert order["outer 2"] == pytest.approx(2 * ORDERS.outer)
    assert order["inner 1-"] == pytest.approx(ORDERS.inner - 1.0)
    assert order["ball 2+"] == pytest.approx(4 * ORDERS.ball + ORDERS.cage)
    assert order["cage 3"] == pytest.approx(3 * ORDERS.cage)


@pytest.mark.parametrize("fault", ["outer", "inner"])
def test_a_damaged_race_shows_in_its_own_lines(fault: str) -> None:
    values_BN, shaft_B = batch(window(1), window(1, Fault(fault, 0.6, 0.05)))
    white_BL = evidence(values_BN, RATE_HZ, shaft_B, [ORDERS] * 2).lines_BC[:, 2 * len(LINES) : 3 * len(LINES)]
    gain_L = dict(zip(LINES, white_BL[1] - white_BL[0], strict=True))
    assert gain_L[f"{fault} 1"] > 1.0
    assert max(gain_L, key=lambda name: gain_L[name]).startswith(fault)


def test_a_window_looks_the_same_alone_and_among_others() -> None:
    values_BN, shaft_B = batch(*(window(seed, Fault("ball", 0.5, 0.05)) for seed in range(3)))
    shaft_B[0] *= 1.4  # as if one machine turned faster
    together = evidence(values_BN, RATE_HZ, shaft_B, [ORDERS] * 3)
    for row in range(3):
        alone = evidence(values_BN[row : row + 1], RATE_HZ, shaft_B[row : row + 1], [ORDERS])
        np.testing.assert_allclose(alone.lines_BC[0], together.lines_BC[row], atol=2e-3)
        np.testing.assert_allclose(alone.levels_BC[0], together.levels_BC[row], atol=1e-4)


def test_levels_say_what_rings_and_not_how_loudly() -> None:
    values_BN, shaft_B = batch(window(2), window(2))
    values_BN[1] *= 7.0
    found = evidence(values_BN, RATE_HZ, shaft_B, [ORDERS] * 2)
    np.testing.assert_allclose(found.levels_BC[0], found.levels_BC[1], atol=1e-4)
    np.testing.assert_allclose(found.lines_BC[0], found.lines_BC[1], atol=1e-2)
    profile_BC = profile(found.levels_BC, values_BN)
    assert profile_BC[1, -1] - profile_BC[0, -1] == pytest.approx(2.0 * np.log(7.0), abs=1e-3)


def profiles(*windows: tuple[torch.Tensor, float]) -> np.ndarray:
    values_BN, _ = batch(*windows)
    return profile(levels(values_BN, RATE_HZ), values_BN)


@pytest.mark.parametrize("learnt", [1, 12])
def test_a_baseline_tells_the_sound_machine_from_the_damaged(learnt: int) -> None:
    baseline = Baseline.fit(profiles(*(window(seed) for seed in range(learnt))))
    assert baseline.change(profiles(*(window(seed) for seed in range(100, 110)))).max() < CHANGED / 2.0
    for fault in ("inner", "outer"):
        assert baseline.change(profiles(window(7, Fault(fault, 0.95, 0.05))))[0] > CHANGED


def test_a_baseline_of_more_windows_trusts_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    steady_WC = rng.normal(0.0, 0.05, (40, 10))
    one, many = Baseline.fit(steady_WC[:1]), Baseline.fit(steady_WC)
    moved_C = np.full((1, 10), 0.4)
    assert many.change(moved_C)[0] > 2.0 * one.change(moved_C)[0]


def test_faults_compete() -> None:
    found = compete(np.array([[2.0, 0.0, 0.0], [2.0, 2.0, -9.0]]))
    assert found[0, 0] > 0.0 > found[0, 1]
    assert found[1, 0] == pytest.approx(0.0, abs=1e-3) and found[1, 1] == pytest.approx(0.0, abs=1e-3)


def columns(rng: np.random.Generator, faults_W: np.ndarray, groups_W: np.ndarray, parts_W: np.ndarray) -> Columns:
    """Lines tell races apart; only what rings tells balls, at each place otherwise."""
    lines_WC = rng.normal(0.0, 1.0, (len(faults_W), 6))
    lines_WC[:, 0] += 3.0 * (faults_W == 0)
    lines_WC[:, 1] += 3.0 * (faults_W == 1)
    wander = {name: rng.normal(0.0, 0.3, 4) for name in np.unique(groups_W)}
    levels_WC = rng.normal(0.0, 0.2, (len(faults_W), 4)) + np.stack([wander[name] for name in groups_W])
    side = np.where(parts_W == "DE", 2.0, -2.0)
    levels_WC[:, 2] += side * (faults_W == 2)
    return Columns(lines_WC, *[lines_WC[:, :0]] * 3, levels_WC, parts_W, lines_WC[:, :0])


def test_the_head_learns_lines_from_all_and_ringing_from_each_place() -> None:
    rng = np.random.default_rng(1)
    faults_W = np.tile(np.repeat([0, 1, 2], 10), 8)
    parts_W = np.repeat(["DE", "FE"], 120)
    groups_W = np.array([f"{parts_W[i]}-{faults_W[i]}-{i // 30}" for i in range(240)])
    seen = columns(rng, faults_W, groups_W, parts_W)
    present_WL = faults_W[:, None] == np.arange(3)
    train, test = np.flatnonzero(np.arange(240) % 120 < 90), np.flatnonzero(np.arange(240) % 120 >= 90)
    head = Head.fit(seen.rows(train), present_WL[train], groups_W[train])
    right = head.scores(seen.rows(test)).argmax(1) == faults_W[test]
    assert set(head.ringing) == {"DE", "FE"} and right.mean() > 0.9
    without = Head(head.physics, None, {}).scores(seen.rows(test)).argmax(1) == faults_W[test]
    assert without.mean() < right.mean() - 0.05


def test_a_fault_that_was_never_seen_gets_odds_that_say_so() -> None:
    rng = np.random.default_rng(0)
    found = Linear.fit(rng.normal(size=(50, 3)), np.zeros((50, 1), bool))
    assert found.scores(rng.normal(size=(5, 3))).max() < -4.0


def test_too_few_windows_of_balls_leave_ringing_out() -> None:
    rng = np.random.default_rng(0)
    present_WL = np.zeros((30, 3), bool)
    present_WL[:3, 2] = present_WL[3:, 0] = True
    assert Ringing.fit(rng.normal(size=(30, 4)), present_WL, np.array(["a"] * 30)) is None
