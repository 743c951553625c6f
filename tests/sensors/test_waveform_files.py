"""Readers of recorded waveforms: what they read and what they refuse."""

import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import scipy.io

from iotlam.contracts import BadInput, SensorFrame, check_window
from iotlam.plugins import load
from iotlam_waveform.current import read as read_current
from iotlam_waveform.files import recording
from iotlam_waveform.files.mat import cwru_rate_hz
from iotlam_waveform.files.recording import Budget
from iotlam_waveform.vibration import read as read_vibration

GN = 9.80665
WAVE = np.sin(np.arange(2_500) / 7.0)[:, None] * [1.0, 0.5]
MEMORY_FACTOR, MEMORY_SPARE = 4, 16 * 2**20
Result = TypeVar("Result")


def joined(frames: list[SensorFrame]) -> np.ndarray:
    return np.concatenate([frame.data for frame in frames])


def refusal(path: Path, read: Callable[[Path], object] = read_vibration) -> str:
    with pytest.raises(BadInput) as caught:
        list(read(path))  # type: ignore[call-overload]
    message = str(caught.value)
    assert "\n" not in message and "expected" in message and path.name in message
    return message


def measured(path: Path, call: Callable[[Path], Result], spare: int = MEMORY_SPARE) -> Result:
    """Call with a file, and hold the peak of what it allocates against the file's size."""
    tracemalloc.start()
    try:
        return call(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = path.stat().st_size
        assert peak <= MEMORY_FACTOR * size + spare, f"{peak} bytes for a file of {size}"


def mat(path: Path, variables: dict[str, object], compressed: bool = False) -> Path:
    scipy.io.savemat(path, variables, do_compression=compressed)
    return path


def wav(path: Path, coding: int, bits: int, body: bytes, channels: int = 2, rate_hz: int = 2_500) -> Path:
    step = channels * bits // 8
    form = np.array([coding, channels], "<u2").tobytes() + np.array([rate_hz, rate_hz * step], "<u4").tobytes()
    form += np.array([step, bits], "<u2").tobytes()
    chunks = b"WAVEfmt " + np.uint32(len(form)).tobytes() + form + b"data" + np.uint32(len(body)).tobytes() + body
    path.write_bytes(b"RIFF" + np.uint32(len(chunks)).tobytes() + chunks)
    path.with_name(path.name + ".toml").write_text('units = "gn"\nscale = 2.0\nshaft_hz = 25\n')
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_a_cwru_record_says_rate_speed_and_sensors(tmp_path: Path, compressed: bool) -> None:
    wave = WAVE[:, :1]
    content = {"X105_DE_time": wave, "X105_FE_time": 2 * wave, "X105RPM": np.array([[1797]], np.uint16)}
    frames = list(read_vibration(mat(tmp_path / "IR007_0_105.mat", content, compressed)))
    assert {frame.sensor for frame in frames} == {"DE", "FE"} and frames[0].meta["rate_hz"] == 12_000.0
    assert frames[0].meta["shaft_hz"] == pytest.approx(1797 / 60)
    np.testing.assert_allclose(joined([f for f in frames if f.sensor == "FE"]), 2 * GN * wave, rtol=1e-5)
    check_window(load("vibration").manifest, frames)


def test_the_rate_of_a_cwru_record_follows_from_its_official_number(tmp_path: Path) -> None:
    content = {"X173_DE_time": WAVE[:, :1]}  # the published file 174 has the keys of 173
    (frame,) = read_vibration(mat(tmp_path / "48k_Drive_End_IR014_0_174.mat", content))
    assert frame.meta["rate_hz"] == 48_000.0 and "shaft_hz" not in frame.meta
    assert [cwru_rate_hz(number) for number in (97, 105, 109, 282, 3001, 7, 319)] == [
        48e3,
        12e3,
        48e3,
        12e3,
        12e3,
        None,
        None,
    ]
    unknown = mat(tmp_path / "bearing.mat", {"X999_DE_time": WAVE[:, :1]})
    assert "record number" in refusal(unknown)
    unknown.with_name("bearing.mat.toml").write_text("rate_hz = 12000\n")
    assert next(read_vibration(unknown)).meta["rate_hz"] == 12_000.0
    unknown.with_name("bearing.mat.toml").write_text('rate_hz = 12000\ntacho = "FE"\n')
    assert "a channel 'FE' with a tachometer's pulses, got none" in refusal(unknown)


def test_of_two_records_in_one_file_the_one_of_its_name_is_read(tmp_path: Path) -> None:
    content = {f"X{n:03d}_{end}_time": n * WAVE[:, :1] / 100 for n in (98, 99) for end in ("DE", "FE")}
    frames = list(read_vibration(mat(tmp_path / "Normal_2_99.mat", content)))
    assert [frame.sensor for frame in frames] == ["DE", "FE"]
    np.testing.assert_allclose(frames[0].data, 0.99 * GN * WAVE[:, :1], rtol=1e-5)


def test_itsc_currents_are_read_repetition_by_repetition(tmp_path: Path) -> None:
    phases = np.stack([np.cos(np.arange(1_000) / 3.0 + k) for k in range(3)], 1)
    path = mat(tmp_path / "Data_ITSC.mat", {"itsc": {"ITSC_A10": {"Repetition01": phases, "Repetition02": 2 * phases}}})
    frames = list(read_current(path))
    assert [frame.sensor for frame in frames] == ["ITSC_A10/Repetition01", "ITSC_A10/Repetition02"]
    np.testing.assert_allclose(frames[1].data, 2 * phases, rtol=1e-5)
    assert frames[0].meta["rate_hz"] == 1_000.0
    assert "of acceleration" in str(pytest.raises(BadInput, lambda: list(read_vibration(path))).value)


def test_any_other_mat_file_needs_notes(tmp_path: Path) -> None:
    path = mat(tmp_path / "pump.mat", {"vib": WAVE.T.astype(np.float32), "gain": 3.0})
    assert "rate_hz" in refusal(path)
    path.with_name("pump.mat.toml").write_text('rate_hz = 12000\nunits = "gn"\nscale = 0.5\nshaft_hz = 30\n')
    (frame,) = read_vibration(path)
    np.testing.assert_allclose(frame.data, WAVE * 0.5 * GN, rtol=1e-5)
    path.with_name("pump.mat.toml").write_text("rate = 12000\n")
    with pytest.raises(BadInput, match="only known keys"):
        list(read_vibration(path))


def test_hdf5_mat_files_are_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "new.mat"
    path.write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(99)
    )
    assert "-v7'" in refusal(path)


