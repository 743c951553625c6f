"""The catalogue: that it is whole, that the traps of the sets are in it, and that every layout of files is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import SETS, downloads, entries
from iotlam_faults.data.reading import waveforms
from iotlam_faults.data.store import Store, is_genuine
from iotlam_faults.physics.speed import shaft_speed
from iotlam_faults.recordings import cut, of_lowest_rate, of_set

NOISE = np.random.default_rng(0).normal(size=4000)


def data() -> Store:
    root = Path(os.environ.get("IOTLAM_DATA", ""))
    if "IOTLAM_DATA" not in os.environ or not (root / "cwru").is_dir():
        pytest.skip("no cwru: set IOTLAM_DATA to the folder of the public recordings")
    return Store(root)


@pytest.mark.parametrize("name", SETS)
def test_every_recording_has_a_file_with_an_address_and_a_checksum(name: str) -> None:
    files = {download.file: download for download in downloads(name)}
    assert entries(name) and {entry.file for entry in entries(name)} == set(files)
    for download in files.values():
        assert download.addresses and all(address.startswith("https://") for address in download.addresses)
        assert len(download.sha256) == 64 or len(download.git_blob) == 40
    for entry in entries(name):
        assert entry.model == "" or entry.geometry is not None


def test_the_sets_are_as_large_as_they_should_be() -> None:
    found = {name: (len(entries(name)), len({entry.group for entry in entries(name)})) for name in SETS}
    assert found["cwru"] == (165, 22) and found["uored"] == (60, 20) and found["hust"] == (99, 33)
    assert found["paderborn"] == (3 * 129, 32) and found["adi_cbm"] == (130, 7) and found["xjtu_sy"] == (15, 15)


def test_an_unknown_set_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="expected one of cwru, .*got 'ims'"):
        entries("ims")


def cwru(number: int) -> list:
    return [entry for entry in entries("cwru") if entry.file == f"{number}.mat"]


def test_the_traps_of_cwru_are_in_the_catalogue() -> None:
    assert [entry.rate_hz for entry in cwru(97)] == [48e3, 48e3]  # sound files are sampled otherwise than faulty ones
    assert [entry.bearing for entry in cwru(97)] == ["DE-healthy", "FE-healthy"]
    assert "98" in cwru(99)[0].doubt
    assert cwru(158)[0].rpm == 1797.0 and "1773" in cwru(158)[0].doubt
    assert cwru(279)[0].rpm == 1772.0 and "1732" in cwru(279)[0].doubt
    assert all("another maker" in cwru(number)[0].doubt for number in range(3001, 3009))
    assert {cwru(number)[0].doubt for number in (191, 214, 215, 228, 229, 236, 237)} == {"clipped"}
    assert {cwru(number)[0].doubt for number in (177, 283)} == {"electrical noise"}
    # One bearing whatever the load and wherever the load zone.
    assert {entry.bearing for entry in entries("cwru") if entry.part == "DE" and entry.faults == ("outer",)} == {
        "DE-OR007",
        "DE-OR014",
        "DE-OR021",
    }


def test_the_files_at_hand_are_genuine_and_found_under_any_name() -> None:
    store = data()
    for name, least in (("cwru", 119), ("adi_cbm", 70), ("itsc_current", 1)):
        here = [(download, path) for download in downloads(name) if (path := store.find(download))]
        assert len(here) >= least and len({path for _, path in here}) == len(here)
        assert all(is_genuine(path, download) for download, path in here)


def test_the_speeds_of_cwru_are_those_that_its_own_lines_tell() -> None:
    store, checked = data(), 0
    for entry in entries("cwru"):
        download = next(one for one in downloads("cwru") if one.file == entry.file)
        if not store.find(download) or "electrical noise" in entry.doubt:
            continue
        (wave,) = waveforms(store, entry)
        speed = shaft_speed(torch.from_numpy(wave.values_NC[:, 0]), entry.rate_hz, entry.shaft_hz or 0.0)
        assert not speed.contradicted, f"{entry.file}: {entry.rpm} in the catalogue, {60 * speed.hz:.0f} in the signal"
        checked += 1
    assert checked > 100


def write_like(name: str, path: Path, values: np.ndarray) -> None:
    """A file as the set's publisher lays it out, with these samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    column = values[:, None]
    if name == "paderborn":
        channels = np.zeros((1, 4), dtype=[("Name", "O"), ("Data", "O"), ("Raster", "O")])
        channels[0, 0] = ("force", np.ones((1, 2000)), "Mech_4kHz")
        for at, channel in enumerate(("phase_current_1", "phase_current_2", "vibration_1")):
            channels[0, 1 + at] = (channel, (-1.0) ** at * values[None], "HostService")
        scipy.io.savemat(path, {path.stem: {"Info": "", "Y": channels}}, do_compression=True)
    elif name == "uored":
        others = np.zeros((len(values), 4))
        scipy.io.savemat(path, {path.stem: np.concatenate([column, others], 1)})
    elif name == "hust":
        scipy.io.savemat(path, {"data": column, "fs": 25.0, "ru_raw": column[:10]})
    elif name == "mfpt":
        scipy.io.savemat(path, {"bearing": {"sr": 97656.0, "gs": column, "load": "25", "rate": 25.0}})
    elif name == "jnu":
        path.write_text("".join(f"{value}\n" for value in values))
    elif name == "seu":
        head = "".join(f"line {number}\n" for number in range(16))
        separator = "," if path.stem == "ball_20_0" else "\t"
        rows = (separator.join(["0", str(value), *("0" * 6), ""]) for value in values)
        path.write_text(head + "\n".join(rows) + "\n")
    elif name == "xjtu_sy":
        rows = "".join(f"{value},{-value}\n" for value in values)
        path.write_text("Horizontal_vibration_signals,Vertical_vibration_signals\n" + rows)


