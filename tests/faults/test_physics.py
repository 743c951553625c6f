"""Envelopes, speed and combs: on signals whose truth is known, and on real ones whose damage is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam_faults.answer import CLEAR_NATS
from iotlam_faults.data.catalogue import entries
from iotlam_faults.data.reading import waveforms
from iotlam_faults.diagnose import diagnose
from iotlam_faults.evidence import LINES, lines
from iotlam_faults.physics.combs import Clarity, clarity, order_grid
from iotlam_faults.physics.kurtogram import kurtogram
from iotlam_faults.physics.sidebands import current_lines
from iotlam_faults.physics.speed import ShaftSpeed, shaft_speed
from iotlam_faults.physics.tracking import (
    angle_turns,
    followed,
    over_angle,
    resample_to_angle,
    track_speed,
)
from iotlam_faults.physics.velocity import LIMITS_MM_S, band_hz, no_zone, velocity_rms_mm_s, zone, zones
from iotlam_faults.report import write_page
from iotlam_faults.signals import Signal
from iotlam_faults.telling import in_numbers
from iotlam_faults.verdict import RACE_BOUNDS, judge
from iotlam_machine.bearings import BEARINGS, FaultOrders
from iotlam_machine.machine import Fault, Machine, random_machine
from iotlam_machine.simulate import simulate
from iotlam_waveform.envelope import Bands, Envelopes, modulation, squared_envelopes, surroundings

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


def test_one_race_does_not_lend_the_other_its_lines() -> None:
    """The third line of this outer race lies where the second of a slipping inner race would."""
    store = data()
    entry = next(entry for entry in entries("cwru") if entry.file == "133.mat")
    (wave,) = waveforms(store, entry)
    assert entry.shaft_hz is not None and entry.geometry is not None
    verdict = judge(torch.from_numpy(wave.values_NC[:, 0]), entry.rate_hz, entry.shaft_hz, entry.geometry.orders)
    assert verdict.findings["inner"].reaches(RACE_BOUNDS) and verdict.faults == ("outer",)


def test_lines_beyond_the_spectrum_are_not_looked_for_at_its_end() -> None:
    """An envelope of 1 kHz does not hold an inner race's lines at 12,000 rpm, nor does its last line stand for them."""
    time = torch.arange(60_000) / RATE_HZ
    noise = torch.randn(60_000, generator=torch.Generator().manual_seed(0))
    values = noise * (1.0 + torch.cos(2 * math.pi * 998.0 * time))
    orders = BEARINGS["6205"].orders
    assert clearness(values, RATE_HZ, 200.0, orders)["inner"].depth == 0.0
    nats_L = lines(values[None], RATE_HZ, torch.tensor([200.0]), [orders])[0, : len(LINES)]
    assert all(nats_L[LINES.index(f"inner {times}")] == 0.0 for times in (1, 2, 3)) and nats_L[0] != 0.0


def test_the_kurtogram_finds_where_it_rings() -> None:
    rng, time = np.random.default_rng(0), np.arange(60_000) / RATE_HZ
    struck = np.zeros(len(time))
    struck[:: round(RATE_HZ / 20.0)] = 8.0
    ring = np.exp(-300.0 * time[:2000]) * np.sin(2 * math.pi * 3_300.0 * time[:2000])
    values = rng.normal(size=len(time)) + np.convolve(struck, ring)[: len(time)]
    found = kurtogram(torch.from_numpy(values).float(), RATE_HZ)
    assert found.best_hz[0] < 3_300.0 < found.best_hz[1] and found.best > 3.0
    assert kurtogram(torch.from_numpy(rng.normal(size=60_000)).float(), RATE_HZ).best < 1.0


@pytest.mark.parametrize("tone_hz", [25.0, 160.0, 900.0])
def test_velocity_is_the_integral_of_acceleration(tone_hz: float) -> None:
    time = torch.arange(24_000) / RATE_HZ
    acceleration = 3.0 * torch.cos(2 * math.pi * tone_hz * time) + 9.81
    expected_mm_s = 1e3 * 3.0 / (2 * math.pi * tone_hz) / math.sqrt(2.0)
    assert float(velocity_rms_mm_s(acceleration[None], RATE_HZ, 25.0)) == pytest.approx(expected_mm_s, rel=0.01)


def test_a_slow_shafts_own_rhythm_counts() -> None:
    omega = 2 * math.pi * 5.0
    acceleration = 0.012 * math.sqrt(2.0) * omega * torch.cos(omega * torch.arange(120_000) / RATE_HZ)
    assert float(velocity_rms_mm_s(acceleration[None], RATE_HZ, 5.0)) == pytest.approx(12.0, rel=0.01)
    assert float(velocity_rms_mm_s(acceleration[None], RATE_HZ, None)) < 0.1


