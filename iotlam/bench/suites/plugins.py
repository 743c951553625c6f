"""Suite `plugins`: conformance kit, plugins broken on purpose, discovery beside rivals, a new modality's first page."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.conformance import Report, all_checks, examine, resolve
from iotlam.conformance.broken import Broken, all_broken, examine_broken
from iotlam.conformance.scaffold import register
from iotlam.contracts import MANIFEST_NAME, Json
from iotlam.plugins import list_modalities
from iotlam.training.progress import Step

T = TypeVar("T")

PLUGINS = 20
COMMAND = "from iotlam.cli.main import run; run()"
# Each call is timed in a fresh interpreter that has imported what the call needs; prints seconds and plugins imported.
TIMED = """
import sys, time
{setup}
before = set(sys.modules)
start = time.perf_counter()
{call}
seconds = time.perf_counter() - start
print(seconds, sum(name.startswith("probe_") and "." not in name for name in set(sys.modules) - before), len(found))
"""
DISCOVERY = {
    "iotlam": ("from iotlam.plugins import list_modalities", "found = list_modalities()"),
    "entry points, names only": (
        "from importlib.metadata import entry_points",
        "found = entry_points(group='iotlam.modalities')",
    ),
    "entry points, loaded": (
        "from importlib.metadata import entry_points\nimport iotlam.contracts",
        "found = [p.load() for p in entry_points(group='iotlam.modalities') if p.name.startswith('probe_')]",
    ),
    "scan of distribution names, imported": (
        "import importlib, importlib.metadata\nimport iotlam.contracts",
        "found = [importlib.import_module(d.metadata['Name']) for d in importlib.metadata.distributions()\n"
        "         if (d.metadata['Name'] or '').startswith('probe_')]",
    ),
}
"""The last is LeRobot's way (`register_third_party_plugins`): names by prefix, each package imported."""


