"""Columns of a table: which are axes, which is the speed, and how units are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import SensorFrame
from iotlam_waveform.files.columns import AXIS_NAME, rises
from iotlam_waveform.vibration import read

from .test_waveform_files import GN, joined, mat, parquet_table, refusal

RATE_HZ, COUNT = 2_000, 2_400
TIME_S = np.arange(COUNT) / RATE_HZ
WAVE = np.sin(np.arange(COUNT) / 7.0)
FALLING_RPM = np.linspace(1500.0, 1440.0, COUNT)
NOTES = f'rate_hz = {RATE_HZ}\nunits = "m/s2"\n'


def table(path: Path, notes: str, **columns: np.ndarray) -> Path:
    """A .csv or .parquet, as its path ends."""
    if path.suffix == ".parquet":
        parquet_table(path, **columns)
    else:
        rows, head = np.stack(list(columns.values()), 1), ";".join(columns)
        np.savetxt(path, rows, "%.7f", ";", header=head, comments="", encoding="utf-8")
    path.with_name(path.name + ".toml").write_text(notes)
    return path


def frames(path: Path, notes: str = "", **columns: np.ndarray) -> list[SensorFrame]:
    return list(read(table(path, notes, **columns)))


tables = pytest.mark.parametrize("name", ["pump.csv", "pump.parquet"])


@tables
@pytest.mark.parametrize(
    ("name_beside", "beside"),
    [
        ("seconds", TIME_S),
        ("sample", np.arange(float(COUNT))),
        ("stamp", 1.7e9 + 1e3 * TIME_S),
        ("n", np.where(np.arange(COUNT) % 9, TIME_S, np.nan)),
    ],
)
def test_what_rises_throughout_is_no_axis(tmp_path: Path, name: str, name_beside: str, beside: np.ndarray) -> None:
    found = frames(tmp_path / name, NOTES, **{name_beside: beside, "accel": WAVE})
    assert found[0].meta["axes"] == ("accel",) and "shaft_hz" not in found[0].meta
    np.testing.assert_allclose(joined(found)[:, 0], WAVE, atol=1e-5)
    assert f"got {name_beside} [count]" in refusal(table(tmp_path / name, NOTES, **{name_beside: beside}))


def test_a_table_and_a_mat_tell_times_by_one_rule(tmp_path: Path) -> None:
    path = mat(tmp_path / "pump.mat", {"clock": np.floor(TIME_S * 100), "acc": WAVE})
    path.with_name("pump.mat.toml").write_text(NOTES)
    assert {frame.sensor for frame in read(path)} == {"acc"}
    assert rises(np.array([1, 1, 2])) and not rises(np.array([1.0, 3.0, np.nan, 2.0])) and not rises(np.ones(3))
    assert not rises(np.zeros(0)) and not rises(np.full(2, np.nan))


@tables
def test_columns_that_may_be_no_axes_need_their_units_in_the_header(tmp_path: Path, name: str) -> None:
    said = "the unit of each axis in the header, such as 'accel [m/s2]', got status, accel without"
    assert said in refusal(table(tmp_path / name, NOTES, status=-WAVE, accel=WAVE))
    assert "in the header" in refusal(table(tmp_path / name, NOTES, n=-WAVE, x=WAVE))
    assert "in the header" in refusal(table(tmp_path / name, NOTES, status=-WAVE, **{"x [m/s2]": WAVE}))
    columns = {"status": -WAVE, "accel [m/s2]": WAVE}
    assert frames(tmp_path / name, f"rate_hz = {RATE_HZ}\n", **columns)[0].meta["axes"] == ("accel",)
    assert frames(tmp_path / name, NOTES, pump=WAVE)[0].meta["axes"] == ("pump",)
    assert "'acc [m/s2]', got acc, temp without" in refusal(table(tmp_path / name, NOTES, acc=WAVE, temp=-WAVE))
    for axes in (("x", "y", "z"), ("Motor DE H", "Motor DE V"), ("pump1", "pump2")):
        columns = {axis: WAVE * (index + 1) for index, axis in enumerate(axes)}
        assert frames(tmp_path / name, NOTES, **columns)[0].meta["axes"] == axes


def test_names_of_axes() -> None:
    axes = (
        "x Ax acc_x x_acc accel_z Vibration-1 ch1 Channel_2 channel 3 DE FE BA horizontal vertical axial i2 L3 phase a"
    )
    assert all(AXIS_NAME.fullmatch(name) for name in axes.replace("channel 3", "channel-3").split())
    assert not any(AXIS_NAME.fullmatch(name) for name in "status sample temp load torque index charge speed".split())


@pytest.mark.parametrize(
    ("unit", "symbol", "scale"),
    [
        ("g", "gn", GN),
        ("gn", "gn", GN),
        ("mg", "mgn", GN / 1000),
        ("m/s²", "m/s2", 1.0),
        ("m/s^2", "m/s2", 1.0),
        ("m/s2", "m/s2", 1.0),
    ],
)
@pytest.mark.parametrize(("time", "per_s"), [("s", 1.0), ("sec", 1.0), ("us", 1e6), ("µs", 1e6)])
def test_units_may_be_written_as_people_do(
    tmp_path: Path, unit: str, symbol: str, scale: float, time: str, per_s: float
) -> None:
    columns = {f"time [{time}]": TIME_S * per_s, f"x [{unit}]": WAVE}
    for notes in ("", f'units = "{symbol}"\n', f'units = "{unit}"\n'):
        found = frames(tmp_path / "pump.csv", notes, **columns)
        assert found[0].meta["rate_hz"] == pytest.approx(RATE_HZ)
        np.testing.assert_allclose(joined(found)[:, 0], scale * WAVE, atol=1e-5)
    np.savez(tmp_path / "pump.npz", data=WAVE, rate_hz=RATE_HZ, units=unit)
    np.testing.assert_allclose(joined(list(read(tmp_path / "pump.npz")))[:, 0], scale * WAVE, atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    "head",
    [
        "time [s];x [m/s²];T [°C]",
        '"time [s]";"x [m/s²]";"T [°C]"',
        "time;x;T\ns;m/s²;°C",
        '"t";"x";"T"\n"(s)";"[m/s²]";',
    ],
)
def test_units_stand_in_the_header_or_below_it_as_loggers_write_them(tmp_path: Path, head: str, encoding: str) -> None:
    path = tmp_path / "pump.csv"
    np.savetxt(path, np.stack([TIME_S, WAVE, 20 - WAVE], 1), "%.7f", ";", header=head, comments="", encoding=encoding)
    found = list(read(path))
    assert found[0].meta["axes"] == ("x",) and found[0].meta["rate_hz"] == RATE_HZ
    np.testing.assert_allclose(joined(found)[:, 0], WAVE, atol=1e-5)


def test_a_second_line_that_is_neither_units_nor_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pump.csv"
    for second in ("a;b", "0,1;0,2", "m/s2;1", "m/s2"):
        path.write_text(f"time [s];x [m/s2]\n{second}\n0.0;1.0\n")
        assert " in line 2" in refusal(path)
    path.write_text("time;x\ns;m/s2\n0.0;1.0\n0.1;x\n")
    assert " in line 4" in refusal(path)
    path.write_bytes("time [s];x [m/s2]\n0.0;1.0\n".encode("utf-16"))
    assert "no text" in refusal(path)


def test_a_unit_that_is_none_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "pump.npz", data=WAVE, rate_hz=RATE_HZ, units="furlong")
    assert "a unit, one of" in refusal(tmp_path / "pump.npz")
    path = table(tmp_path / "pump.csv", "", **{"time [h]": TIME_S, "x [gn]": WAVE})
    assert "got 'h'" in refusal(path)


@tables
@pytest.mark.parametrize(
    ("head", "per_hz"),
    [("speed [1/min]", 60), ("n [rpm]", 60), ("Motor [RPM]", 60), ("rpm", 60), ("Speed [Hz]", 1), ("shaft_hz", 1)],
)
def test_a_column_of_turns_is_the_speed(tmp_path: Path, name: str, head: str, per_hz: int) -> None:
    columns = {"time [s]": TIME_S, head: FALLING_RPM / 60 * per_hz, "x [m/s2]": WAVE}
    found = frames(tmp_path / name, **columns)
    assert found[0].meta["axes"] == ("x",)
    trace = np.concatenate([frame.meta["shaft_hz"] for frame in found])
    np.testing.assert_allclose(trace, FALLING_RPM / 60, rtol=1e-6)
    columns[head] = np.full(COUNT, 25.0 * per_hz)
    assert [frame.meta["shaft_hz"] for frame in frames(tmp_path / name, **columns)] == [25.0, 25.0]
    assert frames(tmp_path / name, "shaft_hz = 24\n", **columns)[0].meta["shaft_hz"] == 24.0


@tables
@pytest.mark.parametrize("value", [-1480.0, 0.0, np.nan, np.inf])
def test_a_speed_that_is_none_is_refused(tmp_path: Path, name: str, value: float) -> None:
    speed = FALLING_RPM.copy()
    speed[2000] = value
    columns = {"time [s]": TIME_S, "x [m/s2]": WAVE, "n [rpm]": speed}
    assert "positive numbers as 'n', got" in (said := refusal(table(tmp_path / name, "", **columns)))
    assert "in place 2001" in said
    columns |= {"n [rpm]": FALLING_RPM, "gear [rpm]": FALLING_RPM}
    assert "one column with the speed of the shaft, got n, gear" in refusal(table(tmp_path / name, "", **columns))
    assert frames(tmp_path / name, "shaft_hz = 24\n", **columns)[0].meta["shaft_hz"] == 24.0


def test_frequencies_called_otherwise_are_no_speed(tmp_path: Path) -> None:
    columns = {"time [s]": TIME_S, "x [m/s2]": WAVE, "grid [Hz]": np.full(COUNT, 50.0)}
    assert "shaft_hz" not in frames(tmp_path / "pump.csv", **columns)[0].meta
