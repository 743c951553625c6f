import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotlam.blocks.geometry import mounted_pose
from iotlam.contracts import BadInput, SensorFrame
from iotlam.plugins import load
from iotlam_lidar.lzf import decompress
from iotlam_lidar.synthetic import sample_sweep

LIDAR = load("lidar")
POINTS = sample_sweep(0).data[::4]
FIELDS = {"x": "<f4", "y": "<f4", "z": "<f4", "intensity": "<f4"}


def compress(block: bytes) -> bytes:
    """A plain LZF compressor: the latest place of every three bytes, else literals."""
    packed, literals, seen, at = bytearray(), bytearray(), {}, 0

    def flush() -> None:
        for start in range(0, len(literals), 32):
            piece = literals[start : start + 32]
            packed.extend([len(piece) - 1, *piece])
        literals.clear()

    while at < len(block):
        key = block[at : at + 3]
        before = seen.get(key, -1) if len(key) == 3 else -1
        seen[key] = at
        distance = at - before - 1
        if before < 0 or distance >= 8192:
            literals.append(block[at])
            at += 1
            continue
        flush()
        length = 3
        while length < 264 and at + length < len(block) and block[at + length] == block[before + length]:
            length += 1
        code = length - 2
        packed.extend([(min(code, 7) << 5) | distance >> 8, *([code - 7] if code >= 7 else []), distance & 255])
        at += length
    flush()
    return bytes(packed)


def pcd(data: str, points_N4: np.ndarray = POINTS, fields: dict[str, str] = FIELDS, **entries: object) -> bytes:
    """A PCD file; `_` fields are padding, entries replace lines of the header."""
    codes = {name: np.dtype(code) for name, code in fields.items()}
    header = {
        "VERSION": "0.7", "FIELDS": " ".join(name[0] if name[0] == "_" else name for name in fields),
        "SIZE": " ".join(str(code.itemsize) for code in codes.values()),
        "TYPE": " ".join(code.kind.upper() for code in codes.values()), "COUNT": " ".join("1" for _ in codes),
        "WIDTH": len(points_N4), "HEIGHT": 1, "VIEWPOINT": "0 0 0 1 0 0 0", "POINTS": len(points_N4), "DATA": data,
        **entries,
    }  # fmt: skip
    rows = np.zeros(len(points_N4), np.dtype(list(codes.items())))
    for name in codes.keys() & FIELDS.keys():
        rows[name] = points_N4[:, list(FIELDS).index(name)]
    text = "# .PCD v0.7\n" + "".join(f"{key} {value}\n" for key, value in header.items())
    if data == "ascii":
        body = "".join(" ".join(repr(value.item()) for value in row) + "\n" for row in rows).encode()
    elif data == "binary":
        body = rows.tobytes()
    else:
        block = b"".join(rows[name].tobytes() for name in codes)
        packed = compress(block)
        body = struct.pack("<II", len(packed), len(block)) + packed
    return text.encode() + body


def read(folder: Path, name: str, content: bytes, calibration: str = "") -> SensorFrame:
    (folder / name).write_bytes(content)
    if calibration:
        (folder / f"{name}.calibration.toml").write_text(calibration)
    (frame,) = LIDAR.read(folder / name)
    LIDAR.tokenize([frame])  # which holds it against the manifest
    return frame


def test_kitti_and_nuscenes_layouts(tmp_path: Path) -> None:
    kitti = read(tmp_path, "000007.bin", POINTS.tobytes())
    np.testing.assert_array_equal(kitti.data, POINTS)
    rings = np.column_stack([POINTS[:, :3], POINTS[:, 3] * 255, np.arange(len(POINTS)) % 32]).astype(np.float32)
    sweep = read(tmp_path, "n1__LIDAR_TOP__1532402927647951.pcd.bin", rings.tobytes())
    np.testing.assert_allclose(sweep.data, POINTS, atol=1e-6)
    assert sweep.t_ns == 1532402927647951000 and kitti.t_ns == 0 and kitti.sensor == sweep.sensor == "lidar"


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_pcd_in_every_form_and_order(tmp_path: Path, data: str) -> None:
    plain = read(tmp_path, "a.pcd", pcd(data))
    np.testing.assert_array_equal(plain.data, POINTS)
    mixed = {"_1": "u1", "intensity": "<u1", "z": "<f8", "ring": "<u2", "x": "<f4", "_2": "<f8", "y": "<f4"}
    scaled = POINTS * np.array([1, 1, 1, 255], np.float32)
    other = read(tmp_path, "b.PCD", pcd(data, scaled, mixed))
    np.testing.assert_array_equal(other.data[:, :3], POINTS[:, :3])
    np.testing.assert_allclose(other.data[:, 3], POINTS[:, 3], atol=1 / 255)
    bare = read(tmp_path, "c.pcd", pcd(data, POINTS, {name: FIELDS[name] for name in "xyz"}))
    assert not bare.data[:, 3].any() and bare.meta["intensity"] == "none in the file"


