"""What a plugin must not do to the machine and to the program that hosts it."""

from __future__ import annotations

import contextlib
import threading
import warnings
from pathlib import Path

from iotlam.conformance.catalog import Facts, Failed, check
from iotlam.conformance.state import changed, process_state
from iotlam.conformance.subject import Subject
from iotlam.contracts import IotlamError

AREA = "isolation"
IMPORT_LIMIT_MS = 300.0
LOADED = ("tokenizes",)


def _exercise(subject: Subject) -> None:
    """Do all that a plugin is asked to do; whether it works is for other checks to say."""
    for seed in (0, 1):
        with contextlib.suppress(IotlamError):
            frames = subject.sample(seed)
            subject.tokenize(frames)


@check(AREA, "silver", needs=LOADED)
def no_network(subject: Subject) -> None:
    """Nothing is sent to or asked of a network."""
    _exercise(subject)
    _nothing(subject.watch.network, "no use of a network", "bring all that is needed in the package")


@check(AREA, "silver", needs=LOADED)
def no_files_written(subject: Subject) -> None:
    """Nothing is written but to the temporary folder."""
    _exercise(subject)
    _nothing(subject.watch.writes, "no writing outside the temporary folder", "use tempfile, or keep it in memory")


@check(AREA, "silver", needs=LOADED)
def no_processes_started(subject: Subject) -> None:
    """No other program is started."""
    _exercise(subject)
    _nothing(subject.watch.processes, "no other process", "use a library instead of a program")


def _nothing(record: list[str], expected: str, fix: str) -> None:
    if record:
        raise Failed("import, sample or tokenize", expected=expected, got=record[0], fix=fix)


@check(AREA, "silver", needs=LOADED)
def nothing_printed(subject: Subject) -> None:
    """Nothing is printed."""
    _exercise(subject)
    if text := subject.watch.output().strip():
        raise Failed(
            "import, sample or tokenize",
            expected="no output",
            got=f"'{text.splitlines()[0][:80]}'",
            fix="remove it, or use the module logging",
        )


@check(AREA, "silver", needs=LOADED)
def no_warnings(subject: Subject) -> None:
    """Tokenising a sample warns of nothing in the package's own code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _exercise(subject)
    own = [w for w in caught if subject.target.folder.resolve() in Path(w.filename).resolve().parents]
    if own:
        place = f"{Path(own[0].filename).name}, line {own[0].lineno}"
        raise Failed("tokenize", expected="no warning", got=f"{own[0].message} ({place})", fix="mend what it warns of")


@check(AREA, "silver", needs=LOADED)
def no_threads_left(subject: Subject) -> None:
    """No thread goes on when tokenising is done."""
    _exercise(subject)
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        raise Failed("import, sample or tokenize", expected="no thread left running", got=threads[0], fix="join it")


@check(AREA, "silver", needs=LOADED)
def settings_left_alone(subject: Subject) -> None:
    """Settings that the whole program shares are left as they were before the import."""
    _exercise(subject)
    if names := changed(subject.state_before_import, process_state()):
        raise Failed(
            "import, sample or tokenize",
            expected="shared settings left alone",
            got=f"other {', '.join(names)}",
            fix="do not set it, or set it back",
        )


@check(AREA, "silver", needs=LOADED)
def import_is_fast(subject: Subject) -> Facts:
    """Importing the plugin takes less than 300 ms of CPU beyond torch, numpy and iotlam."""
    took_ms = 1e3 * subject.import_s
    if took_ms > IMPORT_LIMIT_MS:
        raise Failed(
            "import",
            expected=f"at most {IMPORT_LIMIT_MS:g} ms",
            got=f"{took_ms:.0f} ms",
            fix="import heavy packages inside the functions that use them",
        )
    return {"import_ms": took_ms}
