"""What the package says to people."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
from importlib.metadata import metadata as metadata_of

from iotlam.conformance.catalog import MADE, STEADY, Failed, check
from iotlam.conformance.scaffold import register
from iotlam.conformance.subject import Subject
from iotlam.plugins.registry import guarded

AREA = "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _readme(subject: Subject) -> str:
    """README beside the code, else of the project, else the description in the distribution's metadata."""
    folders = [subject.target.folder, *([subject.target.project] if subject.target.project else [])]
    for path in (folder / "README.md" for folder in folders):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    owner = subject.target.distribution
    return str(metadata_of(owner).json.get("description", "")) if owner else ""


@check(AREA, "silver", needs=("manifest-valid",))
def readme_is_there(subject: Subject) -> None:
    """A README says in at least 30 words what goes in and what comes out."""
    words = len(_readme(subject).split())
    if words < 30:
        raise Failed(
            "README.md", expected="at least 30 words", got=str(words), fix="say what goes in and what comes out"
        )


@check(AREA, "gold", needs=(*STEADY, "readme-is-there"))
def readme_snippet_runs(subject: Subject) -> None:
    """The first Python snippet of the README runs."""
    snippet = SNIPPET.search(_readme(subject))
    if snippet is None:
        raise Failed(
            "README.md",
            expected="a snippet that begins with ```python",
            got="none",
            fix="show how a window is tokenised",
        )
    _registered(subject)
    code = compile(snippet[1], "README.md", "exec")

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, {"__name__": "__readme__"})

    guarded(subject.name, "run of the README's snippet", run)


def _registered(subject: Subject) -> None:
    """Let a project that is not installed be found by its name, as it will be once it is."""
    project = subject.target.project
    if project is None:
        return
    register(subject.watch.tmp, subject.name, subject.target.value)
    if str(subject.watch.tmp) not in sys.path:
        sys.path.append(str(subject.watch.tmp))


@check(AREA, "gold", needs=MADE)
def docstrings_there(subject: Subject) -> None:
    """The class and its public methods say what they do."""
    kind = type(subject.plugin)
    methods = [getattr(kind, name) for name in ("tokenize", "token_spec", "sample")]
    for thing in (kind, *methods):
        if not (inspect.getdoc(thing) if thing is not kind else kind.__doc__):
            raise Failed(
                thing.__qualname__, expected="a docstring", got="none", fix="say what it does, shapes and units"
            )