def test_a_pcd_whose_padding_has_counts(tmp_path: Path) -> None:
    rows = np.zeros(len(POINTS), np.dtype({"names": list("xyz"), "formats": ["<f4"] * 3, "offsets": [0, 4, 8],
                                           "itemsize": 16}))  # fmt: skip
    for axis, name in enumerate("xyz"):
        rows[name] = POINTS[:, axis]
    head = pcd("binary", POINTS[:0], dict.fromkeys("xyz", "<f4"), FIELDS="x y z _ _", SIZE="4 4 4 1 8",
               TYPE="F F F U F", COUNT="1 1 1 4 0", POINTS=len(POINTS), WIDTH=len(POINTS))  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path, "a.pcd", head + rows.tobytes()).data[:, :3], POINTS[:, :3])


def test_missing_returns_and_returns_from_nowhere_are_marked(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[0, 1], points[1, 0], points[2, 3] = np.nan, 400.0, -0.5
    data = read(tmp_path, "a.bin", points.tobytes()).data
    assert np.isnan(data[:3]).any(axis=1).all() and np.isfinite(data[3:]).all()


def test_the_pose_is_given_named_or_found_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "a.bin", POINTS.tobytes())
    np.testing.assert_allclose(found.pose_site, mounted_pose((0, 0, 5.0)), atol=0.02)
    assert found.meta["calibration"] == "assumed level, 5.00 m above the ground that the scan shows"
    mount = 'sensor = "west"\nstart_ns = 9\nintensity_max = 2\nmount = {position_m = [1, 2, 3], yaw_deg = 90}'
    given_frame = read(tmp_path, "b.bin", POINTS.tobytes(), mount)
    np.testing.assert_allclose(given_frame.pose_site, mounted_pose((1, 2, 3), np.pi / 2))
    assert (given_frame.sensor, given_frame.t_ns) == ("west", 9)
    np.testing.assert_allclose(given_frame.data[:, 3], POINTS[:, 3] / 2)
    car = read(tmp_path, "c.bin", POINTS.tobytes(), 'vehicle = "nuscenes"')
    # nuScenes: the sensor's y axis looks to the front of the car, east.
    np.testing.assert_allclose(car.pose_site @ [0, 1, 0, 1], [1, 0, 1.84, 1], atol=1e-12)
    assert car.meta["calibration"].startswith("vehicle nuscenes named by c.bin.calibration.toml: 1.84 m")


def test_an_empty_scan_needs_a_calibration(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shows the ground"):
        read(tmp_path, "a.bin", b"")
    assert read(tmp_path, "a.bin", b"", 'vehicle = "kitti"').data.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.bin", POINTS.tobytes()[:-3], "whole points of 16 bytes"),
        ("a.bin", (POINTS * 1e9).tobytes(), "outside; check the layout"),
        ("a.bin", (POINTS * 255).tobytes(), "intensities from 0 to full"),
        ("a.pcd", b"hello", "header without an end"),
        ("a.pcd", b"x" * 100_000, "header without an end"),
        ("a.pcd", pcd("binary", POINTS=10**12), "1000000000000 points in"),
        ("a.pcd", pcd("ascii", POINTS=10**12), "1000000000000 points in"),
        ("a.pcd", pcd("ascii", POINTS=len(POINTS) + 1), "fewer lines"),
        ("a.pcd", pcd("binary_compressed", POINTS=10**12), "take at most 16 MB"),
        ("a.pcd", pcd("binary_compressed", POINTS=9), "another size than the header's"),
        ("a.pcd", pcd("binary_compressed")[:-9], "compressed bytes"),
        ("a.pcd", pcd("binary")[:-9], "points in"),
        ("a.pcd", pcd("binary", POINTS=-1), "without POINTS"),
        ("a.pcd", pcd("binary", DATA="zip"), "unknown DATA"),
        ("a.pcd", pcd("binary", TYPE="F F F"), "do not fit together"),
        ("a.pcd", pcd("binary", SIZE="4 4 3 4"), "known number format"),
        ("a.pcd", pcd("binary", FIELDS="x y u intensity"), "known number format"),
        ("a.pcd", pcd("ascii").replace(b".", b"q"), "whole PCD file"),
    ],
)
def test_damaged_scans_are_one_sentence(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        read(tmp_path, name, content, 'vehicle = "kitti"')
    assert "\n" not in str(caught.value) and name in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 30), st.binary(max_size=40))
def test_lzf_gives_back_what_went_in(head: bytes, times: int, tail: bytes) -> None:
    block = head * times + tail + head
    packed = compress(block)
    assert decompress(packed, len(block)) == block
    with pytest.raises(ValueError):
        decompress(packed, len(block) + 1)


def test_lzf_references_are_bounded() -> None:
    assert decompress(bytes([0, 65, 0xE0, 255, 0]), 265) == b"A" * 265
    for packed, size in ((b"\x20\x00", 3), (b"\x00A\xe0", 3), (b"\x00A\xe0\xff", 265), (b"\x00A\xe0\xff\x05", 265),
                         (bytes([0, 65]) + b"\xe0\xff\x00" * 9999, 10)):  # fmt: skip
        with pytest.raises(ValueError):
            decompress(packed, size)


@pytest.mark.filterwarnings("error")
def test_signalling_nan_of_a_damaged_file_is_missing_without_a_warning(tmp_path: Path) -> None:
    rows = POINTS.copy()
    rows.view("<u4")[0] = 0x7FA00000
    frame = read(tmp_path, "a.bin", rows.tobytes())
    assert np.isnan(frame.data[0]).all() and np.isfinite(frame.data[1:]).all()
