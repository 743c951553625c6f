from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, IotlamError, MissingExtra, PluginError, SensorFrame
from iotlam.plugins import LoadedModality, list_modalities, load, load_many

MANIFEST = """
name = "sonar"
api_version = 1
summary = "echoes"
units = ["Pa"]
dtype = "float32"
dims = ["sample"]
shape = [0]
rate_hz = [1, 10.0]
clock = "site"
stamp = "start"
frame = "sensor"
value_range = [-1.0, 1.0]
missing = "mask"
token_budget = 8
licence = "Apache-2.0"
"""
PLUGIN = """
import numpy as np
import torch
from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec

class Sonar:
    def tokenize(self, frames):
        count = len(frames)
        tokens = torch.ones(1, count, 4)
        return TokenBatch(tokens, torch.ones(1, count, dtype=torch.bool), torch.zeros(1, count), "sonar")

    def token_spec(self):
        return TokenSpec("sonar", dim=4, max_tokens=3)

    def sample(self, seed):
        return [SensorFrame(0, np.full(5, seed, np.float32))]
"""
IMPORTED = ("import SensorFrame", "import BadInput, MissingExtra, SensorFrame")
RAISES = "from iotlam.contracts import BadInput\nraise BadInput('a', expected='b', got='c', fix='d')"
FRAME, LATER = (SensorFrame(t_ns, np.zeros(5, np.float32)) for t_ns in (0, 500_000_000))
Install = Callable[..., Path]


def _put(install: Install, code: str = PLUGIN, manifest: str | None = MANIFEST, package: str = "acme_sonar") -> None:
    files = {} if manifest is None else {"modality.toml": manifest}
    install(package, code, {"iotlam.modalities": {"sonar": f"{package}:Sonar"}}, files)


def _sonar_problem() -> str | None:
    return next(info.problem for info in list_modalities() if info.name == "sonar")


def test_an_installed_plugin_is_listed_without_being_imported(install: Install) -> None:
    _put(install, code="raise RuntimeError('imported')")
    info = next(info for info in list_modalities() if info.name == "sonar")
    assert info.problem is None and info.distribution == "acme_sonar" and info.manifest is not None
    assert info.manifest.units == ("Pa",) and "acme_sonar" not in sys.modules


def test_the_built_in_modalities_are_listed() -> None:
    assert {"lidar", "radar", "video"} <= {info.name for info in list_modalities() if info.manifest}


def test_a_good_plugin_tokenizes(install: Install) -> None:
    _put(install)
    sonar = load("sonar")
    assert sonar.spec.dim == 4 and sonar.manifest.token_budget == 8
    assert sonar.tokenize([FRAME, LATER]).tokens_BTD.shape == (1, 2, 4)
    assert sonar.sample(7)[0].data[0] == 7


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('name = "sonar"', 'name = "radar"', "radar"),
        ("token_budget = 8", 'token_budget = "many"', "token_budget: expected int"),
        ("rate_hz = [1, 10.0]", "rate_hz = [1.0]", "rate_hz"),
        ("shape = [0]", "shape = [0, 3]", "shape of 2 lengths for 1 dims"),
        ("units", "unit", "only known keys, got unit"),
        ("token_budget = 8", "token_budget = 0", "token_budget: expected int >= 1, got 0"),
        ("[-1.0, 1.0]", "[-inf, 1.0]", "value_range from -inf"),
    ],
)
def test_a_broken_manifest_is_listed_with_its_problem(install: Install, old: str, new: str, word: str) -> None:
    _put(install, manifest=MANIFEST.replace(old, new))
    assert word in (_sonar_problem() or "")
    with pytest.raises(PluginError, match="read its manifest"):
        load("sonar")


def test_a_missing_manifest_or_package_is_listed_with_its_problem(install: Install) -> None:
    _put(install, manifest=None)
    assert "readable TOML" in (_sonar_problem() or "")
    install("acme_gone", "", {"iotlam.modalities": {"gone": "no_such_package:Gone"}})
    assert {i.name: i.problem for i in list_modalities()}["gone"] == "package 'no_such_package' is not importable"


