"""Recordings written here are read back; whatever is wrong with one is said in a sentence."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, check_window
from iotlam.plugins import load
from iotlam_spectrum.files import WINDOW, read
from iotlam_spectrum.raw import TYPES
from iotlam_spectrum.sigmf import MAX_CAPTURES

RNG = np.random.default_rng(0)
COUNT = 2 * WINDOW + 300
FULL = (RNG.uniform(-0.9, 0.9, (COUNT, 2)) @ (1, 1j)).astype(np.complex64)
SIGMF_TYPES = ["cf32_le", "cf32_be", "cf64_le", "ci32_be", "ci16_le", "ci16_be", "cu16_le", "ci8", "cu8"]


def stored(dtype: str) -> bytes:
    parts = FULL.view(np.float32)
    kind, size = np.dtype(dtype).kind, np.dtype(dtype).itemsize
    if kind == "f":
        return parts.astype(dtype).tobytes()
    half = 2.0 ** (8 * size - 1)
    return np.floor(parts.astype(np.float64) * half + (half if kind == "u" else 0)).astype(dtype).tobytes()


def sigmf(folder: Path, changed: dict | None = None, captures: list | None = None, datatype: str = "ci16_le") -> Path:
    numpy_type = f"{'>' if datatype.endswith('be') else '<'}{datatype[1]}{int(datatype[2:].split('_')[0]) // 8}"
    (folder / "a.sigmf-data").write_bytes(stored(numpy_type))
    told = {"core:datatype": datatype, "core:sample_rate": 2e6, "core:version": "1.2.0", "other:key": [1, {"x": 2}]}
    content = {
        "global": {**told, **(changed or {})},
        "captures": [{"core:sample_start": 0}] if captures is None else captures,
        "annotations": [{"core:sample_start": 5, "core:comment": "left unread"}],
    }
    path = folder / "a.sigmf-meta"
    path.write_text(json.dumps(content))
    return path


def test_every_suffix_of_the_manifest_is_read() -> None:
    assert set(load("spectrum").manifest.files) == {".sigmf-meta", ".sigmf-data", *TYPES}


@pytest.mark.parametrize("suffix", TYPES)
def test_raw_recordings(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x_433.92M_250k{suffix}"
    path.write_bytes(stored(TYPES[suffix]))
    frames = list(load("spectrum").read(path))
    np.testing.assert_allclose(np.concatenate([f.data for f in frames]), FULL, atol=1.5 / 128)
    assert [len(frame.data) for frame in frames] == [WINDOW, WINDOW, 300]
    assert [frame.t_ns for frame in frames] == [WINDOW * 4000, 2 * WINDOW * 4000, COUNT * 4000]
    assert frames[0].meta == {"sensor": "x_433.92M_250k", "rate_hz": 250e3, "centre_hz": 433.92e6}
    check_window(load("spectrum").manifest, frames)


def test_unsigned_samples_have_no_offset(tmp_path: Path) -> None:
    path = tmp_path / "x_2Msps.cu8"
    path.write_bytes(bytes([0, 255, 127, 128]))
    (frame,) = read(path)
    np.testing.assert_allclose(frame.data, np.array([-127.5 + 127.5j, -0.5 + 0.5j]) / 128)


@pytest.mark.parametrize("datatype", SIGMF_TYPES)
@pytest.mark.parametrize("suffix", [".sigmf-meta", ".sigmf-data"])
def test_sigmf_types(tmp_path: Path, datatype: str, suffix: str) -> None:
    frames = list(read(sigmf(tmp_path, datatype=datatype).with_suffix(suffix)))
    np.testing.assert_allclose(np.concatenate([f.data for f in frames]), FULL, atol=1.5 / 128)
    assert frames[0].meta["rate_hz"] == 2e6 and frames[0].meta["centre_hz"] == 0.0


def test_sigmf_captures_have_their_own_frequency_and_time(tmp_path: Path) -> None:
    captures = [
        {"core:sample_start": 0, "core:frequency": 1e8, "core:datetime": "1970-01-01T00:00:10.25Z"},
        {"core:sample_start": 5000, "core:frequency": 2e8, "core:datetime": "1970-01-01T00:01:00+00:00"},
    ]
    frames = list(read(sigmf(tmp_path, captures=captures)))
    assert [len(frame.data) for frame in frames] == [4096, 904, COUNT - 5000]
    assert [frame.meta["centre_hz"] for frame in frames] == [1e8, 1e8, 2e8]
    assert [frame.t_ns for frame in frames] == [
        10_250_000_000 + 4096 * 500, 10_250_000_000 + 5000 * 500, 60_000_000_000 + (COUNT - 5000) * 500,
    ]  # fmt: skip
    np.testing.assert_allclose(np.concatenate([f.data for f in frames]), FULL, atol=1e-4)


def test_sigmf_of_another_data_file_with_headers(tmp_path: Path) -> None:
    captures = [{"core:sample_start": 0, "core:header_bytes": 44}, {"core:sample_start": 100, "core:header_bytes": 8}]
    path = sigmf(tmp_path, {"core:dataset": "rec.bin", "core:trailing_bytes": 3}, captures)
    samples = (tmp_path / "a.sigmf-data").read_bytes()
    (tmp_path / "rec.bin").write_bytes(bytes(44) + samples[:400] + bytes(8) + samples[400:] + bytes(3))
    (tmp_path / "a.sigmf-data").unlink()
    np.testing.assert_allclose(np.concatenate([f.data for f in read(path)]), FULL, atol=1e-4)


def test_the_checksum_is_held(tmp_path: Path) -> None:
    path = sigmf(tmp_path)
    right = hashlib.sha512((tmp_path / "a.sigmf-data").read_bytes()).hexdigest()
    assert len(list(read(sigmf(tmp_path, {"core:sha512": right.upper()})))) == 3
    with pytest.raises(BadInput, match="copy the recording again"):
        read(sigmf(tmp_path, {"core:sha512": right[:-1] + ("0" if right[-1] != "0" else "1")}))
    assert path.exists()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"core:datatype": "rf32_le"}, "convert the samples to complex"),
        ({"core:datatype": "cf16_le"}, "cf32_le"),
        ({"core:datatype": 7}, "SigMF metadata"),
        ({"core:sample_rate": None}, "core:sample_rate"),
        ({"core:sample_rate": 0}, "true rate"),
        ({"core:sample_rate": 1e-300}, "true rate"),
        ({"core:num_channels": 2}, "one channel"),
        ({"core:metadata_only": True}, "metadata only"),
        ({"core:dataset": "../a.sigmf-data"}, "same folder"),
        ({"core:dataset": "none.bin"}, "no such file"),
        ({"core:dataset": "x" * 5000}, "no such file"),
        ({"core:dataset": "a\0b"}, "no such file"),
        ({"core:trailing_bytes": -4}, "negative"),
        ({"core:trailing_bytes": 10**18}, "0 bytes"),
        ({"core:trailing_bytes": 1}, "whole samples"),
    ],
)
def test_bad_sigmf(tmp_path: Path, changed: dict, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        read(sigmf(tmp_path, changed))


@pytest.mark.parametrize(
    ("captures", "match"),
    [
        ([{"core:sample_start": COUNT}], "within the data"),
        ([{"core:sample_start": 9}, {"core:sample_start": 9}], "one after another"),
        ([{"core:sample_start": -1}], "one after another"),
        ([{}], "sample_start"),
        ([{"core:sample_start": 0, "core:frequency": -1.0}], "frequency"),
        ([{"core:sample_start": 0, "core:datetime": "yesterday"}], "RFC 3339"),
        ([{"core:sample_start": 0, "core:datetime": "1066-10-14T09:00:00Z"}], "1970"),
        ([{"core:sample_start": 0, "core:header_bytes": 2}], "whole samples"),
        ([{"core:sample_start": i} for i in range(MAX_CAPTURES + 1)], "split the recording"),
    ],
)
def test_bad_captures(tmp_path: Path, captures: list, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        read(sigmf(tmp_path, captures=captures))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"global": {}}', b"\xff\xfe", b"[" * 100_000])
def test_metadata_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = sigmf(tmp_path)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="SigMF metadata"):
        read(path)


def test_companions_that_are_missing(tmp_path: Path) -> None:
    path = sigmf(tmp_path)
    (tmp_path / "a.sigmf-data").rename(tmp_path / "b.sigmf-data")
    for lonely in (path, tmp_path / "b.sigmf-data"):
        with pytest.raises(BadInput, match="no such file"):
            read(lonely)


@pytest.mark.parametrize(
    ("name", "rate_hz", "centre_hz"),
    [
        ("g001_433.92M_250k.cu8", 250e3, 433.92e6), ("x_2Msps.cu8", 2e6, 0.0), ("x_2.4MSPS_1090MHz.cu8", 2.4e6, 1.09e9),
        ("2023-08-05_08-02-00_16000000SPS_2274000000Hz.cu8", 16e6, 2.274e9),
    ],
)  # fmt: skip
def test_names_that_tell_the_rate(tmp_path: Path, name: str, rate_hz: float, centre_hz: float) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(20))
    (frame,) = read(path)
    assert frame.meta["rate_hz"] == pytest.approx(rate_hz) and frame.meta["centre_hz"] == pytest.approx(centre_hz)


@pytest.mark.parametrize(
    "name",
    ["x.cu8", "433.92M_250k.cu8", "x_1_2.cu8", "x_1Msps_2Msps.cu8", "HackRF-20170302_120000-433_92MHz-1MSps-1MHz.cu8"],
)
def test_names_that_do_not(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(20))
    with pytest.raises(BadInput, match=r"write 'rate_hz = 1e6' with the true rate into '.*\.cu8\.toml'"):
        read(path)
    path.with_name(name + ".toml").write_text('rate_hz = 3.2e5\ncentre_hz = 1e8\nstart_ns = 7\nsensor = "roof"\n')
    (frame,) = read(path)
    assert frame.meta == {"sensor": "roof", "rate_hz": 3.2e5, "centre_hz": 1e8} and frame.t_ns == 7 + 31250


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x_1Msps.complex", bytes(12), "whole samples of 8 bytes, got 12 bytes"),
        ("x_1Msps.complex", b"", "one or more whole samples"),
        ("x_0sps.cu8", bytes(4), "true rate"),
        ("x_1Msps.bin", bytes(4), "core:dataset"),
        ("x_1Msps.coco", bytes(4), "unpack it with tar -xjf"),
        ("x_1Msps.sigmf", bytes(4), "unpack the archive"),
    ],
)
def test_bad_raw_recordings(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=match):
        read(path)


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = tmp_path / "x_1Msps.cf32"
    with path.open("wb") as file:
        file.truncate(8 * 10**12)  # sparse: 8 TB that nobody could hold
    frame = next(iter(read(path)))
    assert len(frame.data) == WINDOW and not frame.data.any()
