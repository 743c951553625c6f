"""Whatever bytes a file holds, a reader gives frames or one sentence: no crash, no hang, no flood of memory."""

from __future__ import annotations

import io
import json
import os
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

READERS = {"film": "iotlam_video.files", "still": "iotlam_video.files", "scan": "iotlam_lidar.files"}
MOST_S, MOST_FRAMES, SLACK_BYTES = 5.0, 30, 16_000_000
REAL = {
    "film": ("video/intel_sample_videos/car-detection.mp4", "video/simple_vehicle_counting/dataset/video.avi"),
    "still": (
        "lidar/mmdetection3d/demo/data/kitti/000008.png",
        "video/tumtraf_images/img/1651673069_860530393_s110_camera_basler_south1_8mm.jpg",
    ),
    "scan": ("lidar/kitti_object/velodyne/000001.bin", "lidar/sustechpoints/data/example/lidar/000965.pcd"),
}


def films(folder: Path) -> Iterator[Path]:
    import av

    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (64, 96, 3)).astype(np.uint8)
    for name, codec in (("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.mkv", "libvpx-vp9"), ("d.mov", "mjpeg")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=10, options={"threads": "1"})
            stream.height, stream.width = ground.shape[:2]
            stream.pix_fmt, stream.time_base = "yuvj420p" if codec == "mjpeg" else "yuv420p", Fraction(1, 10)
            for k in range(8):
                picture = ground.copy()
                picture[20:40, 8 * k : 8 * k + 20] = 240
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        yield folder / name


def stills(folder: Path) -> Iterator[Path]:
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8))
    for name, image, options in (
        ("a.jpg", picture, {}), ("b.jpg", picture, {"progressive": True}), ("c.png", picture, {}),
        ("d.png", picture.convert("P"), {}),
    ):  # fmt: skip
        image.save(folder / name, **options)
        yield folder / name


def scans(folder: Path) -> Iterator[Path]:
    points = np.random.default_rng(0).uniform((-40, -40, -2, 0), (40, 40, -1.7, 1), (300, 4)).astype("<f4")
    head = "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 300\nHEIGHT 1\n"
    head += "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 300\nDATA "
    block = points.T.tobytes()
    literals = b"".join(bytes([31]) + block[at : at + 32] for at in range(0, len(block), 32))
    lines = io.StringIO()
    np.savetxt(lines, points, "%.4f")
    for name, content in {
        "a.bin": points.tobytes(), "b.pcd.bin": np.column_stack([points, points[:, :1] * 0]).tobytes(),
        "c.pcd": head.encode() + b"ascii\n" + lines.getvalue().encode(),
        "d.pcd": head.encode() + b"binary\n" + points.tobytes(),
        "e.pcd": head.encode() + b"binary_compressed\n" + struct.pack("<II", len(literals), len(block)) + literals,
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
        yield folder / name


SOURCES = {"film": films, "still": stills, "scan": scans}


class Worker:
    """A process that reads files and says how that went; one that hangs or dies is named by the file."""

    def __init__(self) -> None:
        # Freed memory goes back at once, so that what one file took is not hidden in what another left.
        plain = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **plain},
        )  # fmt: skip

    def read(self, kind: str, path: Path, most_s: float = MOST_S) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([READERS[kind], str(path)]) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], most_s + 1.0)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"{path.name}: {'the reader died' if ready else 'no answer'}"
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    process = Worker()
    for kind, write in SOURCES.items():  # imports and pools are paid before memory is measured
        for path in write(tmp_path_factory.mktemp(kind)):
            answer = process.read(kind, path, 60.0)
            assert answer["frames"] and not answer["problem"], (path.name, answer)
    yield process
    process.close()


@st.composite
def damage(draw: st.DrawFn, count: int) -> tuple[int, float, list[tuple[float, int]]]:
    """Which file, the share of it that is left, and bits that are flipped; headers more often than their share."""
    where = st.one_of(st.floats(0, 1), st.floats(0, 0.05))
    flips = draw(st.lists(st.tuples(where, st.integers(0, 7)), max_size=12))
    return draw(st.integers(0, count - 1)), draw(st.sampled_from([1.0, 1.0, draw(st.floats(0, 1))])), flips


def check(worker: Worker, kind: str, folder: Path, sources: list[Path], examples: int) -> None:
    contents = [source.read_bytes() for source in sources]
    ends = {"frames": 0, "refused": 0}

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damage(len(sources)))
    def run(case: tuple[int, float, list[tuple[float, int]]]) -> None:
        number, left, flips = case
        content = bytearray(contents[number][: round(left * len(contents[number]))])
        for place, bit in flips:
            if content:
                content[min(int(place * len(content)), len(content) - 1)] ^= 1 << bit
        path = folder / f"damaged{''.join(sources[number].suffixes[-2:])}"
        path.write_bytes(content)
        answer = worker.read(kind, path)
        assert answer["problem"] in ("", "BadInput") and "\n" not in answer["said"], answer
        assert answer["seconds"] < MOST_S and answer["rise_bytes"] <= 4 * len(content) + SLACK_BYTES, answer
        ends["refused" if answer["problem"] else "frames"] += 1

    run()
    assert min(ends.values()) > 0, ends


@pytest.mark.parametrize("kind", SOURCES)
def test_damaged_files_give_frames_or_a_sentence(worker: Worker, tmp_path: Path, kind: str) -> None:
    check(worker, kind, tmp_path, list(SOURCES[kind](tmp_path)), 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_many_damaged_files_give_frames_or_a_sentence(worker: Worker, tmp_path: Path, kind: str) -> None:
    real = [Path(os.environ.get("IOTLAM_DATA", "/nowhere")) / name for name in REAL[kind]]
    made = list(SOURCES[kind](tmp_path))
    check(worker, kind, tmp_path, made, 500)
    if present := [path for path in real if path.is_file()]:
        check(worker, kind, tmp_path, present, 100)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # not Linux: never falls, still a bound


def _serve() -> None:
    """The worker: a line in, [module, path]; a line out, how reading went."""
    import importlib

    from iotlam.contracts import BadInput

    for line in sys.stdin:
        module, path = json.loads(line)
        read = importlib.import_module(module).read
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")
        before, start, frames, problem, said = _status("VmRSS"), time.perf_counter(), 0, "", ""
        try:
            for _frame in islice(read(Path(path)), MOST_FRAMES):
                frames += 1
        except BadInput as error:
            problem, said = "BadInput", str(error)
        except BaseException as error:
            problem, said = type(error).__name__, str(error)
        seconds, rise = time.perf_counter() - start, _status("VmHWM") - before
        answer = {"frames": frames, "problem": problem, "said": said, "seconds": seconds, "rise_bytes": rise}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