def test_a_name_taken_twice_is_a_problem_of_the_second(install: Install) -> None:
    _put(install)
    _put(install, package="acme_sonar_copy")
    problems = {info.distribution: info.problem for info in list_modalities() if info.name == "sonar"}
    assert sorted(problem is None for problem in problems.values()) == [False, True]
    load("sonar")


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        ("import numpy", "import no_such_module, numpy", "import"),
        ("import numpy", "raise SystemExit(3)\nimport numpy", "import"),
        ("import numpy", "class Odd(BaseException): pass\nraise Odd\nimport numpy", "import"),
        (
            "import numpy",
            "from iotlam.contracts import BadInput as B\nraise B('a', expected='b', got='c', fix='d')\nimport numpy",
            "import",
        ),
        ("class Sonar", "class Sonor", "import"),
        ("class Sonar:", "class Sonar:\n    def __init__(self):\n        1 / 0\n", "construct"),
        ("def sample", "def samples", "construct"),
        ('TokenSpec("sonar"', 'TokenSpec("radar"', "token_spec"),
        ("max_tokens=3", "max_tokens=9", "token_spec"),
        ("max_tokens=3", "max_tokens=None", "token_spec"),
        ('return TokenSpec("sonar", dim=4, max_tokens=3)', "return 4", "token_spec"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_with_the_step(install: Install, old: str, new: str, step: str) -> None:
    _put(install, code=PLUGIN.replace(old, new))
    with pytest.raises(PluginError, match=rf"'sonar'.*'{step}'"):
        load("sonar")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("count = len(frames)", "count = frames.total", "AttributeError"),
        ("count = len(frames)", "count = len(frames) + 3", "more than the promised 3"),
        ("torch.ones(1, count, 4)", "torch.ones(1, count, 5)", "dim 5"),
        ("torch.ones(1, count, 4)", "torch.ones(1, count, 4) / 0", "finite"),
        ("torch.ones(1, count, 4)", "torch.ones(1, count, 4).double()", "float64"),
        ("torch.ones(1, count, 4)", "np.ones((1, count, 4))", "numpy.ndarray"),
        ("dtype=torch.bool", "dtype=torch.int64", "mask"),
        ('torch.zeros(1, count), "sonar"', 'torch.zeros(1, count), "radar"', "radar"),
        ("max_tokens=3", "max_tokens=3, positioned=True", "positions"),
        ("return TokenBatch", "return str", "TypeError"),
        ("return TokenBatch(tokens", "return tokens\n        TokenBatch(tokens", "Tensor instead of a TokenBatch"),
    ],
)
def test_a_plugin_that_breaks_its_promise_is_told_how(install: Install, old: str, new: str, word: str) -> None:
    _put(install, code=PLUGIN.replace(old, new))
    with pytest.raises(PluginError, match=word):
        load("sonar").tokenize([FRAME])


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ('BadInput("Echo", expected="a calibration", got="none", fix="calibrate the sonar")', BadInput),
        ('MissingExtra("libsonar", "sonar")', MissingExtra),
        ('ValueError("odd")', PluginError),
        ("SystemExit(3)", PluginError),
    ],
)
def test_what_the_user_can_mend_passes_as_it_is_and_all_else_is_the_plugins(
    install: Install, raised: str, kind: type[IotlamError]
) -> None:
    _put(install, code=PLUGIN.replace("count = len(frames)", f"raise {raised}").replace(*IMPORTED))
    with pytest.raises(IotlamError) as caught:
        load("sonar").tokenize([FRAME])
    assert type(caught.value) is kind
    assert ("plugin 'sonar'" in str(caught.value)) == (kind is PluginError)


def test_what_a_plugin_prints_does_not_spoil_the_output(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    _put(install, code="print('imported')\n" + PLUGIN.replace("count = len(frames)", "print('busy'); count = 1"))
    load("sonar").tokenize([FRAME])
    assert capsys.readouterr() == ("", "imported\nbusy\n")


def test_a_frame_that_does_not_fit_never_reaches_the_plugin(install: Install) -> None:
    _put(install, code=PLUGIN.replace("count = len(frames)", "raise AssertionError"))
    sonar: LoadedModality = load("sonar")
    with pytest.raises(BadInput, match="float32"):
        sonar.tokenize([SensorFrame(0, np.zeros(5))])
    with pytest.raises(BadInput, match="at least one frame"):
        sonar.tokenize([])


def test_an_unknown_name_lists_the_known_and_the_nearest(install: Install) -> None:
    _put(install)
    with pytest.raises(BadInput, match=r"lidar.*sonar.*got 'sonr'; perhaps 'sonar'"):
        load("sonr")
    with pytest.raises(BadInput, match="'zzz'"):
        load_many(["sonar", "zzz"])
    assert list(load_many(["sonar"])) == ["sonar"]


READER = """
from iotlam.contracts import BadInput, SensorFrame
import numpy as np

def read(path):
    for index, line in enumerate(path.read_text().splitlines()):
        if line == "bad":
            raise BadInput(str(path), expected="numbers", got=line, fix="correct it")
        yield SensorFrame(index, np.full(3, float(line), np.float32)) if line != "odd" else line
"""
READS = MANIFEST + 'files = [".txt", ".log"]\nreader = "acme_sonar.files:read"\n'


def _reads(install: Install, tmp_path: Path, text: str) -> tuple[LoadedModality, Path]:
    files = {"modality.toml": READS, "files.py": READER}
    install("acme_sonar", PLUGIN, {"iotlam.modalities": {"sonar": "acme_sonar:Sonar"}}, files)
    path = tmp_path / "echo.TXT"
    path.write_text(text)
    return load("sonar"), path


def test_a_file_is_read_frame_by_frame(install: Install, tmp_path: Path) -> None:
    sonar, path = _reads(install, tmp_path, "1\n2\nnonsense\n")
    frames = sonar.read(path)
    assert [next(frames).data[0], next(frames).data[0]] == [1, 2]
    with pytest.raises(PluginError, match=r"'sonar'.*'read'.*ValueError"):
        next(frames)


@pytest.mark.parametrize(
    ("text", "kind", "word"), [("bad", BadInput, "correct it"), ("odd", PluginError, "a str instead")]
)
def test_what_a_reader_refuses_or_does_wrong_is_told(
    install: Install, tmp_path: Path, text: str, kind: type[IotlamError], word: str
) -> None:
    sonar, path = _reads(install, tmp_path, text)
    with pytest.raises(kind, match=word):
        list(sonar.read(path))


def test_a_file_that_cannot_be_read_is_refused_at_once(install: Install, tmp_path: Path) -> None:
    sonar, path = _reads(install, tmp_path, "1")
    for wrong, word in ((tmp_path / "gone.txt", "none"), (tmp_path / "echo.wav", r"ends in \.txt, \.log")):
        with pytest.raises(BadInput, match=word):
            sonar.read(wrong)
    with pytest.raises(BadInput, match="no reader"):
        load("radar").read(path)
