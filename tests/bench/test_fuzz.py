"""The harness itself: does it see what it is there to see?"""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from iotlam.bench.fuzz import FuzzReport, Seed, file_modalities, fuzz_reader, seed_files
from iotlam.bench.fuzz.mutations import MUTATIONS, mutate
from iotlam.bench.fuzz.writers import WRITERS
from iotlam.contracts import BadInput
from iotlam.plugins import load

MANIFEST = """
name = "odd"
api_version = 1
summary = "A reader that does what the first byte of its file says"
units = ["/"]
dtype = "uint8"
dims = ["byte"]
shape = [0]
rate_hz = [1.0, 10.0]
clock = "site"
stamp = "end"
frame = "none"
value_range = [0.0, 255.0]
missing = "none"
token_budget = 4
licence = "Apache-2.0"
files = [".odd"]
reader = "odd_sensor:read"
"""
PLUGIN = """
import os, time, warnings
import numpy as np
from iotlam.contracts import BadInput, SensorFrame, TokenSpec

class Odd:
    def tokenize(self, frames): raise NotImplementedError
    def token_spec(self): return TokenSpec("odd", dim=1, max_tokens=4)
    def sample(self, seed): return [SensorFrame(0, np.zeros(4, np.uint8))]

def read(path):
    content = path.read_bytes()
    command = content[:1]
    if command == b"r": raise ValueError("a foreign error")
    if command == b"d": os._exit(7)
    if command == b"h": time.sleep(600)
    if command == b"m": np.ones(50_000_000, np.uint8)
    if command == b"v": np.empty(1 << 40, np.uint8)
    if command == b"b": raise BadInput("File", expected="sense", got="nonsense", fix="mend it")
    if command == b"w": warnings.warn("of numbers", RuntimeWarning)
    if command == b"n": return
    yield SensorFrame(0, np.frombuffer(content, np.int16 if command == b"t" else np.uint8))
    if command == b"l": raise KeyError("after the first frame")
"""


@pytest.fixture
def odd(install, tmp_path: Path):
    install("odd_sensor", PLUGIN, {"iotlam.modalities": {"odd": "odd_sensor:Odd"}}, {"modality.toml": MANIFEST})

    def run(*contents: bytes, cases: int = 0, **options) -> FuzzReport:
        seeds = []
        for number, content in enumerate(contents):
            seeds.append(Seed((tmp_path / f"{number}.odd",)))
            seeds[-1].main.write_bytes(content)
        return fuzz_reader("odd", seeds, cases, limit_s=2.0, **options)

    return run


@pytest.mark.slow
def test_what_a_reader_must_not_do_is_found(odd) -> None:
    wanted = {
        b"r": "ValueError: a foreign error",
        b"l": "KeyError",
        b"v": "MemoryError",
        b"d": "exit code 7",
        b"h": "no end after 2 s",
        b"w": "RuntimeWarning: of numbers",
        b"n": "frames of nothing",
        b"t": "'int16', 1",
    }
    report = odd(*(command + bytes(1001) for command in wanted), b"." + bytes(1001))
    assert (report.cases, report.frames, report.refused) == (9, 1, 0)
    for number, (text, finding) in enumerate(zip(wanted.values(), report.crashes, strict=True)):
        assert text in finding.text and finding.file == f"{number}.odd"


@pytest.mark.slow
def test_memory_is_measured_and_a_refusal_is_no_crash(odd) -> None:
    report = odd(b"." + bytes(999_999), b"m" + bytes(999_999), b"." + bytes(99_999))
    assert report.frames == 3 and not report.crashes
    assert 33.0 <= report.memory_ratio <= 38.0 and "1.odd" in report.memory_worst
    frugal = odd(b"." + bytes(999_999), b"." + bytes(10))
    assert frugal.frames == 2 and frugal.memory_ratio == 0.0
    with pytest.raises(BadInput, match="give a whole file"):
        odd(b"b")


@pytest.mark.slow
def test_offending_files_are_kept_and_the_process_lives_on(odd, tmp_path: Path) -> None:
    report = odd(b"s" + bytes(6), cases=200, keep=tmp_path / "kept")  # one flipped bit makes an r of the s
    crashed = [finding.file for finding in report.crashes]
    assert 0 < len(crashed) < 100 and report.cases == 201 and report.frames + report.refused + len(crashed) == 201
    assert all((tmp_path / "kept" / file).read_bytes()[:1] in b"rlvdhwnt" for file in crashed)
    assert [f.file for f in odd(b"s" + bytes(6), cases=200).crashes] == crashed


@pytest.mark.parametrize("content", [b"", b"\0", b"width 640 height 480 ", bytes(range(256)) * 20])
def test_mutations_take_any_content_and_change_it(content: bytes) -> None:
    rng = np.random.default_rng(0)
    spoilt = [mutate(content, rng) for _ in range(300)]
    assert {how for _, how in spoilt} == {how.__name__ for how in MUTATIONS}
    assert all(len(made) <= len(content) + 20 for made, _ in spoilt)
    if len(content) > 1:
        assert sum(made != content for made, _ in spoilt) > 250
        assert len({made for made, _ in spoilt}) > 50


PACKAGES = {"av": (".mp4", ".mov", ".mkv", ".avi"), "PIL": (".jpg", ".jpeg", ".png"), "scipy": (".mat",)}
readers = pytest.mark.parametrize("name", file_modalities())


@pytest.mark.slow
@readers
def test_seeds_cover_the_suffixes_and_are_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOTLAM_DATA", raising=False)
    plugin, seeds = load(name), seed_files(name, tmp_path)
    wanted = {suffix: len(WRITERS[suffix]) for suffix in plugin.manifest.files}
    absent = {suffix for package, suffixes in PACKAGES.items() if not find_spec(package) for suffix in suffixes}
    small = [seed for seed in seeds if seed.main.parent.name == "small"]
    written = Counter(seed.main.name[seed.main.name.index(".") :] for seed in small)
    assert written == {suffix: count for suffix, count in wanted.items() if suffix not in absent}
    for seed in seeds:
        assert any(True for _ in plugin.read(seed.main)), seed.main
    if plugin.manifest.dims[0] in ("sample", "point"):
        assert max(seed.size for seed in seeds) > 10_000_000