def plugins(quick: bool, progress: Progress) -> SuiteResult:
    """Checks and their time, broken plugins that are named, discovery, and the time from nothing to a fused page.

    Args:
        quick: a few broken plugins and runs, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    own = [info.name for info in list_modalities() if info.distribution == "iotlam"]
    with progress("Built-in modalities", len(own)) as step:
        reports = [_stepped(examine(resolve(name)), step) for name in own]
    broken = all_broken()[:: 12 if quick else 1]
    with progress("Broken plugins", len(broken)) as step:
        outcomes = [_stepped(_outcome(one), step) for one in broken]
    runs = 3 if quick else 15
    with progress("Discovery", runs * len(DISCOVERY)) as step:
        discovery = _discovery(runs, step)
    with progress("A new modality", 3) as step:
        scaffold = _scaffold(step)
    metrics = {
        **_conformance(reports),
        **_broken(outcomes),
        **_found(discovery),
        "scaffold_to_fused_demo_s": figure(sum(row["seconds"] for row in scaffold), 1, most=30, unit="s"),
    }
    rows = [
        *(_report_row(report) for report in reports),
        *outcomes,
        *_discovery_rows(discovery),
        *scaffold,
    ]
    return SuiteResult("plugins", rows, metrics, time.monotonic() - start)


def _stepped(value: T, step: Step) -> T:
    step(1)
    return value


def _conformance(reports: Sequence[Report]) -> dict[str, Metric]:
    checks = len(all_checks())
    slowest = max(report.seconds for report in reports)
    alarms = sum(len(report.failed) for report in reports)
    return {
        "conformance_checks": figure(checks, 1, least=60, anchor="PEFT 38 generic checks (published)"),
        "conformance_seconds": figure(slowest, len(reports), most=20, unit="s"),
        "false_alarms_on_built_ins": figure(alarms, len(reports) * checks, most=0),
    }


def _outcome(broken: Broken) -> Json:
    """Which checks failed of a broken plugin."""
    with tempfile.TemporaryDirectory() as folder:
        report = examine_broken(broken, Path(folder) / "project")
    failed = [result.check for result in report.failed]
    return {"row": "broken", "check": broken.check, "mistake": broken.mistake, "failed": failed,
            "caught": failed == [broken.check], "seconds": report.seconds}  # fmt: skip


def _broken(outcomes: Sequence[Json]) -> dict[str, Metric]:
    count = len(outcomes)
    share = sum(outcome["caught"] for outcome in outcomes) / count
    return {
        "broken_plugins": figure(count, 1, least=40),
        "broken_plugins_caught_by_named_check": figure(share, count, least=1.0),
    }


def _report_row(report: Report) -> Json:
    return {"row": "modality", "modality": report.modality, "tier": report.tier, "seconds": report.seconds,
            **report.count(), "failed_checks": [result.check for result in report.failed]}  # fmt: skip


def _discovery(runs: int, step: Step) -> dict[str, list[tuple[float, int]]]:
    """Milliseconds and imported plugins of every way, in turn, each in a fresh interpreter."""
    found: dict[str, list[tuple[float, int]]] = {way: [] for way in DISCOVERY}
    with tempfile.TemporaryDirectory() as folder:
        _site_of_probes(Path(folder))
        for _ in range(runs):
            for way, (setup, call) in DISCOVERY.items():
                seconds, imported, _ = _python(TIMED.format(setup=setup, call=call), Path(folder)).split()
                found[way].append((1e3 * float(seconds), int(imported)))
                step(1)
    return found


def _site_of_probes(site: Path) -> None:
    """Twenty installed plugins; nothing heavy is imported by them, so that rivals are not slowed by torch."""
    manifest = (resolve("lidar").folder / MANIFEST_NAME).read_text(encoding="utf-8")
    for index in range(PLUGINS):
        name = f"probe_{index}"
        (site / name).mkdir()
        code = "from iotlam.contracts import SensorFrame, TokenBatch, TokenSpec\n\n\nclass Probe:\n    pass\n"
        (site / name / "__init__.py").write_text(code, encoding="utf-8")
        text = manifest.replace('name = "lidar"', f'name = "{name}"')
        (site / name / MANIFEST_NAME).write_text(text, encoding="utf-8")
        register(site, name, f"{name}:Probe")


def _found(discovery: dict[str, list[tuple[float, int]]]) -> dict[str, Metric]:
    medians = {way: statistics.median(ms for ms, _ in values) for way, values in discovery.items()}
    ours = discovery["iotlam"]
    median, ci95 = median_ci95([ms for ms, _ in ours])
    anchor = ", ".join(f"{way} {ms:.0f} ms" for way, ms in medians.items() if way != "iotlam")
    imported = max(count for _, count in ours)
    return {
        "discovery_20_plugins_ms": figure(median, len(ours), most=30, unit="ms", anchor=anchor, ci95=ci95),
        "plugins_imported_by_list": figure(imported, len(ours), most=0, anchor=f"scan of names {PLUGINS}"),
    }


def _discovery_rows(discovery: dict[str, list[tuple[float, int]]]) -> list[Json]:
    return [
        {"row": "discovery", "way": way, "ms": ms, "imported": imported}
        for way, values in discovery.items()
        for ms, imported in values
    ]


def _scaffold(step: Step) -> list[Json]:
    """Seconds of each command from nothing to a page that shows the new modality fused.

    Raises:
        RuntimeError: if a command fails, or the page lacks the modality.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        rows = [_command(base, "sensors", "new", "probe")]
        step(1)
        rows.append(_command(base, "sensors", "check", "probe"))
        step(1)
        # What `pip install -e` does to the import path, without its download of a build backend.
        register(base, "probe", "iotlam_probe:ProbeModality")
        path = f"{base}{os.pathsep}{base / 'probe'}"
        rows.append(_command(base, "demo", "sensors", "--quick", "--json", path=path))
        step(1)
    shown = [sensor["modality"] for sensor in json.loads(rows[-1].pop("output"))["sensors"]]
    if "probe" not in shown:
        raise RuntimeError(f"the demo shows {', '.join(shown)}, and not the new modality")
    return [{name: value for name, value in row.items() if name != "output"} for row in rows]


def _command(folder: Path, *arguments: str, path: str = "") -> Json:
    """Wall and CPU seconds of a command, and its output."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output = _python(COMMAND, path, arguments, folder)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"row": "scaffold", "command": " ".join(arguments), "seconds": seconds, "cpu_s": cpu_s, "output": output}


def _python(code: str, path: Path | str, arguments: Sequence[str] = (), folder: Path | None = None) -> str:
    """Standard output of a fresh interpreter with a folder more on its import path."""
    done: Any = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments) or 'discovery'} ended with {done.returncode}: {done.stderr[-500:]}")
    return str(done.stdout)
