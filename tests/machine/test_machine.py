"""The machine simulator: that what it says of itself is in its signals."""

from __future__ import annotations

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_machine.bearings import BEARINGS, Bearing, find_bearing
from iotlam_machine.machine import Fault, Machine, random_machine, when_sound
from iotlam_machine.shaft import turning
from iotlam_machine.simulate import simulate
from iotlam_machine.strikes import LoadZone, strikes

RATE_HZ = 20_000.0


def line(values_N: np.ndarray, rate_hz: float, hertz: float) -> float:
    """Amplitude of a line."""
    window_N = np.hanning(len(values_N))
    spectrum_F = np.abs(np.fft.rfft((values_N - values_N.mean()) * window_N)) * 2.0 / window_N.sum()
    at = round(hertz * len(values_N) / rate_hz)
    return float(spectrum_F[at - 2 : at + 3].max())


def test_orders_are_those_of_the_published_tables() -> None:
    drive, fan = find_bearing("SKF 6205-2RS JEM").orders, find_bearing("6203").orders
    # Smith and Randall (2015), table 2.
    np.testing.assert_allclose(
        [drive.inner, drive.outer, drive.cage, drive.ball], [5.415, 3.585, 0.3983, 2.357], rtol=1e-3
    )
    np.testing.assert_allclose([fan.inner, fan.outer, fan.cage, fan.ball], [4.947, 3.053, 0.3816, 1.994], rtol=1e-3)
    for bearing in BEARINGS.values():
        assert bearing.orders.balls == bearing.balls
        assert bearing.orders.inner > bearing.orders.outer


def test_a_bearing_that_is_none_says_what_to_give() -> None:
    with pytest.raises(BadInput, match="give its geometry instead"):
        find_bearing("9999-X")
    with pytest.raises(ValueError, match="40 elements of 10 mm"):
        Bearing(balls=40, ball_mm=10.0, pitch_mm=50.0)


@pytest.mark.parametrize("fault", ["outer", "inner", "ball"])
@pytest.mark.parametrize("slip", [-0.01, 0.0, 0.01])
def test_strikes_come_as_often_as_the_geometry_and_the_slip_say(fault: str, slip: float) -> None:
    orders = BEARINGS["6205"].orders
    turns = turning(np.random.default_rng(1), BEARINGS["6205"], np.full(400_000, 30.0), RATE_HZ, slip, 0.0)
    found = strikes(np.random.default_rng(2), fault, turns, LoadZone(), 0.1)
    outer = orders.outer * (1.0 + slip)
    order = {"outer": outer, "inner": orders.balls - outer, "ball": 2.0 * orders.ball * (1.0 + slip / 2.0)}[fault]
    power_F = np.abs(np.fft.rfft(found)) ** 2
    hertz_F = np.fft.rfftfreq(len(found), 1.0 / RATE_HZ)
    near_F = np.abs(hertz_F / (30.0 * order) - 1.0) < 0.04
    assert hertz_F[near_F][power_F[near_F].argmax()] == pytest.approx(30.0 * order, rel=0.003)


def test_the_load_zone_decides_how_hard() -> None:
    zone = LoadZone(at=0.0, spread=0.5)
    np.testing.assert_allclose(zone.load(np.array([0.0, 0.25, 0.5])), [1.0, 0.0, 0.0], atol=1e-12)
    assert LoadZone(spread=1.0).load(np.array([0.25]))[0] == pytest.approx(0.5**1.5)