def test_an_adi_table_gives_its_speed_and_takes_off_the_volts_at_rest(tmp_path: Path) -> None:
    rows = [f"{n * 5e-5:.6g};{1 + 0.08 * n};0.9 ;1.1 " for n in range(40)]
    rows[0] += ";1;0.5;1.1"
    path = tmp_path / "1200_HIR_GS_BaLo_WA_11lb.Wfm.csv"
    path.write_text("\n".join(rows) + "\n")
    (frame,) = read_vibration(path)
    assert frame.meta["rate_hz"] == 20_000.0 and frame.meta["shaft_hz"] == 20.0
    np.testing.assert_allclose(frame.data[:, 0], np.arange(40) * GN, atol=2e-3)
    np.testing.assert_allclose(frame.data[:, 1:], np.tile([5 * GN, 0.0], (40, 1)), atol=2e-3)


@pytest.mark.parametrize(
    ("mark", "head"),
    [(",", "time [ms],x [gn],y [gn]"), (";", "t (ms);x (gn);y (gn)"), ("\t", "x [gn]\tTime [ms]\ty [gn]")],
)
def test_a_table_with_a_header_gives_unit_and_rate(tmp_path: Path, mark: str, head: str) -> None:
    at = [name.split()[0].lower() in ("time", "t") for name in head.split(mark)].index(True)
    rows = [[f"{x:.7f}", f"{y:.7f}"] for x, y in WAVE]
    rows[3][0] = ""
    for number, row in enumerate(rows):
        row.insert(at, f"{number * 0.1:.4f}")
    path = tmp_path / "pump.csv"
    path.write_text("\n".join([head, *map(mark.join, rows)]))
    frames = list(read_vibration(path))
    assert frames[0].meta["rate_hz"] == 10_000.0 and frames[0].sensor == "pump"
    want = WAVE * GN
    want[3, 0] = np.nan
    np.testing.assert_allclose(joined(frames), want, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "nothing in it"),
        ("0;1\n1;2\n", "header"),
        ("time [s],x\n0,1\n0.001,2\n", "unit"),
        ("time [s],x [gn]\n0,1\n0.001\n", "fields in line 3"),
        ("time [s],x [gn]\n0,1\n0.001,1_0\n", "no numbers"),
        ("time [s];x [gn]\n0;1\n0,001;2\n", "decimal point"),
        ("time [s],x [gn]\n0,1\n0.001,2\n0.0005,3\n", "increase evenly"),
        ("time [s],x [gn]\n0,1\n0.001,2\n0.001,3\n", "increase evenly"),
        ("time [s],x [gn]\n0,1\n0.001,2\n0.9,3\n0.901,4\n", "increase evenly"),
        ("time [s],x [gn]\n0,1\n1,2\n2,3\n", "sample rate"),
        ("time [s],x [gn]\n", "increase evenly"),
        ("x [gn]\n1\n2\n", "time"),
        ("time [s],x [A]\n0,1\n0.0001,2\n0.0002,2\n", "acceleration"),
        ("time [s],x [gn]\n0," + "1" * 5_000 + "\n", "a line of more"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=problem):
        list(read_vibration(path))


