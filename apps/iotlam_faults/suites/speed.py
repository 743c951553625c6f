"""Suite `faults-speed`: windows a second from samples to verdict by physics, one at a time, memory, one file."""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import BadInput, Json
from iotlam_faults.baseline import Baseline, profile
from iotlam_faults.data.catalogue import entries
from iotlam_faults.data.reading import waveforms
from iotlam_faults.data.store import Store, default_root
from iotlam_faults.evidence import Evidence, evidence
from iotlam_faults.head import Columns, Head
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import BEARING_FAULTS, Fault, Machine
from iotlam_machine.simulate import simulate

RATE_HZ, SHAFT_HZ = 12_000.0, 29.5
CORES = 2
WINDOWS, SINGLE, FILES, RIVAL_WINDOWS = 4096, 300, 5, 64
ROUNDS = 3
"""Ours and the rival take turns so often."""

RECORD = "130.mat"


Work = Callable[[int, Connection, "Judge"], None]
"""(how many windows, what to tell, what to judge by): runs in a process of its own."""


def speed(quick: bool, progress: Progress) -> SuiteResult:
    """Throughput on two cores beside the usual features of scipy; latency; memory; `iotlam faults diagnose`.

    Args:
        quick: few windows, to see that it works.
        progress: draws the progress of a piece of work.

    Raises:
        BadInput: if CWRU's record 130 is not here.
    """
    start = time.monotonic()
    count, single, files, rounds = (512, 20, 1, 1) if quick else (WINDOWS, SINGLE, FILES, ROUNDS)
    rows: list[Json] = []
    judge = Judge.fit()
    with progress("Measuring", 2 * rounds + 2) as step:
        for turn in range(rounds):
            rows.append({"what": "ours", "turn": turn, **_on_all_cores(run_ours, count, judge)})
            step(1)
            rows.append({"what": "scipy features", "turn": turn, **_on_all_cores(run_scipy, RIVAL_WINDOWS, judge)})
            step(1)
        rows += _processes(run_single, single, 1, judge)
        step(1)
        rows += _diagnosed(files)
        step(1)
    return SuiteResult("faults-speed", rows, figures(rows), time.monotonic() - start)


def figures(rows: list[Json]) -> dict[str, Metric]:
    """The metrics, from the rows alone."""
    ours, rival = ([row for row in rows if row["what"] == what] for what in ("ours", "scipy features"))
    latency_ms = [row["ms"] for row in rows if row["what"] == "single"]
    files = [row for row in rows if row["what"] == "diagnose"]
    rival_per_s = statistics.median(row["windows_per_s"] for row in rival)
    return {
        "windows_per_s": figure(
            statistics.median(row["windows_per_s"] for row in ours),
            len(ours),
            least=2000,
            unit="1/s",
            anchor=f"scipy features {rival_per_s:.0f}; envelope spectra alone 2,213 to 3,387 (published)",
        ),
        "windows_per_cpu_s": figure(statistics.median(row["windows_per_cpu_s"] for row in ours), len(ours), unit="1/s"),
        "batch1_p99_ms": figure(float(np.quantile(latency_ms, 0.99)), len(latency_ms), most=10, unit="ms"),
        "batch1_median_ms": figure(statistics.median(latency_ms), len(latency_ms), unit="ms"),
        "rss_mb": figure(max(row["rss_mb"] for row in ours), len(ours), most=400, unit="MB"),
        "diagnose_one_file_s": figure(statistics.median(row["wall_s"] for row in files), len(files), most=2, unit="s"),
        "diagnose_one_file_cpu_s": figure(statistics.median(row["cpu_s"] for row in files), len(files), unit="s"),
        "report_kb": figure(max(row["report_kb"] for row in files), len(files), most=500, unit="kB"),
    }


