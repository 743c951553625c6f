"""A tachometer's pulses beside a waveform: the speed that they tell, in every kind of file."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.io.wavfile

from iotlam.contracts import SensorFrame
from iotlam_waveform.files.tacho import pulse_times
from iotlam_waveform.vibration import read

from .test_waveform_files import measured, parquet_table, refusal

RATE_HZ, COUNT = 5_000, 25_000
TIME_S = np.arange(COUNT) / RATE_HZ
SPEED_HZ = 20.0 + 4.0 * np.sin(TIME_S)
TURNS = np.cumsum(SPEED_HZ) / RATE_HZ
WAVE = np.sin(40.0 * TURNS).astype(np.float32)
INNER = slice(RATE_HZ // 5, -RATE_HZ // 5)
"""Near its ends the speed is taken to stay."""

NOTES = f'rate_hz = {RATE_HZ}\nunits = "gn"\n'


def pulses(each: int = 1, uneven: float = 0.0) -> np.ndarray:
    """5 V while a mark passes, one in ten of its share of a turn; marks stand by so much of it too early or late."""
    angle = TURNS * each
    shift = uneven * np.sin(2.0 * np.pi * np.floor(angle) / each)
    return np.where(np.abs(angle % 1.0 - 0.5 - shift) < 0.05, 5.0, 0.0).astype(np.float32)


def csv(folder: Path, tacho: np.ndarray) -> Path:
    path = folder / "pump.csv"
    np.savetxt(path, np.stack([TIME_S, tacho, WAVE], 1), "%.6f", ";", header="time [s];Tacho [V];x [gn]", comments="")
    return path


def parquet(folder: Path, tacho: np.ndarray) -> Path:
    return parquet_table(folder / "pump.parquet", **{"time [s]": TIME_S, "x [gn]": WAVE, "tacho": tacho})


def npz(folder: Path, tacho: np.ndarray) -> Path:
    np.savez(folder / "pump.npz", data=WAVE, rate_hz=RATE_HZ, units="gn", tacho=tacho)
    return folder / "pump.npz"


def mat(folder: Path, tacho: np.ndarray) -> Path:
    scipy.io.savemat(folder / "pump.mat", {"Channel_1": WAVE, "Channel_2": tacho})
    (folder / "pump.mat.toml").write_text(NOTES + 'tacho = "Channel_2"\n')
    return folder / "pump.mat"


def wav(folder: Path, tacho: np.ndarray) -> Path:
    scipy.io.wavfile.write(folder / "pump.wav", RATE_HZ, np.stack([tacho / 5.0, WAVE], 1))
    (folder / "pump.wav.toml").write_text('units = "gn"\nscale = 1.0\ntacho = "1"\n')
    return folder / "pump.wav"


def speed_of(frames: list[SensorFrame]) -> np.ndarray:
    return np.concatenate([frame.meta["shaft_hz"] for frame in frames])


@pytest.mark.parametrize("write", [csv, parquet, npz, mat, wav])
def test_pulses_beside_a_waveform_give_its_speed(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    frames = list(read(write(tmp_path, pulses())))
    values_NC = np.concatenate([frame.data for frame in frames])
    np.testing.assert_allclose(values_NC, 9.80665 * WAVE[:, None], atol=1e-4)
    np.testing.assert_allclose(speed_of(frames)[INNER], SPEED_HZ[INNER], rtol=2e-3)
    np.testing.assert_allclose(speed_of(frames), SPEED_HZ, rtol=5e-2)


def test_many_pulses_a_turn_need_not_stand_evenly(tmp_path: Path) -> None:
    path = npz(tmp_path, pulses(8, uneven=0.15))
    path.with_name("pump.npz.toml").write_text("pulses_per_turn = 8\n")
    np.testing.assert_allclose(speed_of(list(read(path)))[INNER], SPEED_HZ[INNER], rtol=2e-3)


def test_noise_and_gaps_make_no_pulses() -> None:
    signal = pulses() + np.random.default_rng(0).normal(0.0, 0.3, COUNT)
    rising = int(pulse_times(pulses())[10])
    signal[rising - 3 : rising + 1] = np.nan
    found, true = pulse_times(signal), pulse_times(pulses())
    assert len(found) == len(true) == round(TURNS[-1])
    np.testing.assert_allclose(found, true, atol=1.5)
    assert not len(pulse_times(np.full(COUNT, 5.0))) and not len(pulse_times(np.array([0.0, np.inf])))


def test_pulses_that_tell_no_speed_are_refused(tmp_path: Path) -> None:
    signal = pulses()
    signal[int(pulse_times(signal)[20]) - 2 :][:50] = 0.0
    assert "none is missed or doubled" in refusal(npz(tmp_path, signal))
    assert "0 pulses, 1 a turn" in refusal(npz(tmp_path, np.zeros(COUNT)))
    assert "sample by sample" in refusal(npz(tmp_path, pulses()[1:]))
    assert "sample by sample" in refusal(npz(tmp_path, np.array(["high"] * COUNT)))
    assert "got time, tacho" in refusal(
        parquet_table(tmp_path / "a.parquet", **{"time [s]": TIME_S, "tacho [V]": pulses()})
    )


@pytest.mark.parametrize("silent", [slice(0, 3000), slice(8000, None)])
def test_pulses_that_begin_late_or_stop_are_refused(tmp_path: Path, silent: slice) -> None:
    signal = pulses()
    signal[silent] = 0.0
    assert "pulses from the first turn to the last, got pulses from 0." in refusal(npz(tmp_path, signal))


@pytest.mark.parametrize(
    ("write", "name", "known"),
    [
        (csv, "tachometer", "Tacho, x"),
        (npz, "pulse", "data, rate_hz, units, tacho"),
        (mat, "Chanel_2", "Channel_1, Channel_2"),
        (wav, "3", "1, 2"),
    ],
)
def test_a_tachometer_that_is_named_is_there(tmp_path: Path, write, name: str, known: str) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path, pulses())
    notes = path.with_name(path.name + ".toml")
    stated = {"csv": "", "npz": "", "mat": NOTES, "wav": 'units = "gn"\nscale = 1.0\n'}[write.__name__]
    notes.write_text(stated + f'tacho = "{name}"\n')
    assert f"a channel '{name}' with a tachometer's pulses, got {known}" in refusal(path)
    right = {"csv": '"TACHO"', "npz": '"Tacho"', "mat": '"channel_2"', "wav": "1"}[write.__name__]
    notes.write_text(stated + f"tacho = {right}\n")
    np.testing.assert_allclose(speed_of(list(read(path))), SPEED_HZ, rtol=5e-2)


def test_times_and_small_arrays_beside_a_waveform_are_left_out(tmp_path: Path) -> None:
    beside = {"T": TIME_S[::-1], "clock": TIME_S, "gains": np.array([2.0, 1.0, 3.0]), "tacho": pulses()}
    scipy.io.savemat(tmp_path / "pump.mat", {**beside, "acc": WAVE})
    (tmp_path / "pump.mat.toml").write_text(NOTES)
    frames = list(read(tmp_path / "pump.mat"))
    assert {frame.sensor for frame in frames} == {"acc"}
    np.testing.assert_allclose(speed_of(frames), SPEED_HZ, rtol=5e-2)
    scipy.io.savemat(tmp_path / "pump.mat", beside)
    assert "sample by sample" in refusal(tmp_path / "pump.mat")
    for lacking in ({"tacho": pulses()}, {"t": TIME_S}):
        scipy.io.savemat(tmp_path / "pump.mat", lacking)
        assert "an array of samples, got t" in refusal(tmp_path / "pump.mat")


def test_a_tachometer_costs_no_more_memory_than_else(tmp_path: Path) -> None:
    wave = np.tile(np.repeat([0.0, 1.0], 100), 20_000)
    scipy.io.wavfile.write(tmp_path / "long.wav", 50_000, (np.stack([wave, wave], 1) * 30_000).astype(np.int16))
    (tmp_path / "long.wav.toml").write_text('units = "gn"\nscale = 1.0\ntacho = "2"\n')
    (speed, *_) = measured(tmp_path / "long.wav", lambda path: [frame.meta["shaft_hz"] for frame in read(path)][::20])
    np.testing.assert_allclose(speed, 250.0, rtol=1e-6)
