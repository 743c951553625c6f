"""A user's own folder with a catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from iotlam.contracts import BadInput
from iotlam_faults.data.folder import own_waveforms

WAVE = np.sin(np.arange(6000) / 5.0)


def write(folder: Path, catalogue: str) -> Path:
    np.savez(folder / "pump.npz", data=WAVE, rate_hz=6000.0, units="m/s2")
    scipy.io.savemat(folder / "fan.mat", {"acc": WAVE[:, None]})
    (folder / "catalogue.csv").write_text(catalogue)
    return folder


def test_files_of_several_kinds_are_read_with_what_the_catalogue_knows(tmp_path: Path) -> None:
    table = "file,bearing,faults,rpm,model,balls,ball_mm,pitch_mm,rate_hz,units\n"
    table += "pump.npz,p1,outer+ball,1480,6205,,,,,\nfan.mat,f1,,990,,8,10,50,8000,gn\n"
    pump, fan = own_waveforms(write(tmp_path, table))
    assert pump.entry.faults == ("outer", "ball") and pump.entry.rate_hz == 6000.0
    assert pump.entry.geometry is not None and pump.entry.geometry.balls == 9
    assert fan.entry.faults == () and fan.entry.rate_hz == 8000.0 and fan.entry.shaft_hz == 16.5
    assert fan.entry.geometry is not None and fan.entry.geometry.pitch_mm == 50.0
    np.testing.assert_allclose(fan.values_NC[:, 0], 9.80665 * WAVE, atol=1e-4)
    assert pump.entry.group == f"{tmp_path.name}/p1"


@pytest.mark.parametrize(
    "table, said",
    [
        ("bearing\np1\n", "expected a column file"),
        ("file,bearing,faults\npump.npz,p1,Inner\n", "faults such as inner, outer, ball"),
        ("file,bearing,rpm\npump.npz,p1,inf\n", "expected a number, got 'inf'"),
        ("file,bearing,rpm\npump.npz,p1,1e-9\n", "rpm"),
        ("file,bearing,colour\npump.npz,p1,red\n", "got colour"),
        ("file,bearing\npump.npz,\n", "line 2: expected a bearing"),
        ("file,bearing,rpm\npump.npz,p1,fast\n", "line 2, rpm: expected a number, got 'fast'"),
        ("file,bearing,rpm\npump.npz,p1,-3\n", "line 2, rpm"),
        ("file,bearing,channel\npump.npz,p1,x\n", "expected a channel of"),
        ("file,bearing\nlost.npz,p1\n", "lost.npz"),
        ("file,bearing\nfan.mat,f1\n", "rate_hz"),
        ("file,bearing,doubt\npump.npz,p1,\npump.npz,p2,noisy, at night\n", "line 3: expected 3 fields, got 1 more"),
        ("file,bearing,doubt\npump.npz,p1,noisy, at night\n", "put a field with a comma in it into quotes"),
        ('file,bearing,doubt\npump.npz,p1,"noisy\n' + 30_000 * "quiet\n", "expected closed quotes"),
        ('file,bearing,doubt\npump.npz,p1,"noisy\npump.npz,p2,\n', "line 3: expected closed quotes"),
        ("file,bearing,balls,ball_mm,pitch_mm\npump.npz,p1,30,10,40\n", "30 elements of 10 mm on a circle of 40 mm"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_it(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        own_waveforms(write(tmp_path, table))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_a_catalogue_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="got no such file; write one"):
        own_waveforms(tmp_path)


def test_an_axis_or_a_column_may_be_the_channel(tmp_path: Path) -> None:
    rows = np.column_stack([np.arange(6000) / 6000.0, WAVE, 2.0 * WAVE])
    np.savetxt(tmp_path / "a.csv", rows, "%.7g", ",", header="time [s],y [m/s2],z [m/s2]", comments="")
    np.savez(tmp_path / "b.npz", data=rows[:, 1:], rate_hz=6000.0, units="m/s2", sensor="P")
    table = "file,bearing,channel\na.csv,p1,z\na.csv,p1,a.z\nb.npz,p1,P.y\na.csv,p1,\nb.npz,p1,P\n"
    (tmp_path / "catalogue.csv").write_text(table)
    found = own_waveforms(tmp_path)
    assert [wave.entry.channel for wave in found] == ["a.z", "a.z", "P.y", "a.y", "P.x"]
    for wave, factor in zip(found, (2.0, 2.0, 2.0, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(wave.values_NC, factor * WAVE[:, None], atol=1e-5)


def test_the_speed_is_that_of_all_the_recording_and_may_not_move(tmp_path: Path) -> None:
    def write_with(speed_hz: np.ndarray, rpm: str = "") -> Path:
        wave = np.tile(WAVE, 5)
        np.savez(tmp_path / "pump.npz", data=wave, rate_hz=6000.0, units="m/s2", shaft_hz=speed_hz)
        (tmp_path / "catalogue.csv").write_text(f"file,bearing,rpm\npump.npz,p1,{rpm}\n")
        return tmp_path

    (wave,) = own_waveforms(write_with(np.linspace(20.0, 20.1, 100)))
    assert wave.entry.rpm == pytest.approx(60.0 * 20.05)
    (wave,) = own_waveforms(write_with(np.linspace(20.0, 20.1, 100), "1210"))
    assert wave.entry.rpm == 1210.0
    for rpm in ("", "1210"):
        with pytest.raises(BadInput, match="line 2: expected a speed that does not move, got one from 1200 to 1500"):
            own_waveforms(write_with(np.linspace(20.0, 25.0, 100), rpm))
