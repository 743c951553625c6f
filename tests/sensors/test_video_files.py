import io
import struct
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from iotlam.contracts import BadInput, MissingExtra, SensorFrame
from iotlam.plugins import load
from iotlam_video.calibration import reduced_size
from iotlam_video.files import read as read_lazily
from iotlam_video.projection import ground_points

VIDEO = load("video")
TIMES_MS = (0, 40, 80, 200, 240, 1000)  # a camera that drops pictures


def scene(second: float, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A red square that moves right over green ground."""
    picture = np.full((*size, 3), (30, 120, 60), np.uint8)
    left = int(8 + 30 * second)
    picture[16:32, left : left + 16] = (220, 40, 40)
    return picture


def film(
    path: Path, codec: str = "mpeg4", times_ms: tuple[int, ...] = TIMES_MS, size: tuple[int, int] = (48, 64)
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate, stream.codec_context.time_base = 800_000, Fraction(1, 1000)
        for t_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(scene(t_ms / 1000, size), "rgb24")
            frame.pts, frame.time_base = t_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def still(picture: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a row of nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", shape), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_header(width: int, height: int, **options: object) -> bytes:
    """A small JPEG whose frame header claims another size."""
    whole = bytearray(still(scene(0), "JPEG", **options))
    at = whole.index(b"\xff\xc2" if options else b"\xff\xc0")
    whole[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(whole)


def read_one(folder: Path, name: str, content: bytes, calibration: str = "") -> SensorFrame:
    (folder / name).write_bytes(content)
    if calibration:
        (folder / "calibration.toml").write_text(calibration)
    (frame,) = VIDEO.read(folder / name)
    VIDEO.tokenize([frame])
    return frame


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264"), ("a.MKV", "libvpx-vp9")]
)
def test_films_keep_times_and_colours(tmp_path: Path, name: str, codec: str) -> None:
    frames = list(VIDEO.read(film(tmp_path / name.lower(), codec).rename(tmp_path / name)))
    assert [frame.t_ns for frame in frames] == [t * 1_000_000 for t in TIMES_MS]
    for frame, t_ms in zip(frames, TIMES_MS, strict=True):
        assert np.abs(frame.data.astype(int) - scene(t_ms / 1000)).mean() < 8
        assert frame.data.shape == (48, 64, 3) and frame.data[24, int(16 + 0.03 * t_ms)].argmax() == 0
    assert VIDEO.tokenize(frames[-2:]).tokens_BTD[0, :, 9:12].max() > 0.5  # what moved shows


def test_an_avi_counts_its_pictures(tmp_path: Path) -> None:
    frames = list(VIDEO.read(film(tmp_path / "a.avi", times_ms=(0, 40, 80, 120))))
    assert [frame.t_ns for frame in frames] == [0, 40_000_000, 80_000_000, 120_000_000]


def test_films_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", times_ms=tuple(range(0, 4000, 40)))
    (tmp_path / "calibration.toml").write_text("start_ns = 7_000_000_000")
    frames = read_lazily(path)
    assert [next(frames).t_ns for _ in range(3)] == [7_000_000_000, 7_040_000_000, 7_080_000_000]
    frames.close()


def test_nothing_beside_the_file_is_said_to_be_assumed(tmp_path: Path) -> None:
    frame = read_one(tmp_path, "a.png", still(scene(0), "PNG"))
    assert frame.meta["calibration"] == (
        "pose assumed: level, 6 m above the site's origin, looking east; field of view assumed: 60 degrees"
    )
    focal = 32 / np.tan(np.radians(30))
    np.testing.assert_allclose(frame.meta["intrinsics"], [[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1]])
    np.testing.assert_allclose(frame.pose_site @ [0, 0, 1, 1], [1, 0, 6, 1], atol=1e-12)
    np.testing.assert_array_equal(frame.data, scene(0))


def test_a_calibration_beside_the_file_counts(tmp_path: Path) -> None:
    intrinsics = [[70.0, 0.0, 30.0], [0.0, 71.0, 20.0], [0.0, 0.0, 1.0]]
    text = (
        f'sensor = "north"\nintrinsics = {intrinsics}\nmount = {{position_m = [1, 2, 5], yaw_deg = 90, pitch_deg = 10}}'
    )
    frame = read_one(tmp_path, "a.jpg", still(scene(0), "JPEG"), text)
    assert frame.sensor == "north" and frame.meta["calibration"] == (
        "pose from calibration.toml; optics from calibration.toml"
    )
    np.testing.assert_allclose(frame.meta["intrinsics"], intrinsics)
    forward = [1, 2 + np.cos(np.radians(10)), 5 - np.sin(np.radians(10)), 1]
    np.testing.assert_allclose(frame.pose_site @ [0, 0, 1, 1], forward, atol=1e-12)
    for wrong in ("fov_deg = 200", "max_tokens = 1", f"fov_deg = 60\nintrinsics = {intrinsics}"):
        with pytest.raises(BadInput):
            read_one(tmp_path, "a.jpg", still(scene(0), "JPEG"), wrong)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_large_pictures_are_reduced_and_their_intrinsics_with_them(tmp_path: Path, kind: str) -> None:
    picture = np.full((1200, 1920, 3), 60, np.uint8)
    picture[700:740, 1500:1560] = 250
    frame = read_one(tmp_path, f"a.{kind}", still(picture, {"png": "PNG", "jpg": "JPEG"}[kind]), "fov_deg = 80")
    assert frame.data.shape == (140, 224, 3)
    focal = 960 / np.tan(np.radians(40))
    before = np.array([[focal, 0, 959.5], [0, focal, 599.5], [0, 0, 1.0]])
    row, column = np.nonzero(frame.data[:, :, 0] > 150)
    place_X = ground_points(np.array([[column.mean(), row.mean()]]), frame.pose_site, frame.meta["intrinsics"])
    want_X = ground_points(np.array([[1529.5, 719.5]]), frame.pose_site, before)
    # A pixel of the reduced picture is a degree high; 54 m away that is 5 m along the ground.
    np.testing.assert_allclose(place_X, want_X, rtol=0.04)


@pytest.mark.parametrize("size", [(9, 5000), (5000, 9), (720, 1280), (2160, 3840), (8, 8), (180, 182)])
@pytest.mark.parametrize("tokens", [2, 96, 1024, 4096])
def test_reduced_pictures_keep_within_the_tokens(size: tuple[int, int], tokens: int) -> None:
    height, width = reduced_size(*size, tokens)
    assert height // 4 * (width // 8) <= tokens and 8 <= height <= size[0] and 8 <= width <= size[1]
    if min(size) >= 180 and tokens >= 96:
        assert height // 4 * (width // 8) > 0.75 * min(tokens, size[0] * size[1] // 32)
        assert (width / height) / (size[1] / size[0]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_other_pictures_of_eight_bits(tmp_path: Path, mode: str) -> None:
    out = io.BytesIO()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.fromarray(scene(0)).convert(mode).save(out, kind)
    assert read_one(tmp_path, "a.png", out.getvalue()).data.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.png", b"", "JPEG or PNG"),
        ("a.jpg", b"GIF89a" + bytes(100), "JPEG or PNG"),
        ("a.png", png_header(60_000, 60_000), "pixels"),
        ("a.png", png_header(8000, 4000), "a picture of 4000 x 8000, 160 MB"),
        ("a.png", png_header(64, 48), "truncated|not enough|broken"),
        ("a.jpg", jpeg_header(65_000, 65_000), "pixels"),
        ("a.jpg", jpeg_header(8000, 7000, progressive=True), "a picture of 7000 x 8000"),
        ("a.jpg", still(scene(0), "JPEG")[:-200], "[Tt]runcated"),
        ("a.png", still(np.zeros((4, 64, 3), np.uint8), "PNG"), "at least 8 x 8"),
        ("a.png", still(np.zeros((48, 64), np.uint16), "PNG"), "8 bits per channel"),
        ("a.mp4", b"", "a film"),
        ("a.mkv", bytes(5000), "a film"),
        ("a.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n", "a film"),
        ("a.mkv", b"ffconcat version 1.0\nfile /etc/hostname\n", "a film"),
    ],
)  # fmt: skip
def test_damaged_and_absurd_files_are_one_sentence(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        read_one(tmp_path, name, content)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_film_too_large_for_its_file_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", times_ms=(0,), size=(2160, 3840))
    with pytest.raises(BadInput, match="a film of 2160 x 3840, 166 MB|pixels"):
        list(VIDEO.read(path))


def test_a_film_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mkv", times_ms=tuple(range(0, 2000, 40))).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    assert 10 < sum(1 for _ in read_lazily(tmp_path / "b.mkv")) < 50
    path = film(tmp_path / "a.mp4", times_ms=tuple(range(0, 2000, 40)))
    path.write_bytes(path.read_bytes()[:-1000])  # an .mp4 tells where its pictures are at its end
    with pytest.raises(BadInput, match="a film"):
        list(read_lazily(path))


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(BadInput, match="no video stream"):
        list(VIDEO.read(tmp_path / "a.mkv"))


@pytest.mark.parametrize(("name", "module", "package"), [("a.mp4", "av", "av"), ("a.jpg", "PIL.Image", "pillow")])
def test_without_the_decoder_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"'{package}'.*iotlam\[sensors\]"):
        list(VIDEO.read(tmp_path / name))
