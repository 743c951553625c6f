"""Plugins that are broken on purpose: each the template with one small mistake, which exactly one check must name.

They prove that the checks can fail; `iotlam bench plugins` and the tests run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from iotlam.conformance.kit import LIMIT_S, examine
from iotlam.conformance.results import Report
from iotlam.conformance.scaffold import render
from iotlam.conformance.target import resolve

NAME = "thermal"


class Edit(NamedTuple):
    """A change of one file: every occurrence of a text becomes another; "" stands for the whole file."""

    file: str
    old: str
    new: str


class Broken(NamedTuple):
    """A mistake in a plugin.

    Attributes:
        check: the one check that must fail.
        mistake: what is wrong, in a few words.
        edits: how the template is changed.
        name: name of the modality.
    """

    check: str
    mistake: str
    edits: Sequence[Edit]
    name: str = NAME


def write_broken(broken: Broken, folder: Path) -> Path:
    """Write the project of a broken plugin.

    Args:
        broken: the mistake.
        folder: a new folder.

    Raises:
        ValueError: if an edit changes nothing: the template has moved on.
    """
    render(folder, broken.name)
    for edit in broken.edits:
        inside = folder / f"iotlam_{broken.name}" / edit.file
        path = inside if inside.exists() else folder / edit.file
        text = path.read_text(encoding="utf-8")
        if edit.old not in text:
            raise ValueError(f"{broken.mistake}: {edit.file} has no '{edit.old}'")
        path.write_text(text.replace(edit.old, edit.new) if edit.old else edit.new, encoding="utf-8")
    return folder


def examine_broken(broken: Broken, folder: Path, limit_s: float = LIMIT_S) -> Report:
    """What the kit finds of a broken plugin, written to a new folder."""
    return examine(resolve(str(write_broken(broken, folder))), limit_s=limit_s)


def _manifest(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("modality.toml", old, new)])


def _plugin(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("plugin.py", old, new)])


def _patches(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("patches.py", old, new)])


def _encoder(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("encoder.py", old, new)])


def _sample(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("synthetic.py", old, new)])


def _reader(check: str, mistake: str, old: str, new: str) -> Broken:
    return Broken(check, mistake, [Edit("files.py", old, new)])


def _begin(check: str, mistake: str, line: str, imports: str = "numpy as np") -> Broken:
    """A line at the beginning of `tokenize`, with what it imports."""
    begin = "        cuts = [cut_patches"
    edits = [Edit("plugin.py", begin, f"        {line}\n{begin}")]
    if imports != "numpy as np":
        edits.append(Edit("plugin.py", "import numpy as np\n", f"import numpy as np\nimport {imports}\n"))
    return Broken(check, mistake, edits)


CONSTRUCTOR = "        self.encoder = PatchEncoder().eval()\n"
RETURN = "        return TokenBatch(\n"
VALID = "    valid_N = np.isfinite(values_N)\n"
TRY = "\n        except OSError:\n            pass"

MANIFEST = (
    _manifest("manifest-valid", "a value that the manifest does not know", 'stamp = "end"', 'stamp = "late"'),
    _manifest("manifest-valid", "a key that the manifest does not know", "causal = true", "casual = true"),
    _manifest("manifest-valid", "a key that is missing", 'clock = "site"\n', ""),
    _manifest("manifest-valid", "a unit that nobody knows", '["Cel"]', '["degC"]'),
    _manifest("manifest-valid", "no TOML", 'name = "thermal"', "name = thermal"),
    _manifest("manifest-named-as-entry-point", "another name than the entry point's", '"thermal"', '"termal"'),
    _manifest("licence-is-spdx", "a licence in prose", '"Apache-2.0"', '"Apache License, version 2"'),
    _manifest("summary-is-one-line", "a summary of two lines", "patches of 16 samples", "patches\\nof 16 samples"),
    _manifest("metadata-explained", "metadata that nobody explains", '"sample rate, hertz"', '"rate"'),
    _manifest("value-range-is-tight", "the range of the dtype", "[-40.0, 125.0]", "[-1e9, 1e9]"),
)
LOADING = (
    Broken("imports", "a module that is not there", [Edit("__init__.py", "from iotlam", "import gone\nfrom iotlam")]),
    Broken("imports", "an exit on import", [Edit("__init__.py", "from iotlam", "raise SystemExit(3)\nfrom iotlam")]),
    _plugin(
        "constructs", "a constructor that raises", CONSTRUCTOR, f'{CONSTRUCTOR}        raise OSError("no licence")\n'
    ),
    _plugin("constructs", "a constructor that never ends", CONSTRUCTOR, f"{CONSTRUCTOR}        while True: pass\n"),
    _plugin("has-the-methods", "a method of another name", "def sample(", "def samples("),
    _plugin("spec-fits-manifest", "more tokens than the budget", "max_tokens=MAX_TOKENS", "max_tokens=2 * MAX_TOKENS"),
    _plugin("spec-fits-manifest", "a spec of another modality", 'TokenSpec("thermal"', 'TokenSpec("lidar"'),
    _plugin(
        "spec-is-constant",
        "a spec that changes",
        'return TokenSpec("thermal", dim=DIM, max_tokens=MAX_TOKENS)',
        "self.asked = getattr(self, 'asked', 0) + 1\n"
        '        return TokenSpec("thermal", dim=DIM, max_tokens=MAX_TOKENS - self.asked)',
    ),
)
DATA = (
    _plugin("sample-gives-frames", "bare arrays", "return [sample_frame(seed)]", "return [sample_frame(seed).data]"),
    _plugin("sample-gives-frames", "no frame", "return [sample_frame(seed)]", "return []"),
    _sample("sample-fits-manifest", "another dtype than declared", "astype(np.float32)", "astype(np.float64)"),
    _sample("sample-is-reproducible", "a sample without its seed", "default_rng(seed)", "default_rng()"),
    _sample("samples-vary", "one sample for all seeds", "default_rng(seed)", "default_rng(0)"),
    _plugin("tokenizes", "an attribute that is not there", "torch.no_grad()", "torch.no_gradient()"),
    _plugin(
        "tokenizes", "an error that no host can hold", "        cuts =", "        raise GeneratorExit\n        cuts ="
    ),
    _plugin(
        "tokenizes", "an end of the whole program", "        cuts =", "        import os; os._exit(0)\n        cuts ="
    ),
    _plugin("tokenizes", "bare tensors", RETURN, "        return tokens_TD\n" + RETURN),
    _plugin("tokens-name-modality", "the name of another modality", 'modality="thermal"', 'modality="lidar"'),
    Broken(
        "tokens-one-window",
        "two windows for one",
        [Edit("plugin.py", "[None],\n", "[None].repeat_interleave(2, 0),\n")],
    ),
    _plugin("tokens-float32", "float64", "tokens_TD[None]", "tokens_TD[None].double()"),
    _plugin(
        "mask-bool",
        "a mask of numbers",
        "for cut in cuts])[None],\n            time",
        "for cut in cuts])[None].float(),\n            time",
    ),
    _plugin("tokens-width", "another width than promised", "dim=DIM", "dim=DIM + 1"),
    _plugin("tokens-within-budget", "more tokens than promised", "max_tokens=MAX_TOKENS", "max_tokens=8"),
    _plugin(
        "positions-as-promised",
        "positions that were not promised",
        'modality="thermal",\n',
        'modality="thermal",\n            position_BTX=torch.zeros(1, count, 2),\n',
    ),
    _plugin(
        "positions-as-promised", "no position where one was promised", "=MAX_TOKENS)", "=MAX_TOKENS, positioned=True)"
    ),
    _plugin("tokens-finite", "a division by zero", "tokens_TD[None]", "tokens_TD[None] / 0"),
    _plugin(
        "some-token-valid", "a mask the wrong way round", "valid_TP.any(1) for", "valid_TP.logical_not().any(1) for"
    ),
    _plugin("tokens-vary", "tokens that ignore the data", "tokens_TD[None]", "torch.ones_like(tokens_TD)[None]"),
    _plugin("tokens-scaled", "values that are far too large", "tokens_TD[None]", "tokens_TD[None] * 1e6"),
    _patches("times-in-window", "milliseconds for seconds", "time_T.astype", "(1e3 * time_T).astype"),
    _patches("older-sensor-is-dated", "every sensor is taken to be up to date", "age_s = (", "age_s = 0 * ("),
    Broken(
        "positions-on-site",
        "millimetres for metres",
        [
            Edit("plugin.py", "=MAX_TOKENS)", "=MAX_TOKENS, positioned=True)"),
            Edit(
                "plugin.py",
                'modality="thermal",\n',
                'modality="thermal",\n            position_BTX=torch.full((1, count, 2), 3e5),\n',
            ),
        ],
    ),
    _plugin(
        "reconstruction-fits-manifest",
        "reconstructed data of another dtype",
        "    def sample(",
        '    def reconstruct(self, tokens):\n        """Frames."""\n'
        "        return [SensorFrame(0, np.zeros((16, 1)), meta={'sensor': '', 'rate_hz': 10.0})]\n\n    def sample(",
    ),
)
GAIN = (
    Edit("modality.toml", "[meta]\n", '[meta]\ngain = "amplification, a ratio"\n'),
    Edit("synthetic.py", '"rate_hz": RATE_HZ}', '"rate_hz": RATE_HZ, "gain": 1.0}'),
    Edit("files.py", "meta = {", 'meta = {"gain": 1.0, '),
    Edit(
        "patches.py", "frame.data[:, 0].astype(np.float32)", "frame.data[:, 0].astype(np.float32) * frame.meta['gain']"
    ),
)
BAD_INPUT = (
    Broken(
        "nan-handled",
        "NaN refused though it marks missing data",
        [
            Edit("patches.py", "import SensorFrame", "import BadInput, SensorFrame"),
            Edit(
                "patches.py",
                VALID,
                f"{VALID}    if frame.mask is None and not valid_N.all():\n"
                "        raise BadInput('Data', expected='finite values', got='others', fix='mask them')\n",
            ),
        ],
    ),
    _patches("infinity-handled", "infinity passes for a value", VALID, "    valid_N = ~np.isnan(values_N)\n"),
    _manifest("wrong-rate-refused", "a rate that nothing can break", "[0.1, 100.0]", "[1e-9, 1e9]"),
    Broken("odd-metadata-survived", "calibration used as it comes", GAIN),
    _patches("zero-length-survived", "the last sample of none", VALID, f"{VALID}    values_N[-1]\n"),
    _patches(
        "single-item-survived",
        "the step between one sample and the next",
        VALID,
        f"{VALID}    if len(values_N):\n        np.diff(values_N).max()\n",
    ),
    _plugin("oversize-survived", "no upper bound", "0 < count <= MAX_TOKENS", "0 < count"),
    _plugin(
        "many-sensors-survived",
        "an upper bound for each sensor alone",
        "0 < count <= MAX_TOKENS",
        "0 < max(len(cut.time_T) for cut in cuts) <= MAX_TOKENS",
    ),
    Broken(
        "single-frame-survived",
        "the second frame of one",
        [
            Edit("plugin.py", "        cuts =", "        frames[1]\n        cuts ="),
            Edit(
                "plugin.py",
                "return [sample_frame(seed)]",
                "frame = sample_frame(seed)\n"
                "        return [SensorFrame(frame.t_ns - 25_600_000_000, frame.data, meta=frame.meta), frame]",
            ),
        ],
    ),
    _begin("many-frames-survived", "a table of fixed length", "np.zeros(32)[len(frames) - 1]"),
    _begin(
        "silence-accepted",
        "a division by the range",
        "[1.0 / float(np.ptp(f.data)) for f in frames if f.data.size > 1]",
    ),
    _plugin(
        "limits-accepted",
        "readings at the limit refused",
        "        if not 0 < count <= MAX_TOKENS:",
        "        if not 0 < count <= MAX_TOKENS or all((frame.data >= 125).all() for frame in frames):",
    ),
    Broken(
        "recovers-after-bad-input",
        "a memory of refused input",
        [
            Edit("plugin.py", CONSTRUCTOR, f"{CONSTRUCTOR}\n    refused = 0\n"),
            Edit(
                "plugin.py",
                "            raise BadInput(",
                "            ThermalModality.refused += 1\n            raise BadInput(",
            ),
            Edit("plugin.py", "tokens_TD[None]", "tokens_TD[None] + 0.01 * self.refused"),
        ],
    ),
)
MISSING = (
    _patches("all-missing-masks-all", "a mask that nobody reads", "if frame.mask is not None:", "if False:"),
    _patches(
        "missing-values-ignored",
        "values used before they are masked",
        "np.where(valid_N, values_N, np.float32(0.0))",
        "np.where(np.isfinite(values_N), values_N, np.float32(0.0))",
    ),
    _plugin(
        "partly-missing-keeps-rest",
        "one gap and all is lost",
        "cut.valid_TP.any(1) for cut in cuts",
        "cut.valid_TP.any(1) & cut.valid_TP.all() for cut in cuts",
    ),
    _patches(
        "mask-of-any-depth",
        "a mask of one dimension only",
        "frame.mask.reshape(len(values_N), -1).all(axis=1)",
        "frame.mask if frame.mask.ndim == 1 else True",
    ),
    Broken(
        "nan-means-missing",
        "NaN becomes zero, but not missing",
        [
            Edit("patches.py", VALID, "    valid_N = np.ones(len(values_N), np.bool_)\n"),
            Edit("patches.py", "np.where(valid_N, values_N", "np.where(valid_N & np.isfinite(values_N), values_N"),
        ],
    ),
)
INVARIANCE = (
    _patches(
        "time-shift",
        "absolute time in float32",
        "age_s = (",
        "age_s = float(np.float32(frame.t_ns / 1e9)) - frame.t_ns / 1e9 + (",
    ),
    Broken(
        "sensor-order",
        "one sensor's patches before another's",
        [
            Edit("patches.py", "for sensor in sorted(newest)", "for sensor in newest"),
            Edit(
                "plugin.py",
                "torch.cat([self.encoder(cut.values_TP, cut.valid_TP) for cut in cuts])",
                "self.encoder(torch.cat([cut.values_TP for cut in cuts]), torch.cat([cut.valid_TP for cut in cuts]))",
            ),
        ],
    ),
    Broken(
        "windows-independent",
        "a running peak",
        [
            Edit("plugin.py", CONSTRUCTOR, f"{CONSTRUCTOR}        self.peak = 0.0\n"),
            Edit(
                "plugin.py",
                RETURN,
                "        self.peak = max(self.peak, *(float(f.data.max()) for f in frames))\n" + RETURN,
            ),
            Edit("plugin.py", "tokens_TD[None]", "tokens_TD[None] * self.peak / 30.0"),
        ],
    ),
    Broken(
        "tokens-kept",
        "one buffer for all tokens",
        [
            Edit("plugin.py", CONSTRUCTOR, f"{CONSTRUCTOR}        self.buffer = torch.zeros(MAX_TOKENS, DIM)\n"),
            Edit("plugin.py", RETURN, "        self.buffer[:count] = tokens_TD\n" + RETURN),
            Edit("plugin.py", "tokens_TD[None]", "self.buffer[None, :count]"),
        ],
    ),
    _patches(
        "input-left-alone",
        "work on the frame's own data",
        VALID,
        f"{VALID}    frame.data[~valid_N] = 0\n    frame.data[0] += 1\n",
    ),
    _patches(
        "read-only-input", "gaps filled in the frame's own data", VALID, f"{VALID}    frame.data[:1] = frame.data[:1]\n"
    ),
    _begin(
        "memory-layout",
        "bytes taken as they lie",
        "[np.frombuffer(f.data.data, np.uint8) for f in frames if f.data.size]",
    ),
    _patches(
        "causal-as-declared",
        "the mean of the whole reading taken off",
        "    count = len(values_N) // PATCH\n",
        "    values_N = values_N - np.float32(values_N[valid_N].sum() / max(valid_N.sum(), 1))\n"
        "    count = len(values_N) // PATCH\n",
    ),
)
DETERMINISM = (
    Broken(
        "same-window-same-tokens",
        "noise without a seed",
        [
            Edit("plugin.py", CONSTRUCTOR, f"{CONSTRUCTOR}        self.rng = np.random.default_rng()\n"),
            Edit("plugin.py", "tokens_TD[None]", "(tokens_TD + float(self.rng.normal()))[None]"),
        ],
    ),
    _encoder("same-plugin-same-tokens", "other weights every time", "torch.manual_seed(0)", "torch.seed()"),
    _encoder(
        "shared-generators-left-alone",
        "the shared generator seeded",
        "with torch.random.fork_rng(devices=[]):",
        "if True:",
    ),
    _begin("shared-generators-left-alone", "the shared generator used", "np.random.random()"),
    Broken(
        "tokens-as-in-evaluation",
        "dropout left on",
        [
            Edit("plugin.py", "PatchEncoder().eval()", "PatchEncoder()"),
            Edit("encoder.py", "self.outer(nn.functional.gelu", "self.outer(nn.functional.dropout(nn.functional.gelu"),
            Edit("encoder.py", "patch_TC], dim=1))))", "patch_TC], dim=1))), 0.5, self.training))"),
        ],
    ),
    Broken(
        "tokens-as-in-evaluation",
        "moments that tokenising changes",
        [
            Edit(
                "encoder.py",
                "            self.predict =",
                "            self.norm = nn.BatchNorm1d(DIM)\n            self.predict =",
            ),
            Edit("encoder.py", "= self.outer(nn", "= self.norm(self.outer(nn"),
            Edit("encoder.py", "patch_TC], dim=1))))", "patch_TC], dim=1)))))"),
        ],
    ),
)
LEARNING = (
    Broken(
        "encoder-is-module",
        "a wrapper that is no module",
        [
            Edit("plugin.py", "PatchEncoder().eval()", "Wrapper(PatchEncoder().eval())"),
            Edit(
                "plugin.py",
                "class ThermalModality:",
                "class Wrapper:\n    def __init__(self, encoder):\n        self.encoder = encoder\n\n"
                "    def __call__(self, *patches):\n        return self.encoder(*patches)\n\n"
                "    def eval(self):\n        return self\n\n    train = eval\n\n\nclass ThermalModality:",
            ),
        ],
    ),
    _plugin("encoder-is-used", "another encoder than its own", "[self.encoder(cut", "[PatchEncoder().eval()(cut"),
    _encoder("loss-is-scalar", "a loss for every sample", "return error_N.mean()", "return error_N"),
    _encoder("loss-is-scalar", "a loss without a gradient", "return error_N.mean()", "return error_N.mean().detach()"),
    _encoder(
        "loss-follows-seed",
        "half of the samples, drawn anew",
        "error_N.mean()",
        "error_N[torch.rand(len(error_N)) < 0.5].mean()",
    ),
    _encoder(
        "gradient-reaches-all",
        "a layer that nothing uses",
        "            self.predict =",
        "            self.spare = nn.Linear(2, 2)\n            self.predict =",
    ),
    _encoder(
        "gradient-reaches-all",
        "a gradient cut off",
        "self.predict(self(values_TP, valid_TP))",
        "self.predict(self(values_TP, valid_TP).detach())",
    ),
    _encoder(
        "training-lowers-loss",
        "the gradient the wrong way round",
        "return error_N.mean()",
        "return 2 * error_N.mean().detach() - error_N.mean()",
    ),
)
STORAGE = (
    Broken(
        "state-dict-exchanged",
        "moments that are not stored",
        [
            Edit(
                "encoder.py",
                "            self.predict =",
                "            self.register_buffer('shift', torch.zeros(DIM), persistent=False)\n"
                "            self.predict =",
            ),
            Edit("encoder.py", "        return tokens_TD", "        return tokens_TD + self.shift"),
        ],
    ),
    _encoder(
        "saved-and-loaded",
        "two names for one weight",
        "            self.predict =",
        "            self.twin = self.outer\n            self.predict =",
    ),
    _encoder(
        "saved-and-loaded",
        "state that is no tensor",
        "    def forward(",
        "    def get_extra_state(self):\n        return {'version': 1}\n\n"
        "    def set_extra_state(self, state):\n        pass\n\n    def forward(",
    ),
    _plugin("no-pickle-in-package", "an import of pickle", "import torch\n", "import pickle\n\nimport torch\n"),
    _plugin(
        "no-pickle-in-package",
        "weights read by torch.load",
        "    def sample(",
        "    def load(self, path):\n        self.encoder.load_state_dict(torch.load(path))\n\n    def sample(",
    ),
    _plugin(
        "no-pickle-read",
        "a pickle under another name",
        CONSTRUCTOR,
        f"{CONSTRUCTOR}        __import__('pick' + 'le').loads(b'cbuiltins\\nset\\n.')\n",
    ),
)
ISOLATION = (
    _begin(
        "no-network",
        "a report of each use",
        f"try:\n            socket.create_connection(('127.0.0.1', 9), 0.1){TRY}",
        "socket",
    ),
    _begin(
        "no-files-written", "a log in the working folder", f"try:\n            open('thermal.log', 'a').close(){TRY}"
    ),
    _begin(
        "no-processes-started",
        "another program asked",
        f"try:\n            subprocess.run(['uname']){TRY}",
        "subprocess",
    ),
    _begin("nothing-printed", "a line left from looking for a mistake", "print('tokenize', len(frames))"),
    _begin("nothing-printed", "a line to standard error", "sys.stderr.write('busy')", "sys"),
    _begin("no-warnings", "a logarithm of zero", "np.log(np.zeros(1))"),
    _plugin(
        "no-threads-left",
        "a thread that waits for ever",
        CONSTRUCTOR,
        f"{CONSTRUCTOR}        import threading\n"
        "        threading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    ),
    Broken(
        "settings-left-alone",
        "a variable of the environment",
        [Edit("__init__.py", "from iotlam", "import os\nos.environ['THERMAL'] = '1'\nfrom iotlam")],
    ),
    Broken(
        "settings-left-alone",
        "torch's threads",
        [Edit("__init__.py", "from iotlam", "import torch\ntorch.set_num_threads(3)\nfrom iotlam")],
    ),
    Broken(
        "settings-left-alone",
        "a handler of all log messages",
        [Edit("__init__.py", "from iotlam", "import logging\nlogging.basicConfig()\nfrom iotlam")],
    ),
    Broken(
        "import-is-fast",
        "a table computed on import",
        [Edit("__init__.py", "from iotlam", "TABLE = sum(i * i for i in range(12_000_000))\nfrom iotlam")],
    ),
)
BUDGET = (
    _manifest("latency-in-budget", "slower than declared", "latency_budget_ms = 20.0", "latency_budget_ms = 0.001"),
    _plugin(
        "memory-in-budget",
        "more memory than declared",
        CONSTRUCTOR,
        f"{CONSTRUCTOR}        self.table = np.ones(10_000_000)\n",
    ),
    Broken(
        "memory-does-not-grow",
        "a history without an end",
        [
            Edit("plugin.py", CONSTRUCTOR, f"{CONSTRUCTOR}        self.history = []\n"),
            Edit("plugin.py", "        cuts =", "        self.history.append(np.ones(10_000))\n        cuts ="),
        ],
    ),
)
FUSION = (Broken("fuses-alone", "a name that torch has for itself", (), name="train"),)
DOCS = (
    Broken("readme-is-there", "a README with nothing in it", [Edit("README.md", "", "# iotlam_thermal\n")]),
    Broken("readme-snippet-runs", "a snippet with a slip", [Edit("README.md", 'load("thermal")', 'load("termal")')]),
    Broken("readme-snippet-runs", "no snippet", [Edit("README.md", "```python", "```text")]),
    _plugin(
        "docstrings-there",
        "a method that nobody explains",
        '        """Tokens of width 32, without positions."""\n',
        "",
    ),
)
FILES = (
    _manifest("reader-imports", "a reader by a wrong name", "files:read_csv", "files:read_cvs"),
    _reader("example-is-read", "another dtype than declared", ".astype(np.float32)", ""),
    _reader(
        "frames-in-order",
        "the newest first",
        "in range(0, len(values), SAMPLES)",
        "in reversed(range(0, len(values), SAMPLES))",
    ),
    _reader(
        "reader-is-repeatable",
        "noise added",
        "    steps_s =",
        "    values = values + np.random.default_rng().normal(0, 0.01, len(values))\n    steps_s =",
    ),
    _reader(
        "empty-file-refused",
        "an empty file passed over",
        "    try:\n",
        "    if path.stat().st_size == 0:\n        return\n    try:\n",
    ),
    _reader(
        "noise-file-survived",
        "text that is not decoded",
        "    except ValueError as error:\n",
        "    except ValueError as error:\n        if isinstance(error, UnicodeError):\n            raise\n",
    ),
    _reader(
        "truncated-file-survived",
        "the last line taken for whole",
        "    try:\n",
        "    text = path.read_bytes()\n"
        "    if text.startswith(b'seconds') and not text.endswith(b'\\n'):\n        raise EOFError\n    try:\n",
    ),
    _reader(
        "damaged-file-survived",
        "bytes taken for ASCII",
        "    try:\n",
        "    text = path.read_bytes()\n    if text.startswith(b'seconds'):\n        text.decode('ascii')\n    try:\n",
    ),
    Broken(
        "reader-closes-files",
        "a file left open",
        [
            Edit("files.py", "SAMPLES = 256\n", "SAMPLES = 256\nOPEN = []\n"),
            Edit("files.py", "    try:\n", "    OPEN.append(path.open())\n    try:\n"),
        ],
    ),
    _reader("reader-memory-bounded", "a buffer for any file", "    try:\n", "    np.ones(4_000_000)\n    try:\n"),
)
BROKEN = (
    *MANIFEST, *LOADING, *DATA, *BAD_INPUT, *MISSING, *INVARIANCE, *DETERMINISM, *LEARNING, *STORAGE, *ISOLATION,
    *BUDGET, *FUSION, *DOCS, *FILES,
)  # fmt: skip
