"""Weights that travel: between processes, to files and back; no pickle anywhere."""

from __future__ import annotations

import ast
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from iotlam.conformance.catalog import STEADY, Failed, check
from iotlam.conformance.checks.learning import LEARNS, disturbed, module_of
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import difference

if TYPE_CHECKING:
    pass

AREA = "storage"
WEIGHTS = (*LEARNS, "same-plugin-same-tokens")
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"}


@check(AREA, "gold", needs=WEIGHTS)
def state_dict_exchanged(subject: Subject) -> None:
    """Weights that another object learnt give its tokens, to the bit: what federated training exchanges."""
    frames, one, other = subject.sample(0), disturbed(subject), subject.another()
    module_of(other).load_state_dict(module_of(one).state_dict())
    if found := difference(one.tokenize(frames), other.tokenize(frames)):
        raise Failed(
            "encoder.state_dict",
            expected="all that the tokens depend on",
            got=f"tokens with {found}",
            fix="register everything learnt as a parameter or buffer",
        )


@check(AREA, "gold", needs=(*WEIGHTS, "state-dict-exchanged"))
def saved_and_loaded(subject: Subject) -> None:
    """Weights written to a safetensors file and read again give the same tokens, to the bit."""
    from safetensors.torch import load_file, save_file

    frames, one, other = subject.sample(0), disturbed(subject), subject.another()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        try:
            save_file(module_of(one).state_dict(), path)
            module_of(other).load_state_dict(load_file(path))
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise Failed(
                "encoder.state_dict",
                expected="tensors that safetensors can write",
                got=str(error),
                fix="keep contiguous tensors that share no memory, and nothing else",
            ) from error
    if found := difference(one.tokenize(frames), other.tokenize(frames)):
        raise Failed(
            "encoder.state_dict",
            expected="the same tokens after saving and loading",
            got=found,
            fix="keep all of the state in tensors",
        )


@check(AREA, "silver", needs=("manifest-valid",))
def no_pickle_in_package(subject: Subject) -> None:
    """No file of the package is a pickle, and no line of its code reads one."""
    for path in sorted(subject.target.folder.rglob("*")):
        if path.suffix == ".py":
            found = _reads_pickle(path)
        else:
            found = "a pickle" if path.is_file() and _is_pickle(path) else None
        if found:
            name = str(path.relative_to(subject.target.folder))
            raise Failed(
                name,
                expected="no pickle, which can run any code when it is read",
                got=found,
                fix="store arrays as .npy and weights as .safetensors",
            )


def _is_pickle(path: Path) -> bool:
    head = path.open("rb").read(2)
    if head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())


def _reads_pickle(path: Path) -> str | None:
    """The first way in which a source file reads pickles."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "joblib.load"):
            return f"{ast.unparse(node.func)} in line {node.lineno}"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) == "True":
            return f"allow_pickle=True in line {node.value.lineno}"
        for module in modules:
            if module.partition(".")[0] in PICKLERS:
                return f"import of {module}"
    return None


@check(AREA, "silver", needs=(*STEADY, "no-pickle-in-package"))
def no_pickle_read(subject: Subject) -> None:
    """Constructing, sampling and tokenising unpickle no object."""
    seen = len(subject.watch.pickles)
    subject.construct()
    subject.tokenize(subject.sample(0))
    if found := subject.watch.pickles[seen:]:
        raise Failed(
            "construct",
            expected="no pickle read",
            got=f"one that names {found[0]}",
            fix="store weights as .safetensors",
        )
