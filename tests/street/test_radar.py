"""The radar: peaks where the vehicle is, the range equation, blockage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from iotlam_street.radar import LIGHT_M_S, RadarConfig, Radars, radar_pose
from iotlam_street.scene import Boxes

POSE = radar_pose(np.array([0.0, 0.0, 5.0]), 0.0)
CLEAN = RadarConfig(noise=0.0, post_rcs_m2=0.0)


def observed(boxes: Boxes, config: RadarConfig, seed: int = 0) -> NDArray[np.complex64]:
    (frame,) = Radars({"radar": POSE}, config).observe(boxes, 0, np.random.default_rng(seed))
    assert frame.sensor == "radar"
    return frame.data


def spectrum(boxes: Boxes, config: RadarConfig = CLEAN, seed: int = 0) -> NDArray[np.complex128]:
    """Angle (64), Doppler (zero in the middle) and range."""
    data = observed(boxes, config, seed)
    assert data.shape == (4, 32, 128) and data.dtype == np.complex64
    over_range = np.fft.fft(data, axis=2)
    over_doppler = np.fft.fftshift(np.fft.fft(over_range, axis=1), axes=1)
    return np.fft.fftshift(np.fft.fft(over_doppler, n=64, axis=0), axes=0)


@pytest.mark.parametrize(
    ("x", "y", "speed"), [(20.0, 0.0, -10.0), (50.0, 8.0, 0.0), (90.0, -10.0, -14.0), (35.0, -6.0, 12.0)]
)
def test_peak_is_within_a_bin_of_the_truth(boxes_of: Callable[..., Boxes], x: float, y: float, speed: float) -> None:
    cube = np.abs(spectrum(boxes_of((x, y, np.pi, 1.0, 1.8, 1.5, speed, 0.0))))
    angle_bin, doppler_bin, range_bin = np.unravel_index(cube.argmax(), cube.shape)
    face_3 = np.array([x - 0.5, y, 0.75 - 5.0])
    slant_m = np.linalg.norm(face_3)
    wavelength_m = LIGHT_M_S / CLEAN.carrier_hz
    step_m_s = wavelength_m / (2.0 * CLEAN.chirps * CLEAN.chirp_period_s)
    assert range_bin * LIGHT_M_S / (2.0 * CLEAN.bandwidth_hz) == pytest.approx(slant_m, abs=1.0)
    assert (doppler_bin - 16) * step_m_s == pytest.approx(speed * face_3[0] / slant_m, abs=step_m_s)
    assert (angle_bin - 32) / 32 == pytest.approx(y / slant_m, abs=0.06)


def test_velocities_are_unambiguous_to_twenty_metres_per_second() -> None:
    assert CLEAN.wavelength_m / (4.0 * CLEAN.chirp_period_s) == pytest.approx(20.0, rel=0.01)
    assert CLEAN.samples / CLEAN.sample_rate_hz < CLEAN.chirp_period_s


def test_power_falls_with_the_fourth_power_of_range(boxes_of: Callable[..., Boxes]) -> None:
    def power(x: float) -> float:
        return float((np.abs(spectrum(boxes_of((x, 0.0, 0.0, 0.2, 1.8, 1.5)))) ** 2).sum())

    assert power(40.0) / power(80.0) == pytest.approx(16.0, rel=0.15)


def test_car_at_fifty_metres_stands_out_by_the_promised_ratio(boxes_of: Callable[..., Boxes]) -> None:
    config = RadarConfig(post_rcs_m2=0.0)
    ratios_db = []
    for seed in range(20):
        boxes = boxes_of((52.0 + 0.13 * seed, 3.0 - 0.3 * seed, 0.0, 4.5, 1.8, 1.5, 5.0, 0.0))
        data = observed(boxes, config, seed)
        power = np.abs(np.fft.fft2(data[0], s=(64, 256))) ** 2
        floor = np.median(power) / np.log(2.0)  # the mean of exponentially distributed power, unmoved by the car
        ratios_db.append(10.0 * np.log10(power.max() / floor))
    assert 33.0 < np.mean(ratios_db) < 37.0


def test_blocked_car_loses_twenty_decibels(boxes_of: Callable[..., Boxes]) -> None:
    car = (60.0, 0.0, 0.0, 4.5, 1.8, 1.5, 10.0, 0.0)

    def power_at_car(*others: tuple[float, ...]) -> float:
        cube = np.abs(spectrum(boxes_of(car, *others))) ** 2
        return float(cube[:, 24, 55:62].sum())

    truck_ahead, truck_beside = (40.0, 0.0, 0.0, 9.0, 2.5, 4.0), (40.0, 9.0, 0.0, 9.0, 2.5, 4.0)
    free = power_at_car()
    assert free > 0.0
    assert 10.0 * np.log10(power_at_car(truck_ahead) / free) == pytest.approx(-20.0, abs=1.5)
    assert 10.0 * np.log10(power_at_car(truck_beside) / free) == pytest.approx(0.0, abs=0.5)


def test_vehicles_do_not_block_themselves(boxes_of: Callable[..., Boxes]) -> None:
    for heading in np.linspace(0.0, 2.0 * np.pi, 40):
        lone = boxes_of((40.0, 5.0, float(heading), 4.5, 1.8, 1.5))
        lossless = RadarConfig(noise=0.0, post_rcs_m2=0.0, blocked_db=0.0)
        np.testing.assert_array_equal(spectrum(lone), spectrum(lone, lossless))


def test_nothing_behind_or_far_away(boxes_of: Callable[..., Boxes]) -> None:
    size = (4.5, 1.8, 1.5)
    unseen = boxes_of((-20.0, 0.0, 0.0, *size), (190.0, 0.0, 0.0, *size), (5.0, 40.0, 0.0, *size))
    assert np.abs(spectrum(unseen)).max() == 0.0
    assert np.abs(spectrum(boxes_of())).max() == 0.0


def test_posts_stand_still(boxes_of: Callable[..., Boxes]) -> None:
    cube = np.abs(spectrum(boxes_of(), RadarConfig(noise=0.0)))
    assert cube[:, 16].max() > 0.0
    assert np.delete(cube, 16, axis=1).max() < 1e-4 * cube[:, 16].max()


def test_noise_is_white_and_gaussian_with_the_deviation_asked_for(boxes_of: Callable[..., Boxes]) -> None:
    config = RadarConfig(noise=2.0, post_rcs_m2=0.0)
    noise = np.concatenate([observed(boxes_of(), config, seed).ravel() for seed in range(20)])
    count = len(noise)
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(4.0, rel=4.0 / np.sqrt(count))
    for part in (noise.real, noise.imag):
        unit = np.sort(part.astype(np.float64) / np.sqrt(2.0))
        assert stats.kstest(unit, "norm").statistic < 1.95 / np.sqrt(count)
        assert abs(np.mean(part[1:] * part[:-1])) < 8.0 / np.sqrt(count)
    assert abs(np.mean(noise.real * noise.imag)) < 8.0 / np.sqrt(count)
