"""Envelopes, speed and combs: on signals whose truth is known, and on real ones whose damage is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iotlam_faults.data.catalogue import entries
from iotlam_faults.data.reading import waveforms
from iotlam_faults.physics.combs import Clarity, clarity, order_grid
from iotlam_faults.physics.speed import shaft_speed, surroundings
from iotlam_machine.bearings import BEARINGS, FaultOrders
from iotlam_machine.machine import Fault, Machine, random_machine
from iotlam_machine.simulate import simulate
from iotlam_waveform.envelope import Bands, modulation, squared_envelopes

from .test_catalogue import data

RATE_HZ = 12_000.0


def clearness(values_N: torch.Tensor, rate_hz: float, shaft_hz: float, orders: FaultOrders) -> dict[str, Clarity]:
    envelopes = squared_envelopes(values_N[None], rate_hz, Bands.up_to(0.47 * rate_hz), whiten=True)
    return clarity(order_grid(envelopes, shaft_hz), orders)


def test_bands_cover_what_the_sample_rate_holds() -> None:
    for top_hz in (5640.0, 9400.0, 24_000.0, 30_000.0):
        bands = Bands.up_to(top_hz)
        assert bands.starts_hz[0] == 500.0 and len(bands.starts_hz) <= 12
        assert bands.starts_hz[-1] + bands.width_hz == pytest.approx(top_hz, abs=bands.width_hz / 2)
    slow = Bands.up_to(400.0)
    assert len(slow.starts_hz) == 1 and slow.starts_hz[0] + slow.width_hz == pytest.approx(400.0)


def test_a_modulation_has_the_depth_and_the_place_it_has() -> None:
    time = torch.arange(24_000) / RATE_HZ
    carrier = torch.cos(2 * math.pi * 2_300.0 * time)
    values = torch.stack([carrier, (1.0 + 0.5 * torch.cos(2 * math.pi * 80.0 * time)) * carrier])
    envelopes = squared_envelopes(values, RATE_HZ, Bands((1800.0,), 1000.0))
    depth_BF = modulation(envelopes.values_BKM)[:, 0]
    at = round(80.0 * envelopes.values_BKM.shape[-1] / envelopes.rate_hz)
    assert depth_BF[1].argmax() == at
    assert depth_BF[1, at] == pytest.approx(2 * 0.5 / (1 + 0.5**2 / 2), rel=0.01)  # of the squared envelope
    assert depth_BF[0].max() < 0.01
    assert float(envelopes.level_BK[0]) == pytest.approx(math.sqrt(0.5), rel=0.01)


def test_whitening_takes_down_what_is_steady() -> None:
    """A strong tone beats with the noise and hides a weak modulation, until the spectrum is flat."""
    rng = np.random.default_rng(0)
    time = np.arange(120_000) / RATE_HZ
    noise = rng.normal(size=len(time)) * (1.0 + 0.4 * np.cos(2 * math.pi * 61.0 * time))
    tones = 12.0 * (np.cos(2 * math.pi * 2_000.0 * time) + np.cos(2 * math.pi * 2_147.0 * time))
    values = torch.from_numpy(noise + tones).float()[None]
    found = []
    for whiten in (False, True):
        envelopes = squared_envelopes(values, RATE_HZ, Bands((1500.0,), 1000.0), whiten=whiten)
        depth_F = modulation(envelopes.values_BKM)[0, 0]
        step_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
        at = round(61.0 / step_hz)
        around_F = depth_F[at - 200 : at + 200]
        found.append(float(depth_F[at - 1 : at + 2].max() / around_F.median()))
    assert found[0] < 4.0 < 10.0 < found[1]


def test_surroundings_follow_the_noise_and_not_the_lines() -> None:
    generator = torch.Generator().manual_seed(0)
    level_F = torch.linspace(1.0, 5.0, 4000)
    power_F = level_F * -torch.rand(4000, generator=generator).log()
    power_F[::97] *= 1e4
    found_F = surroundings(power_F[None], 200)[0]
    assert float((found_F / level_F - 1.0).abs().mean()) < 0.15


@pytest.mark.parametrize("stated_hz, contradicted", [(29.5, False), (29.56, False), (30.1, True), (28.9, True)])
def test_the_shafts_speed_is_read_from_its_own_lines(stated_hz: float, contradicted: bool) -> None:
    machine = Machine(faults=(Fault("misalignment", 0.4), Fault("outer", 0.4)), unsteady=0.0)
    values = torch.from_numpy(simulate(machine, 10.0, 0).vibration_NA[:, 0]).float()
    speed = shaft_speed(values, RATE_HZ, stated_hz)
    assert speed.hz == pytest.approx(29.5, rel=0.001)
    assert speed.contradicted == contradicted


def test_noise_contradicts_no_speed() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        assert not shaft_speed(torch.randn(60_000, generator=generator), RATE_HZ, 29.5).contradicted


@pytest.mark.parametrize("kind", ["inner", "outer", "ball"])
@pytest.mark.parametrize("seed", range(4))
def test_a_fault_is_clearest_at_its_own_comb_and_says_how_the_cage_slips(kind: str, seed: int) -> None:
    machine = Machine(faults=(Fault(kind, 0.6, 0.05),), structure=seed, slip=0.006, unsteady=0.0005)  # type: ignore[arg-type]
    run = simulate(machine, 10.0, seed)
    found = clearness(
        torch.from_numpy(run.vibration_NA[:, 0]).float(), RATE_HZ, float(run.speed_hz.mean()), machine.bearing.orders
    )
    assert found[kind].sigmas > 5.0 and found[kind].depth > 0.3
    assert all(found[kind].sigmas > found[other].sigmas for other in ("inner", "outer", "ball") if other != kind)
    true_slip = 0.006 if kind != "ball" else 0.003  # a ball's spin follows half of the cage's slip
    assert found[kind].slip == pytest.approx(true_slip, abs=0.0025)


def test_sound_machines_are_clear_of_nothing() -> None:
    worst = 0.0
    for seed in range(12):
        machine = random_machine(seed).changed(faults=(), vibration_rate_hz=RATE_HZ, roughness=0.0)
        run = simulate(machine, 8.0, seed)
        shaft_hz = float(run.speed_hz.mean())
        found = clearness(torch.from_numpy(run.vibration_NA[:, 0]).float(), RATE_HZ, shaft_hz, machine.bearing.orders)
        worst = max(worst, *(found[kind].sigmas for kind in ("inner", "outer", "ball")))
    assert worst < 6.0


def test_real_races_are_clear_at_their_own_comb_and_no_other() -> None:
    """Records that experts call clear (Smith and Randall 2015), one of each kind and end."""
    store = data()
    for number, kind in (
        (105, "inner"),
        (130, "outer"),
        (234, "outer"),
        (270, "inner"),
        (294, "outer"),
        (3005, "ball"),
    ):
        entry = next(entry for entry in entries("cwru") if entry.file == f"{number}.mat")
        (wave,) = waveforms(store, entry)
        values_N = torch.from_numpy(wave.values_NC[:, 0])
        shaft_hz = shaft_speed(values_N, entry.rate_hz, entry.shaft_hz or 0.0).hz
        found = clearness(values_N, entry.rate_hz, shaft_hz, BEARINGS[entry.model].orders)
        assert max(("inner", "outer", "ball"), key=lambda name: found[name].sigmas) == kind, number
        assert found[kind].sigmas > 6.0, number
