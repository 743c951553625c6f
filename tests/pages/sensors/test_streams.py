"""Windows come from recordings where there are any that can be read, from samples otherwise, and say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import ModalityManifest, SensorFrame
from iotlam.pages.sensors.streams import Failure, Stream, cut, gather, recordings, sample_times_s
from iotlam.plugins import load

WAVE = ModalityManifest.from_raw(
    {
        "name": "wave", "api_version": 1, "summary": "s", "units": ["V"], "dtype": "float32", "dims": ["sample"],
        "shape": [0], "rate_hz": [1.0, 100.0], "clock": "site", "stamp": "end", "frame": "none",
        "value_range": [-1e6, 1e6], "missing": "none", "token_budget": 8, "licence": "MIT", "meta": {"rate_hz": "Hz"},
    },
    "wave",
)  # fmt: skip


def only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one modality installed, as far as the page knows."""
    from iotlam.pages.sensors import streams

    infos = [info for info in streams.list_modalities() if info.name == name]
    monkeypatch.setattr(streams, "list_modalities", lambda: infos)


def gathered(data: Path | None) -> tuple[list[Stream], list[Failure]]:
    return gather(4, 2, data, lambda: None)


def write(folder: Path, texts: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    for index, text in enumerate(texts):
        (folder / f"{index}.temps").write_text(text)
    return folder.parent


def readings(first: int, count: int) -> str:
    return " ".join(map(str, range(first, first + count)))


@pytest.mark.usefixtures("thermometer")
def test_without_recordings_samples_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only("thermometer", monkeypatch)
    for data in (None, tmp_path):
        (stream,), failures = gathered(data)
        assert not failures and not stream.recorded and not stream.note
        assert [window.source for window in stream.windows] == [f"sample, seed {200 + index}" for index in range(4)]
        assert stream.tokens[0].tokens_BTD.shape == (1, 20, 2)


@pytest.mark.usefixtures("thermometer")
def test_recordings_are_found_in_the_modalitys_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only("thermometer", monkeypatch)
    write(tmp_path / "other", [readings(0, 30)])
    data = write(tmp_path / "thermometer", [readings(100 * index, 40) for index in range(3)])
    (stream,), _ = gathered(data)
    assert stream.recorded
    names = [window.origin for window in stream.windows]
    assert names == ["thermometer/0.temps", "thermometer/1.temps", "thermometer/2.temps", "thermometer/0.temps"]
    first, later = (stream.windows[index] for index in (0, 3))
    assert len(first.frames) == len(later.frames) == 20
    assert float(later.frames[0].data[0]) > float(first.frames[0].data[0])
    assert later.short_source.startswith("0.temps, ") and later.part.endswith(" s on")


@pytest.mark.usefixtures("thermometer")
def test_recordings_that_cannot_be_read_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only("thermometer", monkeypatch)
    data = write(tmp_path / "a" / "thermometer", ["?", readings(0, 40), "", "?", "?"])
    (stream,), _ = gathered(data)
    assert {window.origin for window in stream.windows} == {"thermometer/1.temps"} and not stream.note
    data = write(tmp_path / "b" / "thermometer", ["?"])
    (stream,), failures = gathered(data)
    assert not failures and not stream.recorded
    assert "expected numbers, got ?; measure again" in stream.note


@pytest.mark.usefixtures("thermometer", "broken")
def test_a_modality_that_fails_is_named_and_the_others_go_on() -> None:
    streams, failures = gathered(None)
    (failure,) = (one for one in failures if one.name == "geiger")
    assert "no such driver" in failure.reason
    assert {"lidar", "thermometer", "video"} <= {stream.name for stream in streams}


def test_suffixes_that_mean_different_things_do_not_clash(tmp_path: Path) -> None:
    for folder in ("lidar", "rf", "video"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.bin").write_bytes(b"")
    assert recordings(load("lidar").manifest, tmp_path) == [tmp_path / "lidar" / "scan.bin"]
    assert not recordings(load("radar").manifest, tmp_path)


@pytest.mark.parametrize("stamp", ["start", "middle", "end"])
def test_part_of_a_waveform_keeps_its_times(stamp: str) -> None:
    manifest = WAVE.changed(stamp=stamp)
    meta = {"rate_hz": 10.0}
    whole = SensorFrame(5_000_000_000, np.arange(100, dtype=np.float32), meta=meta)
    like = [SensorFrame(0, np.zeros(20, np.float32), meta=meta)]
    (part,) = cut(manifest, [whole], like, 0.5)
    time_N = dict(zip(whole.data.tolist(), sample_times_s(manifest, whole), strict=True))
    assert len(part.data) == 20 and part.data[0] == 40.0
    np.testing.assert_allclose(sample_times_s(manifest, part), [time_N[value] for value in part.data.tolist()])


def test_machines_of_one_file_are_told_apart() -> None:
    meta = [{"rate_hz": 10.0, "sensor": f"motor {index}"} for index in range(8)]
    frames = [SensorFrame(0, np.full(30, index, np.float32), meta=one) for index, one in enumerate(meta)]
    like = [SensorFrame(0, np.zeros(30, np.float32), meta=meta[0])]
    assert [cut(WAVE, frames, like, start)[0].sensor for start in (0.0, 0.5, 0.99)] == ["motor 0", "motor 4", "motor 7"]