def run_ours(count: int, pipe: Connection, judge: Judge) -> None:
    """From samples to the machine's change and the odds of its faults."""
    torch.set_num_threads(1)
    values_BN = torch.from_numpy(np.concatenate([_windows(fault, 4) for fault in ("", *BEARING_FAULTS)] * 8))
    judge(values_BN)
    _wait(pipe)
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range(count // len(values_BN)):
        judge(values_BN)
    done = count // len(values_BN) * len(values_BN)
    _tell(pipe, done, wall, cpu)


def run_scipy(count: int, pipe: Connection, judge: Judge) -> None:
    """What a script usually computes of a window: band-pass, envelope spectrum, moments."""
    from scipy.signal import butter, hilbert, sosfiltfilt  # ours does without
    from scipy.stats import kurtosis, skew

    windows_BN = _windows("outer", 4).astype(np.float64)
    sos = butter(4, (500.0, 5000.0), "bandpass", fs=RATE_HZ, output="sos")

    def features(window_N: np.ndarray) -> tuple[float, ...]:
        envelope_N = np.abs(hilbert(sosfiltfilt(sos, window_N)))
        spectrum_F = np.abs(np.fft.rfft(envelope_N**2))
        return float(kurtosis(window_N)), float(skew(window_N)), float(window_N.std()), float(spectrum_F.max())

    features(windows_BN[0])
    _wait(pipe)
    wall, cpu = time.monotonic(), time.process_time()
    for index in range(count):
        features(windows_BN[index % len(windows_BN)])
    _tell(pipe, count, wall, cpu)


def run_single(count: int, pipe: Connection, judge: Judge) -> None:
    """One window at a time."""
    torch.set_num_threads(1)
    values_BN = torch.from_numpy(_windows("outer", 8))
    for index in range(20):
        judge(values_BN[index % 8 : index % 8 + 1])
    _wait(pipe)
    for index in range(count):
        start = time.perf_counter()
        judge(values_BN[index % 8 : index % 8 + 1])
        pipe.send({"what": "single", "ms": round(1e3 * (time.perf_counter() - start), 3)})
    pipe.send(None)


@dataclass(frozen=True, slots=True)
class Judge:
    """What a machine's windows are judged by, fitted before."""

    baseline: Baseline
    head: Head

    @classmethod
    def fit(cls) -> Judge:
        """Fit on simulated windows."""
        faults = np.repeat(["", *BEARING_FAULTS], 10)
        learnt_BN = torch.from_numpy(np.concatenate([_windows(fault, 10) for fault in ("", *BEARING_FAULTS)]))
        found, damaged = _evidence(learnt_BN), np.flatnonzero(faults != "")
        present_WL = faults[:, None] == np.array(BEARING_FAULTS)
        columns = Columns.of(found, np.full(len(faults), "DE"))
        head = Head.fit(columns.rows(damaged), present_WL[damaged], faults[damaged])
        return cls(Baseline.fit(profile(found.levels_BC, learnt_BN)[:10]), head)

    def __call__(self, values_BN: torch.Tensor) -> object:
        """Change from the baseline, and odds of the faults."""
        seen = _evidence(values_BN)
        change_B = self.baseline.change(profile(seen.levels_BC, values_BN))
        return change_B, self.head.scores(Columns.of(seen, np.full(len(values_BN), "DE")))


def _evidence(values_BN: torch.Tensor) -> Evidence:
    size = len(values_BN)
    return evidence(values_BN, RATE_HZ, torch.full((size,), SHAFT_HZ), [BEARINGS["6205"].orders] * size)


def _windows(fault: str, count: int) -> np.ndarray:
    faults = (Fault(fault, 0.6, 0.05),) if fault else ()  # type: ignore[arg-type]
    machine = Machine(structure=1, vibration_rate_hz=RATE_HZ, faults=faults)
    return np.stack([simulate(machine, 1.0, seed).vibration_NA[:, 0] for seed in range(count)]).astype(np.float32)


def _on_all_cores(work: Work, count: int, judge: Judge) -> Json:
    """Windows a second of as many processes as cores, begun together, until the last has done its share."""
    found = _processes(work, count, CORES, judge)
    windows, wall_s = sum(one["windows"] for one in found), max(one["wall_s"] for one in found)
    return {
        "windows_per_s": round(windows / wall_s, 1),
        "windows_per_cpu_s": round(windows / sum(one["cpu_s"] for one in found), 1),
        "rss_mb": max(one["rss_mb"] for one in found),
    }


def _processes(work: Work, count: int, copies: int, judge: Judge) -> list[Json]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(copies):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(count, there, judge))
        process.start()
        pipes.append(here)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()  # ready
    for pipe in pipes:
        pipe.send("go")
    found: list[Json] = []
    for pipe, process in zip(pipes, processes, strict=True):
        while (row := pipe.recv()) is not None:
            found.append(row)
        process.join()
    return found


def _wait(pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()


def _tell(pipe: Connection, windows: int, wall: float, cpu: float) -> None:
    row = {
        "windows": windows,
        "wall_s": time.monotonic() - wall,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1),
    }
    pipe.send(row)
    pipe.send(None)


def _diagnosed(times: int) -> list[Json]:
    """`iotlam faults diagnose` on a real record, from the shell."""
    store = Store(default_root())
    entry = next(one for one in entries("cwru") if one.file == RECORD)
    try:
        path = waveforms(store, entry)[0].path
    except BadInput as error:
        raise BadInput("Suite 'faults-speed'", expected=RECORD, got=str(error), fix="get it") from error
    rows: list[Json] = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        program = [sys.executable, "-c", "from iotlam.cli.main import run; run()"]
        command = [*program, "faults", "diagnose", str(path), "--out", str(page), "--json"]
        for _ in range(times):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(command, check=True, capture_output=True)
            wall_s, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            verdict = json.loads(done.stdout)["verdict"]
            row: Json = {"what": "diagnose", "wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3), "verdict": verdict}
            rows.append({**row, "report_kb": round(page.stat().st_size / 1000.0, 1)})
    return rows