@pytest.mark.parametrize(("coding", "bits"), [(1, 16), (1, 24), (1, 32), (3, 32)])
def test_wav_files_of_every_width_give_the_same_wave(tmp_path: Path, coding: int, bits: int) -> None:
    if coding == 3:
        body = WAVE.astype("<f4").tobytes()
    else:
        whole = np.rint(WAVE * (2 ** (bits - 1) - 1)).astype("<i4")
        body = whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    (frame,) = read_vibration(wav(tmp_path / "motor.wav", coding, bits, body))
    np.testing.assert_allclose(frame.data, WAVE * 2.0 * GN, atol=2e-3)
    assert frame.meta["shaft_hz"] == 25.0 and frame.meta["rate_hz"] == 2_500.0


def test_wav_files_state_their_scale_or_are_refused(tmp_path: Path) -> None:
    path = wav(tmp_path / "motor.wav", 1, 16, bytes(400))
    (tmp_path / "motor.wav.toml").unlink()
    assert "full scale" in refusal(path)
    assert "16, 24 or 32 bits" in refusal(wav(tmp_path / "law.wav", 7, 8, bytes(400)))
    whole = path.read_bytes()
    wav(tmp_path / "motor.wav", 1, 16, bytes(400))
    path.write_bytes(whole[:-10])
    assert "more than are left" in refusal(path)
    path.write_bytes(whole[:30])
    refusal(path)


def test_npz_files_are_named_as_a_frame_is(tmp_path: Path) -> None:
    path = tmp_path / "pump.npz"
    np.savez_compressed(path, data=WAVE, rate_hz=2_500.0, units="m/s2", shaft_hz=25, sensor="P-101")
    (frame,) = read_vibration(path)
    assert frame.sensor == "P-101" and frame.meta["shaft_hz"] == 25.0 and frame.t_ns == round(2_499 / 2_500 * 1e9)
    np.testing.assert_allclose(frame.data, WAVE, rtol=1e-6)
    np.savez(path, data=WAVE[:, 0], rate_hz=2_500.0)
    assert "units" in refusal(path)
    np.savez(path, data=np.array([{}, []], object), rate_hz=2_500.0, units="gn")
    assert "pickle" in refusal(path)
    np.savez(path, data=WAVE * 1j, rate_hz=2_500.0, units="gn")
    assert "real numbers" in refusal(path)
    np.savez(path, data=WAVE, rate_hz=-1.0, units="gn")
    assert "positive" in refusal(path)
    np.savez(path, data=np.concatenate([WAVE, WAVE]), rate_hz=2_500.0, units="m/s2", shaft_hz=[20.0, 30.0])
    early, late = (frame.meta["shaft_hz"] for frame in read_vibration(path))
    np.testing.assert_allclose(np.concatenate([early, late]), np.linspace(20.0, 30.0, 2 * len(WAVE)))
    np.savez(path, data=WAVE, rate_hz=2_500.0, units="m/s2", shaft_hz=[20.0, -30.0])
    assert "positive numbers as 'shaft_hz'" in refusal(path)
    np.savez(path, data=np.zeros((0, 2)), rate_hz=2_500.0, units="gn")
    refusal(path)


