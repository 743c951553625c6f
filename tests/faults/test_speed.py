"""What a stated speed is worth against lines that are not the shaft's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iotlam_faults.advice import advice
from iotlam_faults.diagnose import diagnose
from iotlam_faults.physics.speed import shaft_speed, speeds
from iotlam_faults.signals import Signal
from iotlam_faults.verdict import judge
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate

RATE_HZ = 12_800.0
ORDERS = BEARINGS["6205"].orders


def struck(rpm: float, turns: float, seed: int) -> torch.Tensor:
    """Strikes of an outer race on a shaft that turns evenly and leaves no lines of its own."""
    rng, hz = np.random.default_rng(seed), rpm / 60.0
    values_N = 0.05 * rng.normal(size=int(turns / hz * RATE_HZ))
    count = np.arange(1, int(ORDERS.outer * turns))
    at = ((count + 0.003 * rng.normal(size=len(count))) / (ORDERS.outer * hz) * RATE_HZ).astype(int)
    blows_N = np.zeros(len(values_N))
    blows_N[at[(at > 0) & (at < len(values_N))]] = 1.0
    ring = np.exp(-np.arange(200) / 40.0) * np.sin(2.0 * np.pi * 3000.0 * np.arange(200) / RATE_HZ)
    return torch.from_numpy(values_N + np.convolve(blows_N, ring)[: len(values_N)]).float()


@pytest.mark.parametrize(
    ("rpm", "turns"), [(30.0, 22.0), (60.0, 40.0), (300.0, 100.0), (1470.0, 25.0), (1470.0, 490.0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_seen_where_the_shaft_leaves_no_lines(rpm: float, turns: float, seed: int) -> None:
    found = judge(struck(rpm, turns, seed), RATE_HZ, rpm / 60.0, ORDERS)
    assert found.faults == ("outer",)
    assert found.speed.hz == pytest.approx(rpm / 60.0, rel=0.004)


@pytest.mark.parametrize("seed", range(3))
def test_hum_of_the_mains_is_no_speed(seed: int) -> None:
    machine = Machine(speed_hz=1470.0 / 60.0, faults=(Fault("outer", 0.7),), vibration_rate_hz=RATE_HZ)
    values_N = simulate(machine, 5.0, seed).vibration_NA[:, 0]
    time_N = np.arange(len(values_N)) / RATE_HZ
    for hum_hz in (50.0, 100.0, 150.0, 200.0):
        values_N = values_N + 0.3 * np.sin(2.0 * np.pi * hum_hz * time_N)
    found = judge(torch.from_numpy(values_N).float(), RATE_HZ, machine.speed_hz, machine.bearing.orders)
    assert found.faults == ("outer",) and not found.speed.contradicted


@pytest.mark.parametrize("off", [1.0, 1.02])
def test_of_a_fast_shaft_the_harmonics_that_the_rate_holds_count(off: float) -> None:
    machine = Machine(speed_hz=500.0, vibration_rate_hz=8000.0)
    values_N = torch.from_numpy(simulate(machine, 4.0, 0).vibration_NA[:, 0]).float()
    time_N = torch.arange(len(values_N)) / 8000.0
    for order in (1, 2, 3):
        values_N += 3.0 * torch.sin(2.0 * torch.pi * 500.0 * order * time_N)
    assert shaft_speed(values_N, 8000.0, 500.0 * off).hz == pytest.approx(500.0, rel=0.003)


def test_of_few_turns_the_stated_speed_stands() -> None:
    machine = Machine(speed_hz=26.0, vibration_rate_hz=RATE_HZ)
    values_N = torch.from_numpy(simulate(machine, 8.0, 0).vibration_NA[:, 0]).float()
    assert shaft_speed(values_N[: int(3.9 * RATE_HZ)], RATE_HZ, 25.6).hz == 25.6
    likeliest, stated = speeds(values_N, RATE_HZ, 25.6)
    assert likeliest.contradicted and likeliest.hz == pytest.approx(26.0, rel=0.003)
    assert not stated.contradicted and stated.hz == pytest.approx(25.6, rel=0.004)


def test_another_speed_than_was_stated_is_no_all_clear() -> None:
    machine = Machine(speed_hz=26.0, vibration_rate_hz=RATE_HZ, play=0.8)
    values_N = simulate(machine, 10.0, 1).vibration_NA[:, 0].astype(np.float32)
    answer = diagnose(Signal(values_N, RATE_HZ, "bearing", "pump.npz", 25.5, BEARINGS["6205"]))
    assert answer.verdict is not None and answer.verdict.speed.contradicted and not answer.damaged
    assert answer.blind and "the shaft's own lines say 1560" in answer.doubts[0]
    assert "Nothing is to be done" not in advice(answer)[0]


@pytest.mark.parametrize("at_mains", [False, True])
def test_lines_where_the_supply_draws_its_own_are_doubted(at_mains: bool) -> None:
    rpm = 60.0 * 100.0 / ORDERS.outer * (1.0 if at_mains else 1.02)
    values_N = struck(rpm, 150.0, 0).numpy()
    answer = diagnose(Signal(values_N, RATE_HZ, "bearing", "fan.npz", rpm / 60.0, BEARINGS["6205"]))
    assert answer.faults == ("outer",)
    assert any("where the supply draws lines too" in doubt for doubt in answer.doubts) is at_mains


def test_what_only_swells_with_the_cage_is_doubted() -> None:
    values_N = np.random.default_rng(0).normal(size=int(10.0 * RATE_HZ)).astype(np.float32)
    time_N = np.arange(len(values_N)) / RATE_HZ
    values_N *= 1.0 + 0.8 * np.sin(2.0 * np.pi * 0.398 * 25.0 * time_N).astype(np.float32)
    answer = diagnose(Signal(values_N, RATE_HZ, "bearing", "gear.npz", 25.0, BEARINGS["6205"]))
    assert answer.faults == ("ball",)
    assert any("another shaft at 9.9" in doubt or "another shaft at 10.0" in doubt for doubt in answer.doubts)