@pytest.mark.parametrize("name", ["paderborn", "uored", "hust", "mfpt", "jnu", "seu", "xjtu_sy"])
def test_every_layout_is_read(name: str, tmp_path: Path) -> None:
    for entry in entries(name)[:: max(len(entries(name)) // 4, 1)]:
        relative = entry.member.replace("*", "1") if entry.member else entry.file
        write_like(name, tmp_path / name / relative, NOISE)
        (wave,) = waveforms(Store(tmp_path), entry)
        scale = 9.80665 if name in ("hust", "mfpt") else -1.0 if entry.channel == "phase_current_2" else 1.0
        np.testing.assert_allclose(wave.values_NC[:, 0], scale * NOISE, rtol=1e-4, atol=1e-4)


def test_the_record_of_paderborn_that_is_published_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "paderborn" / "KA08"
    for number in range(1, 21):
        write_like("paderborn", folder / f"N15_M01_F10_KA08_{number}.mat", NOISE)
    whole = (folder / "N15_M01_F10_KA08_2.mat").read_bytes()
    (folder / "N15_M01_F10_KA08_2.mat").write_bytes(whole[: len(whole) // 2])
    found = {wave.path.stem.rsplit("_")[-1] for wave in of_set(Store(tmp_path), "paderborn")}
    assert found == {str(number) for number in range(1, 21) if number != 2}


def test_of_what_was_recorded_at_several_rates_the_lowest_is_taken_and_nothing_else_is_left_out() -> None:
    assert len(of_lowest_rate(entries("mfpt"))) == 20  # ten of the outer race: at other loads, whatever their rate
    known = entries("cwru")
    lowest = {entry.group: min(one.rate_hz for one in known if one.group == entry.group) for entry in known}
    assert of_lowest_rate(known) == [entry for entry in known if entry.rate_hz == lowest[entry.group]]


def test_a_motors_current_is_no_vibration_to_judge_by(tmp_path: Path) -> None:
    write_like("paderborn", tmp_path / "paderborn" / "K001" / "N15_M07_F10_K001_1.mat", NOISE)
    assert [wave.entry.channel for wave in of_set(Store(tmp_path), "paderborn")] == ["vibration_1"]
    assert all(entry.is_current for entry in entries("itsc_current"))


def test_a_pattern_names_its_recordings_in_the_order_of_time(tmp_path: Path) -> None:
    entry = entries("xjtu_sy")[0]
    for number in (10, 2, 1):
        write_like("xjtu_sy", tmp_path / "xjtu_sy" / entry.member.replace("*", str(number)), NOISE[:number])
    assert [len(wave.values_NC) for wave in waveforms(Store(tmp_path), entry)] == [1, 2, 10]


def test_of_a_life_the_last_minutes_are_the_damaged_ones_and_each_has_a_name_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for entry in entries("xjtu_sy")[:2]:
        for minute in range(1, 13):
            path = tmp_path / "xjtu_sy" / entry.member.replace("*", str(minute))
            write_like("xjtu_sy", path, rng.normal(size=2600))
    names = {one.piece.recording for one in cut(of_set(Store(tmp_path), "xjtu_sy"), 0.1, 5120.0).windows}
    assert names == {
        f"XJTU-SY_Bearing_Datasets/35Hz12kN/Bearing1_{bearing}/{minute}.csv 0,1"
        for bearing in (1, 2)
        for minute in range(8, 13)
    }


def test_a_file_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="run: iotlam faults data get hust"):
        waveforms(Store(tmp_path), entries("hust")[0])


def test_a_file_that_lacks_the_channel_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "hust" / entries("hust")[0].file
    path.parent.mkdir()
    scipy.io.savemat(path, {"other": NOISE[:, None]})
    with pytest.raises(BadInput, match="no array 'data' but other"):
        waveforms(Store(tmp_path), entries("hust")[0])