def test_a_run_is_its_seed() -> None:
    machine = random_machine(7)
    one, same, other = (simulate(machine, 2.0, seed) for seed in (3, 3, 4))
    for name in ("vibration_NA", "current_NP", "temperature_N", "speed_hz"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_frames_are_a_second_each_on_one_clock_that_drifts() -> None:
    machine = Machine(axes=3, drift_ppm=100.0)
    frames = list(simulate(machine, 3.0, 0).frames(start_ns=5))
    assert [frame.sensor for frame in frames] == ["bearing", "motor"] * 3
    assert [frame.t_ns for frame in frames[::2]] == [5 + round(second * 1_000_100_000) for second in (1, 2, 3)]
    assert {frame.data.shape for frame in frames[::2]} == {(12_000, 3)}
    assert {frame.data.shape for frame in frames[1::2]} == {(5_000, 3)}
    assert np.allclose(frames[0].meta["shaft_hz"], machine.speed_hz, rtol=0.01)


def test_machines_of_one_kind_share_their_structure_and_not_their_noise() -> None:
    machine = Machine(structure=3)
    spectra = [np.abs(np.fft.rfft(simulate(machine, 4.0, seed).vibration_NA[:, 0])).reshape(-1)[:-1] for seed in (1, 2)]
    smooth = [np.log(spectrum.reshape(-1, 200).mean(1)) for spectrum in spectra]
    assert np.corrcoef(*smooth)[0, 1] > 0.95
    other = np.abs(np.fft.rfft(simulate(machine.changed(structure=4), 4.0, 1).vibration_NA[:, 0]))[:-1]
    assert np.corrcoef(smooth[0], np.log(other.reshape(-1, 200).mean(1)))[0, 1] < 0.8


@pytest.mark.parametrize("kind, order", [("imbalance", 1), ("misalignment", 2)])
def test_the_shafts_own_faults_are_at_its_harmonics(kind: str, order: int) -> None:
    faulty, sound = (
        simulate(Machine(faults=faults, unsteady=0.0), 8.0, 0).vibration_NA[:, 0]
        for faults in ((Fault(kind, 0.8),), ())  # type: ignore[arg-type]
    )
    assert line(faulty, 12_000.0, order * 29.5) > 8.0 * line(sound, 12_000.0, order * 29.5)


def test_shorted_turns_make_the_phases_uneven() -> None:
    def unevenness(faults: tuple[Fault, ...]) -> float:
        levels = simulate(Machine(faults=faults), 4.0, 0).current_NP.std(0)
        return float(levels.max() / levels.min() - 1.0)

    assert unevenness(()) < 0.03 < 0.1 < unevenness((Fault("winding", 0.8),))


def test_a_damaged_bearing_puts_sidebands_about_the_supply() -> None:
    def sideband(faults: tuple[Fault, ...]) -> float:
        machine = Machine(faults=faults, unsteady=0.0, slip=0.0)
        run = simulate(machine, 16.0, 0)
        supply_hz = machine.pole_pairs * machine.speed_hz / (1.0 - 0.03 * machine.load)
        outer_hz = machine.bearing.orders.outer * machine.speed_hz
        return line(run.current_NP[:, 0], machine.current_rate_hz, supply_hz + outer_hz)

    assert sideband((Fault("outer", 0.9),)) > 5.0 * sideband(())


def test_a_worn_bearing_runs_hotter() -> None:
    cool, hot = (
        simulate(Machine(faults=faults), 5.0, 0).temperature_N.mean() for faults in ((), (Fault("outer", 1.0),))
    )
    assert hot > cool + 5.0


def test_machines_at_random_differ_in_all_that_a_model_must_not_learn_by_heart() -> None:
    machines = [random_machine(seed) for seed in range(300)]
    faulty = [machine for machine in machines if any(machine.fault(kind) for kind in ("inner", "outer", "ball"))]
    assert 0.4 < len(faulty) / len(machines) < 0.6
    assert len({machine.bearing.balls for machine in machines}) > 8
    assert len({machine.vibration_rate_hz for machine in machines}) == 5
    assert max(m.speed_hz for m in machines) / min(m.speed_hz for m in machines) > 5.0


def test_every_bearing_fault_of_a_machine_at_random_shows() -> None:
    def with_one(seed: int) -> bool:
        return any(fault.kind == "outer" for fault in random_machine(seed).faults)

    for seed in [seed for seed in range(120) if with_one(seed)][:20]:
        machine = random_machine(seed).changed(vibration_rate_hz=12_000.0, current_rate_hz=500.0)
        sound = machine.changed(faults=tuple(fault for fault in machine.faults if fault.kind != "outer"))
        assert (simulate(machine, 1.0, 0).vibration_NA != simulate(sound, 1.0, 0).vibration_NA).mean() > 0.9
    nowhere = Machine(faults=(Fault("outer", 1.0, place=0.5),), zone_spread=0.4)
    np.testing.assert_array_equal(
        simulate(nowhere, 1.0, 0).vibration_NA, simulate(nowhere.changed(faults=()), 1.0, 0).vibration_NA
    )


def test_a_machine_rings_where_it_does_whatever_the_sensors_rate() -> None:
    levels = []
    for rate_hz in (24_000.0, 48_000.0):
        values_N = simulate(Machine(structure=5, vibration_rate_hz=rate_hz), 8.0, 1).vibration_NA[:, 0]
        spectrum_F = np.abs(np.fft.rfft(values_N))[: 8 * 10_000]  # up to 10 kHz
        levels.append(np.log(spectrum_F.reshape(-1, 400).mean(1)))
    assert np.corrcoef(*levels)[0, 1] > 0.95


def test_imbalance_grows_as_the_shaft_runs_up() -> None:
    machine = Machine(faults=(Fault("imbalance", 1.0),), unsteady=0.0)
    run = simulate(machine, 8.0, 0, lambda time_s: np.where(time_s < 4.0, 15.0, 45.0))
    slow, fast = (run.vibration_NA[part, 0] for part in (slice(0, 48_000), slice(48_000, None)))
    assert line(fast, 12_000.0, 45.0) == pytest.approx(9.0 * line(slow, 12_000.0, 15.0), rel=0.1)


def test_frames_state_the_speed_as_readers_spread_it() -> None:
    run = simulate(Machine(unsteady=0.0), 4.0, 0, lambda time_s: 20.0 + 5.0 * time_s)
    for second, frame in enumerate(list(run.frames())[::2]):
        assert frame.meta["shaft_hz"][[0, -1]] == pytest.approx([20.0 + 5.0 * second, 25.0 + 5.0 * second], rel=1e-3)


def test_a_machine_was_sound_before_at_about_its_speed_and_mounted_otherwise() -> None:
    machines = [random_machine(seed) for seed in range(60)]
    before = [when_sound(machine, seed) for seed, machine in enumerate(machines)]
    assert not any(one.faults for one in before)
    assert all(abs(was.speed_hz / now.speed_hz - 1.0) <= 0.1 for was, now in zip(before, machines, strict=True))
    assert all(was.structure == now.structure for was, now in zip(before, machines, strict=True))
    assert all(was.mounting and not now.mounting for was, now in zip(before, machines, strict=True))
    assert when_sound(machines[0], 3) == when_sound(machines[0], 3) != when_sound(machines[0], 4)


def test_how_loud_a_sound_machine_is_does_not_tell_whether_one_is_damaged() -> None:
    louder = []
    for damaged in (True, False):
        machines = [one for seed in range(120) if bool((one := random_machine(seed)).faults) is damaged]
        runs = [
            (simulate(one, 1.0, seed), simulate(when_sound(one, seed), 1.0, seed + 1000))
            for seed, one in enumerate(machines)
        ]
        louder.append([np.log(now.vibration_NA.std() / sound.vibration_NA.std()) for now, sound in runs])
    assert 0.2 < np.std(louder[1]) < 1.0 and np.median(louder[0]) > np.median(louder[1])
    assert (np.array(louder[0]) < np.quantile(louder[1], 0.9)).mean() > 0.2
    base = Machine(noise_m_s2=1.5)
    assert simulate(base, 2.0, 0).vibration_NA.std() == pytest.approx(
        3.0 * simulate(base.changed(noise_m_s2=0.5), 2.0, 0).vibration_NA.std(), rel=0.05
    )


def test_what_rings_shifts_a_little_when_a_machine_is_opened() -> None:
    spectra = []
    for machine in (Machine(structure=4), Machine(structure=4, mounting=1), Machine(structure=5)):
        values_N = simulate(machine, 8.0, 2).vibration_NA[:, 0]
        power_F = np.abs(np.fft.rfft(values_N)) ** 2
        spectra.append(np.log([part.mean() for part in np.array_split(power_F[4000:], 40)]))
    shift, other = (np.abs(spectra[0] - one).mean() for one in spectra[1:])
    assert 0.03 < shift < 0.5 * other