@pytest.mark.parametrize(
    ("rate_hz", "shaft_hz", "band", "reason"),
    [
        (RATE_HZ, 10.0, (10.0, 1000.0), ""),
        (RATE_HZ, None, (10.0, 1000.0), ""),
        (RATE_HZ, 9.9, (2.0, 1000.0), ""),
        (RATE_HZ, 1.9, (2.0, 1000.0), "from 120 rpm on"),
        (1000.0, 25.0, (10.0, 500.0), "1000 Hz of sample rate do not hold"),
    ],
)
def test_zones_are_given_where_the_standard_and_the_sample_rate_allow(
    rate_hz: float, shaft_hz: float | None, band: tuple[float, float], reason: str
) -> None:
    assert band_hz(rate_hz, shaft_hz) == band
    assert reason in no_zone(rate_hz, shaft_hz) and bool(reason) == (not zones(4.0, rate_hz, shaft_hz))


def test_the_zones_are_those_of_the_standard() -> None:
    assert [zone(v, "2 rigid") for v in (1.0, 2.0, 4.0, 5.0)] == ["A", "B", "C", "D"]
    assert [zone(4.0, group) for group in LIMITS_MM_S] == ["B", "B", "C", "B"]


def test_page_and_json_say_the_band_that_was_measured(tmp_path: Path) -> None:
    values_N = np.random.default_rng(0).normal(0.0, 30.0, 5000).astype(np.float32)
    answer = diagnose(Signal(values_N, 1000.0, "fan", "fan.npz", shaft_hz=5.0))
    found, text = in_numbers(answer), write_page(answer, tmp_path / "page.html", []).read_text()
    assert found["velocity_band_hz"] == [2.0, 500.0] and found["velocity_zone"] == {}
    assert "2 to 500 Hz" in text and "No zone by ISO 20816-3" in text and "housing moves hard" not in text