def test_what_expands_beyond_its_budget_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SPARE_BYTES", MEMORY_SPARE // 2)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, data=np.zeros((20_000_000, 1)), rate_hz=1e4, units="gn")
    assert "four times" in measured(path, refusal)
    zeros = mat(tmp_path / "bomb_105.mat", {"X105_DE_time": np.zeros((20_000_000, 1))}, compressed=True)
    assert "four times" in measured(zeros, refusal)


def test_no_file_takes_memory_without_end(tmp_path: Path) -> None:
    packer = zlib.compressobj(1)
    zeros = b"".join([*(packer.compress(bytes(2**20)) for _ in range(300)), packer.flush()])
    head = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM" + np.array([15, len(zeros)], "<u4").tobytes()
    (tmp_path / "bomb.mat").write_bytes(head + zeros)
    assert "four times the file and 256 MB" in measured(tmp_path / "bomb.mat", refusal, spare=256 * 2**20)


def test_minutes_of_counts_are_read_as_they_are_packed(tmp_path: Path) -> None:
    rate_hz, count = 26_667, 1_600_000
    counts = np.round(np.random.default_rng(0).normal(0.0, 300.0, count)) * 0.000488
    path = mat(tmp_path / "long.mat", {"vib": counts[:, None]}, compressed=True)
    path.with_name("long.mat.toml").write_text(f'rate_hz = {rate_hz}\nunits = "m/s2"\n')
    np.savez_compressed(tmp_path / "long.npz", data=counts, rate_hz=rate_hz, units="m/s2")
    for packed in (path, tmp_path / "long.npz"):
        assert packed.stat().st_size < count * 8 / 3
        np.testing.assert_allclose(joined(list(read_vibration(packed)))[:, 0], counts, atol=1e-6)


def parquet_table(path: Path, **columns: object) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_table_is_named_as_a_csv_is(tmp_path: Path) -> None:
    time_s = np.arange(3000) / 1500.0
    x_N, y_N = np.sin(time_s), np.cos(time_s)
    y_N[7] = np.nan
    path = parquet_table(tmp_path / "pump.parquet", **{"time [s]": time_s, "x [gn]": x_N, "y [gn]": y_N})
    frames = list(read_vibration(path))
    assert [frame.data.shape for frame in frames] == [(1500, 2)] * 2 and frames[0].meta["rate_hz"] == 1500.0
    np.testing.assert_allclose(frames[1].data[:, 0], 9.80665 * x_N[1500:], atol=1e-5)
    assert np.isnan(frames[0].data[7, 1])


def test_timestamps_of_a_parquet_table_give_its_rate(tmp_path: Path) -> None:
    stamps = np.datetime64("2026-01-01T00:00:00", "ns") + (np.arange(4000) * 500_000).astype("timedelta64[ns]")
    path = parquet_table(tmp_path / "pump.parquet", timestamp=stamps, **{"x [m/s2]": np.ones(4000, np.float32)})
    assert next(iter(read_vibration(path))).meta["rate_hz"] == 2000.0


def test_timestamps_count_in_seconds_whatever_their_column_says(tmp_path: Path) -> None:
    stamps = np.datetime64("2026-01-01T00:00:00", "ns") + (np.arange(4000) * 500_000).astype("timedelta64[ns]")
    path = parquet_table(tmp_path / "pump.parquet", **{"time [ms]": stamps, "x [m/s2]": np.ones(4000)})
    assert next(iter(read_vibration(path))).meta["rate_hz"] == 2000.0


