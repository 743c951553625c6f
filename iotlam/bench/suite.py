"""Running a suite and writing the JSON behind every figure that README or docs quote."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import iotlam
from iotlam.bench.docs import refresh
from iotlam.bench.host import Host, describe_host, torch_threads
from iotlam.bench.kept import forget
from iotlam.contracts import BadInput, Json, check_writable, whole_file
from iotlam.plugins import load_entry
from iotlam.training.progress import Step, progress

GROUP = "iotlam.suites"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure.

    Attributes:
        value: the figure.
        unit: its unit; "" for a ratio or a count.
        anchor: the best rival and its value, e.g. "greedy 14.2 s"; marked where it was not measured in the same run; ""
            where there is none.
        target: what it must reach, e.g. "<= 0.6"; "" where there is no target.
        met: whether it reaches the target, None where there is none.
        n: number of values behind the figure.
        ci95: ends of its 95 % confidence interval, None for a count or a maximum.
    """

    value: float
    unit: str
    anchor: str
    target: str
    met: bool | None
    n: int
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a suite measured.

    Attributes:
        suite: its name.
        rows: every single measurement, one flat object each.
        metrics: figures by name, those of the targets among them.
        seconds: wall time of the whole suite.
    """

    suite: str
    rows: list[Json]
    metrics: dict[str, Metric]
    seconds: float


Progress = Callable[[str, int | None], AbstractContextManager[Step]]
"""Draws the progress of a piece of work: its title and how many steps it has, None where unknown."""

Suite = Callable[[bool, Progress], SuiteResult]


def figure(
    value: float,
    n: int,
    *,
    most: float | None = None,
    least: float | None = None,
    unit: str = "",
    anchor: str = "",
    ci95: tuple[float, float] | None = None,
) -> Metric:
    """A measured figure, held against the bound that it must not exceed (`most`) or must reach (`least`), if any."""
    if most is not None:
        target, met = f"<= {most:g}", bool(value <= most)
    elif least is not None:
        target, met = f">= {least:g}", bool(value >= least)
    else:
        target, met = "", None
    return Metric(float(value), unit, anchor, target, met, n, ci95)


def default_path(name: str, quick: bool) -> Path:
    """Where a suite's JSON goes: a quick run must not replace figures that the docs quote."""
    return Path("benchmarks/results") / f"{name}{'-quick' if quick else ''}.json"


def run_suite(name: str, quick: bool = False, json_path: Path | None = None) -> SuiteResult:
    """Find a suite by its entry point, run it, write its result and bring README and docs up to date.

    Args:
        name: name registered in group `iotlam.suites`.
        quick: few seeds and short runs, to see that it works.
        json_path: file to write, `default_path` where None.

    Raises:
        BadInput: if there is no such suite, or the file cannot be written; told before measuring.
    """
    suite: Suite = load_entry(GROUP, name, "Suite")
    path = json_path or default_path(name, quick)
    if path.is_dir():
        raise BadInput("--json", expected="a file", got=f"'{path}', a folder", fix="name a file in it")
    check_writable("--json", path.parent)
    host = describe_host()
    result = suite(quick, progress)
    write_result(path, result, replace(host, threads=torch_threads()))
    if not quick:
        forget(name)
    if path == default_path(name, quick=False):
        refresh(path.parent)
    return result


def write_result(path: Path, result: SuiteResult, host: Host) -> None:
    """Write a result as a whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result_json(result, host), indent=1) + "\n", encoding="utf-8")


def result_json(result: SuiteResult, host: Host) -> Json:
    """A result with what is needed to judge it: version, commit and host."""
    return {
        "suite": result.suite,
        "version": iotlam.__version__,
        "commit": _commit(),
        "host": asdict(host),
        "seconds": round(result.seconds, 3),
        "rows": _finite(result.rows),
        "metrics": _finite({name: asdict(metric) for name, metric in result.metrics.items()}),
    }


def _commit() -> str:
    """Commit of the source tree, "unknown" for an installed wheel."""
    command = ["git", "-C", str(Path(iotlam.__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no word for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