def sweep(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """A damaged outer race while the speed swings by a fifth, and the true speed."""
    machine = Machine(faults=(Fault("outer", 0.5, 0.05), Fault("imbalance", 0.3)), structure=seed, unsteady=0.002)
    run = simulate(machine, 10.0, seed, lambda time_s: 29.5 * (1.0 + 0.2 * np.sin(2 * math.pi * time_s / 10.0)))
    return torch.from_numpy(run.vibration_NA[:, 0]).float(), run.speed_hz


@pytest.mark.parametrize("seed", range(3))
def test_the_speed_is_followed_without_a_tachometer(seed: int) -> None:
    values_N, speed_N = sweep(seed)
    error_N = np.abs(track_speed(values_N, RATE_HZ, (20.0, 40.0)).numpy() / speed_N - 1.0)
    assert np.median(error_N) < 0.004 and np.quantile(error_N, 0.95) < 0.01


@pytest.mark.parametrize("tacho", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_order_tracking_gathers_the_line_that_the_sweep_smears(seed: int, tacho: bool) -> None:
    values_N, speed_N = sweep(seed)
    measured_N = torch.from_numpy(speed_N).float() if tacho else None
    speed = followed(values_N, RATE_HZ, shaft_speed(values_N, RATE_HZ, 29.5), measured_N)
    smeared = squared_envelopes(values_N[None], RATE_HZ, Bands.up_to(5640.0))
    outer_hz, heights = 29.5 * BEARINGS["6205"].orders.outer, []
    for envelopes, within in ((over_angle(smeared, speed), 0.02), (smeared, 0.22)):
        hertz_F = torch.fft.rfftfreq(envelopes.values_BKM.shape[-1], 1.0 / envelopes.rate_hz)
        heights.append(modulation(envelopes.values_BKM)[0, :, (hertz_F / outer_hz - 1.0).abs() < within].amax(-1))
    assert 20.0 * math.log10(float((heights[0] / heights[1]).max())) > 10.0


def test_a_steady_speed_is_not_followed() -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(3):
        run = simulate(Machine(structure=seed), 10.0, seed)
        for values_N in (torch.from_numpy(run.vibration_NA[:, 0]).float(), torch.randn(120_000, generator=generator)):
            steady = shaft_speed(values_N, RATE_HZ, 29.5)
            assert followed(values_N, RATE_HZ, steady) is steady
            measured = followed(values_N, RATE_HZ, steady, torch.full((120_000,), 29.4))
            assert measured.hz == pytest.approx(29.4) and measured.path_N is None


def test_a_signal_over_its_own_angle_is_periodic() -> None:
    time = torch.arange(48_000).double() / RATE_HZ
    speed_N = 20.0 + 4.0 * time
    turns_N = angle_turns(speed_N, RATE_HZ)
    angular = resample_to_angle(torch.cos(2 * math.pi * 5 * turns_N), turns_N, 64)
    spectrum = torch.fft.rfft(angular * torch.hann_window(len(angular)).double()).abs()
    assert float(spectrum.argmax()) * 64 / len(angular) == pytest.approx(5.0, abs=0.02)
    assert float(spectrum.square().topk(4).values.sum() / spectrum.square().sum()) > 0.999


@pytest.mark.parametrize("kind", ["outer", "inner", "ball"])
@pytest.mark.parametrize("phases", [1, 3])
def test_sidebands_of_a_damaged_bearing_stand_in_the_current_where_they_truly_are(kind: str, phases: int) -> None:
    machine = Machine(speed_hz=24.0, faults=(Fault(kind, 0.9, 0.05),))  # type: ignore[arg-type]
    run = simulate(machine, 10.0, 3)
    shaft_hz = float(run.speed_hz.mean())
    current_NP = torch.from_numpy(run.current_NP[:, :phases]).float()
    found = current_lines(current_NP, machine.current_rate_hz, shaft_hz, machine.bearing.orders)
    true = {"outer": run.orders.outer, "inner": run.orders.inner, "ball": 2.0 * run.orders.ball}
    assert found.lines[kind].hz == pytest.approx(true[kind] * shaft_hz, rel=0.003)
    assert found.lines[kind].nats > 2.0
    assert found.supply_hz == pytest.approx(2 * shaft_hz / (1.0 - 0.03 * machine.load), rel=1e-3)


def test_a_sound_motor_has_no_sidebands_of_bearings_and_even_phases() -> None:
    run = simulate(Machine(speed_hz=24.0), 10.0, 3)
    sound = current_lines(torch.from_numpy(run.current_NP).float(), 5000.0, 24.0, BEARINGS["6205"].orders)
    assert max(sound.lines[name].nats for name in ("outer", "inner", "ball")) < 1.0 and sound.uneven < 0.03
    shorted = simulate(Machine(speed_hz=24.0, faults=(Fault("winding", 0.5),)), 10.0, 3)
    assert current_lines(torch.from_numpy(shorted.current_NP).float(), 5000.0, 24.0, None).uneven > 0.05


@pytest.mark.parametrize("pole_pairs, speed_hz", [(2, 24.0), (1, 48.5), (2, 29.4)])
def test_harmonics_of_the_supply_are_no_sidebands_of_any_bearing(pole_pairs: int, speed_hz: float) -> None:
    for name, bearing in BEARINGS.items():
        run = simulate(Machine(bearing=bearing, speed_hz=speed_hz, pole_pairs=pole_pairs, load=0.6), 10.0, 3)
        found = current_lines(torch.from_numpy(run.current_NP).float(), 5000.0, speed_hz, bearing.orders)
        clear = {one: line.nats for one, line in found.lines.items() if one != "shaft" and line.nats >= CLEAR_NATS}
        assert not clear, name


@pytest.mark.parametrize("name", ["6203", "ER-10K", "6205"])
@pytest.mark.parametrize(("seconds", "off"), [(10.0, 1.0), (10.0, 1.0018), (3.0, 0.9982)])
def test_harmonics_of_the_shaft_are_no_sidebands_of_any_bearing(name: str, seconds: float, off: float) -> None:
    shaft_hz, time_N = 24.37, np.arange(int(5000.0 * seconds)) / 5000.0
    swell_N = sum(0.03 / order * np.cos(2 * math.pi * order * shaft_hz * time_N + order) for order in range(1, 7))
    current_N = 5.0 * (1.0 + swell_N) * np.cos(2 * math.pi * 50.2 * time_N)
    current_N += np.random.default_rng(0).normal(0.0, 0.005, len(time_N))
    found = current_lines(torch.from_numpy(current_N)[:, None].float(), 5000.0, off * shaft_hz, BEARINGS[name].orders)
    assert found.lines["shaft"].nats > 2.0 * CLEAR_NATS
    assert max(line.nats for one, line in found.lines.items() if one != "shaft") < 1.0


@pytest.mark.parametrize("kind", ["outer", "inner"])
def test_sidebands_of_a_bearing_near_the_shafts_harmonics_are_seen(kind: str) -> None:
    machine = Machine(bearing=BEARINGS["6203"], speed_hz=24.0, faults=(Fault(kind, 0.9, 0.05),))  # type: ignore[arg-type]
    run = simulate(machine, 10.0, 3)
    found = current_lines(torch.from_numpy(run.current_NP).float(), 5000.0, 24.0, machine.bearing.orders)
    assert found.lines[kind].nats > CLEAR_NATS


def test_a_motor_without_current_is_named() -> None:
    with pytest.raises(BadInput, match="a current that flows"):
        current_lines(torch.zeros(5000, 3), 5000.0, 24.0, None)


@pytest.mark.parametrize("slowest_hz", [0.01, 5.0])
def test_a_slow_start_takes_no_more_memory_than_its_turns(slowest_hz: float) -> None:
    speed_N = torch.linspace(slowest_hz, 30.0, 20_000)
    wave_BKM = torch.sin(2.0 * np.pi * 3.6 * angle_turns(speed_N, 2000.0)).float().reshape(1, 1, -1)
    smeared = Envelopes(wave_BKM, 2000.0, torch.ones(1, 1), Bands.of_rate(RATE_HZ), False)
    found = over_angle(smeared, ShaftSpeed(float(speed_N.mean()), 30.0, False, speed_N))
    count = found.values_BKM.shape[-1]
    assert count <= 8.1 * wave_BKM.shape[-1]
    if slowest_hz == 5.0:  # all that the signal holds is kept
        assert found.rate_hz / float(speed_N.mean()) == 400.0
    order = int(torch.fft.rfft(found.values_BKM[0, 0]).abs().argmax()) * found.rate_hz / count / float(speed_N.mean())
    assert order == pytest.approx(3.6, abs=0.01)