def test_columns_of_a_parquet_table_that_share_a_name_are_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = [pyarrow.array(np.arange(2000) / 2000)] + [pyarrow.array(np.ones(2000))] * 2
    parquet.write_table(pyarrow.table(columns, names=["time [s]", "x [m/s2]", "x [m/s2]"]), tmp_path / "p.parquet")
    assert "a name for each column" in refusal(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x [m/s2]": np.ones(2000)}, "a column 'time"),
        ({"time [s]": np.arange(2000.0), "x": np.ones(2000)}, "a column of acceleration with its unit"),
        ({"time [s]": np.random.default_rng(0).normal(size=2000), "x [m/s2]": np.ones(2000)}, "increase evenly"),
        ({"time [s]": np.arange(2000) / 2000, "x [m/s2]": ["a"] * 2000}, "numbers in column"),
    ],
)
def test_a_parquet_table_that_cannot_be_meant_is_refused(tmp_path: Path, columns: dict, said: str) -> None:
    assert said in refusal(parquet_table(tmp_path / "pump.parquet", **columns))


def test_a_damaged_parquet_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SPARE_BYTES", MEMORY_SPARE // 2)
    path = parquet_table(tmp_path / "pump.parquet", **{"time [s]": np.arange(2000) / 2000, "x [m/s2]": np.ones(2000)})
    path.write_bytes(path.read_bytes()[:-9])
    assert "a whole .parquet file" in refusal(path)
    zeros = {"time [s]": np.arange(3_000_000) // 1_000_000, "x [m/s2]": np.zeros(3_000_000)}
    assert "four times" in refusal(parquet_table(tmp_path / "bomb.parquet", **zeros))


def test_only_known_suffixes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wave.flac"
    path.write_bytes(b"fLaC")
    assert ".wav" in refusal(path)
    assert "can be read" in refusal(tmp_path / "none.wav")


def test_a_budget_is_four_times_the_file_and_a_little(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "a.wav", 1_000)
    assert budget.left == 4 * 1_000 + recording.SPARE_BYTES <= 4 * 1_000 + 256 * 2**20
    with pytest.raises(BadInput, match="four times"):
        budget.spend(budget.left + 1)


def test_columns_keep_their_names_and_those_of_another_quantity_are_left_out(tmp_path: Path) -> None:
    time_s = np.arange(2000) / 2000.0
    columns = {"Temp [Cel]": 40 + time_s, "time [s]": time_s, "Z [gn]": np.sin(time_s), "DE": 1 - time_s}
    columns["y [m/s2]"] = np.cos(time_s)
    (tmp_path / "c.csv").write_text("time [s],temperature [degC],x\n0,1,2\n0.0005,1,2\n")
    assert "got temperature [degC], x [?]; add it, or units to c.csv.toml" in refusal(tmp_path / "c.csv")
    (tmp_path / "c.csv.toml").write_text('units = "m/s2"\n')
    assert next(read_vibration(tmp_path / "c.csv")).meta["axes"] == ("x",)
    rows = [",".join(columns), *(",".join(f"{one:.7f}" for one in row) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    for path in (tmp_path / "a.csv", parquet_table(tmp_path / "b.parquet", **columns)):
        (frame,) = read_vibration(path)
        assert frame.meta["axes"] == ("Z", "y")
        np.testing.assert_allclose(frame.data, np.stack([GN * np.sin(time_s), np.cos(time_s)], 1), atol=1e-5)
        path.with_name(path.name + ".toml").write_text('units = "gn"\n')
        (frame,) = read_vibration(path)
        assert frame.meta["axes"] == ("Z", "DE", "y")
        np.testing.assert_allclose(frame.data[:, 1:], np.stack([GN * (1 - time_s), np.cos(time_s)], 1), atol=1e-5)
    assert "a column of current with its unit, such as 'x [A]', got Temp [Cel]" in refusal(path, read_current)
    (tmp_path / "a.csv").write_text("time [s],x [m/s2],X [m/s2]\n0,1,2\n")
    assert "a name for each column" in refusal(tmp_path / "a.csv")


def test_notes_that_contradict_their_file_are_refused(tmp_path: Path) -> None:
    text = "\n".join(["time [s],x [m/s2]", *(f"{n / 2000},1" for n in range(50))])
    (tmp_path / "a.csv").write_text(text)
    times_s = np.arange(50) / 2000
    parquet_table(tmp_path / "a.parquet", **{"time [s]": times_s, "x [m/s2]": np.ones(50)})
    np.savez(tmp_path / "a.npz", data=np.ones(50), rate_hz=2000.0, units="m/s2")
    wav(tmp_path / "a.wav", 1, 16, bytes(400), rate_hz=2000)
    for name in ("a.csv", "a.parquet", "a.npz", "a.wav"):
        notes = tmp_path / f"{name}.toml"
        stated = 'units = "m/s2"\nscale = 1.0\n'
        notes.write_text(stated + "rate_hz = 4000\n")
        assert "notes that agree with its own rate_hz, 2000.0, got 4000.0" in refusal(tmp_path / name)
        notes.write_text(stated + "rate_hz = 2000.5\n")
        assert next(iter(read_vibration(tmp_path / name))).meta["rate_hz"] == 2000.5
        notes.write_text('units = "gn"\n')
        if name != "a.wav":
            assert "notes that agree with its own units, m/s2, got gn" in refusal(tmp_path / name)


@pytest.mark.parametrize("head", ["time [us]", "time [ms]"])
def test_notes_state_the_rate_where_times_tell_none(tmp_path: Path, head: str) -> None:
    text = "\n".join([f"{head},x [m/s2]", *(f"{n // 2},1" for n in range(50))])
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.csv.toml").write_text("rate_hz = 2000\n")
    assert next(iter(read_vibration(tmp_path / "a.csv"))).meta["rate_hz"] == 2000.0


def real(*parts: str) -> Path:
    path = Path(os.environ.get("IOTLAM_DATA", "")).joinpath(*parts)
    if not os.environ.get("IOTLAM_DATA") or not path.exists():
        pytest.skip(f"no {'/'.join(parts)}: set IOTLAM_DATA to a folder that holds it")
    return path


def test_real_cwru_records_agree_with_scipy() -> None:
    for path in (real("cwru", "12k_FE", "275_1.mat"), real("cwru", "normal", "normal_0_97.mat")):
        frames = measured(path, lambda path: list(read_vibration(path)))
        number = "275" if "275" in path.name else "097"
        want = scipy.io.loadmat(path)[f"X{number}_DE_time"] * GN
        np.testing.assert_allclose(
            joined([frame for frame in frames if frame.sensor == "DE"]), want, rtol=1e-5, atol=1e-6
        )
        check_window(load("vibration").manifest, frames)
    assert frames[0].meta == {"sensor": "DE", "rate_hz": 48_000.0, "shaft_hz": 1796 / 60}


def test_real_adi_and_itsc_recordings_are_read() -> None:
    folder = real("adi_cbm", "SampleMotorDataLimerick", "SpectraQuest_Rig_Data_Voyager_3", "Data_ADXL356C")
    frames = list(read_vibration(folder / "1800_HIR_GS_BaLo_WA_11lb.Wfm.csv"))
    assert joined(frames).shape == (40_000, 3) and frames[0].meta["rate_hz"] == 20_000.0
    assert frames[0].meta["shaft_hz"] == 30.0 and np.abs(joined(frames).mean(0)).max() < 1.0
    currents = list(read_current(real("itsc_current", "dataset", "Data_ITSC.mat")))
    assert len({frame.sensor for frame in currents}) == 65 and {frame.data.shape for frame in currents} == {(1_000, 3)}


def test_a_folder_is_no_recording() -> None:
    with pytest.raises(BadInput, match="expected a file that ends in"):
        list(read_vibration(Path()))
