"""Suite `faults-physics`: physics alone against experts, on the records that they judged, and on simulated machines."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import BadInput, Json
from iotlam_faults.data.catalogue import Download, Entry, downloads, entries
from iotlam_faults.data.reading import waveforms
from iotlam_faults.data.store import Store, default_root
from iotlam_faults.physics.speed import ShaftSpeed
from iotlam_faults.physics.tracking import over_angle, track_speed
from iotlam_faults.verdict import judge
from iotlam_machine.bearings import BEARINGS, FaultOrders
from iotlam_machine.machine import BEARING_FAULTS, Fault, Kind, Machine, random_machine
from iotlam_machine.simulate import Run, simulate
from iotlam_waveform.envelope import Bands, Envelopes, modulation, squared_envelopes, surroundings

UNCLEAR = {
    *(118, 119, 120, *range(185, 189), 198, 199, 200, 224, 225, *range(3001, 3005)),  # drive end, 12 kHz
    *(122, 123, 124, 125, 174, *range(189, 193), 202, 203, *range(226, 230)),  # drive end, 48 kHz
    *(282, 283, *range(285, 294), *range(298, 303), 305, 306, 307),  # fan end
}
"""Records of CWRU of which none of three methods gave experts a diagnosis on the bearing's own channel (Smith and
Randall, MSSP 64-65, 2015, tables B2 to B4: no Y1 or Y2); all others of these sets are clear."""

SIMPLE_PROMINENCE = 5.0
MACHINES = 60
SWEEPS = 10
SWEEP, SWEEP_S, SWEEP_HZ = 0.2, 10.0, 29.5


def physics(quick: bool, progress: Progress) -> SuiteResult:
    """The verdict against experts and a simple script; lines and speeds against the truth of simulated machines.

    Args:
        quick: few records, machines and sweeps, to see that it works.
        progress: draws the progress of a piece of work.

    Raises:
        BadInput: if CWRU's records are not here.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    rows = _records(quick, progress)
    markers = _markers(6 if quick else MACHINES, progress)
    sweeps = _sweeps(2 if quick else SWEEPS, progress)
    metrics = {**figures(rows), **_simulated(markers, sweeps)}
    return SuiteResult("faults-physics", rows + markers + sweeps, metrics, time.monotonic() - start)


def _records(quick: bool, progress: Progress) -> list[Json]:
    store = Store(default_root())
    here = [entry for entry in entries("cwru") if entry.faults and store.recordings(entry, _download(entry))]
    if not here:
        fix = "run: iotlam faults data get cwru"
        raise BadInput("Suite 'faults-physics'", expected="records of CWRU", got=f"none in {store.root}", fix=fix)
    rows = []
    with progress("Judging records", len(here[:: 10 if quick else 1])) as step:
        for entry in here[:: 10 if quick else 1]:
            rows.append(_judged(store, entry))
            step(1)
    return rows


def _download(entry: Entry) -> Download:
    return next(one for one in downloads(entry.set) if one.file == entry.file)


def _judged(store: Store, entry: Entry) -> Json:
    (wave,) = waveforms(store, entry)
    values_N, shaft_hz, geometry = torch.from_numpy(wave.values_NC[:, 0]), entry.shaft_hz, entry.geometry
    assert shaft_hz is not None and geometry is not None
    verdict = judge(values_N, entry.rate_hz, shaft_hz, geometry.orders)
    number = int(entry.file.removesuffix(".mat"))
    return {
        "record": number,
        "part": entry.part,
        "fault": entry.faults[0],
        "clear_to_experts": number not in UNCLEAR,
        "named": verdict.faults[0] if verdict.faults else "",
        "unclear": verdict.unclear,
        "named_by_simple_script": _simple(values_N, entry.rate_hz, verdict.speed.hz, geometry.orders),
        **{f"{name}_sigmas": round(one.sigmas, 2) for name, one in verdict.findings.items()},
        **{f"{name}_depth": round(one.depth, 3) for name, one in verdict.findings.items()},
    }


def _simple(values_N: torch.Tensor, rate_hz: float, shaft_hz: float, orders: FaultOrders) -> str:
    """The script that anyone would write: the squared envelope's spectrum, the most prominent first line."""
    band = Bands((500.0,), min(0.45 * rate_hz, 6000.0) - 500.0)
    envelopes = squared_envelopes(values_N[None], rate_hz, band)
    amplitude_F = modulation(envelopes.values_BKM)[0, 0]
    step_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
    clear_F = (amplitude_F.square() / surroundings(amplitude_F.square()[None], round(20.0 / step_hz))[0]).sqrt()
    found = {}
    for name, order in (("inner", orders.inner), ("outer", orders.outer), ("ball", 2.0 * orders.ball)):
        low, high = (round(order * shaft_hz * (1.0 + side) / step_hz) for side in (-0.02, 0.02))
        found[name] = float(clear_F[low : high + 1].max())
    best = max(found, key=lambda name: found[name])
    return best if found[best] > SIMPLE_PROMINENCE else ""


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """The metrics of the records, from the rows alone."""
    clear = [row for row in rows if row["clear_to_experts"]]
    others = [row for row in rows if not row["clear_to_experts"]]
    simple = sum(row["named_by_simple_script"] == row["fault"] for row in clear) / max(len(clear), 1)
    found = {
        "clear_records_right": figure(
            sum(row["named"] == row["fault"] for row in clear) / max(len(clear), 1),
            len(clear),
            least=0.98,
            anchor=f"simple script {simple:.2f}; experts 1 by definition",
        ),
        "wrong_named_on_unclear": figure(
            sum(row["named"] not in ("", row["fault"]) for row in others),
            len(others),
            most=0,
            anchor=f"simple script {sum(row['named_by_simple_script'] not in ('', row['fault']) for row in others)}",
        ),
        "records_beyond_experts": figure(
            sum(row["named"] == row["fault"] for row in others),
            len(others),
            least=10,
            anchor=f"simple script {sum(row['named_by_simple_script'] == row['fault'] for row in others)}",
        ),
        "wrong_named_on_clear": figure(sum(row["named"] not in ("", row["fault"]) for row in clear), len(clear)),
    }
    for fault in BEARING_FAULTS:
        right = [row["named"] == fault for row in rows if row["fault"] == fault]
        found[f"{fault}_right"] = figure(sum(right) / max(len(right), 1), len(right))
    return found


def _markers(count: int, progress: Progress) -> list[Json]:
    """How far the lines that are found lie from where they truly are, of machines whose fault is named."""
    rows = []
    with progress("Lines of simulated machines", count) as step:
        for seed in range(count):
            rows.append(_marked(seed, BEARING_FAULTS[seed % len(BEARING_FAULTS)], 0.4 + 0.5 * (seed % 7) / 6.0))
            step(1)
    return rows


def _marked(seed: int, fault: Kind, severity: float) -> Json:
    machine = random_machine(seed).changed(faults=(Fault(fault, severity, 0.05),), vibration_rate_hz=12_000.0)
    run = simulate(machine, 10.0, seed)
    values_N, shaft_hz = torch.from_numpy(run.vibration_NA[:, 0]).float(), float(run.speed_hz.mean())
    verdict = judge(values_N, machine.vibration_rate_hz, shaft_hz, machine.bearing.orders)
    row: Json = {"machine": seed, "true": fault, "named": "".join(verdict.faults), "severity": round(severity, 3)}
    if verdict.faults == (fault,):
        true = {"inner": run.orders.inner, "outer": run.orders.outer, "ball": 2.0 * run.orders.ball}[fault]
        row["marker_error"] = abs(verdict.findings[fault].hz / (true * shaft_hz) - 1.0)
    return row


def _sweeps(count: int, progress: Progress) -> list[Json]:
    """What order tracking gathers of a line that a sweep smears, by the true speed and without a tachometer."""
    rows: list[Json] = []
    with progress("Sweeps of the speed", count) as step:
        for seed in range(count):
            faults = (Fault("outer", 0.5, 0.05), Fault("imbalance", 0.3))
            machine = Machine(faults=faults, structure=seed, unsteady=0.002)
            run = simulate(machine, SWEEP_S, seed, _swing)
            values_N = torch.from_numpy(run.vibration_NA[:, 0]).float()
            bounds = (SWEEP_HZ * (1.0 - 1.6 * SWEEP), SWEEP_HZ * (1.0 + 1.6 * SWEEP))
            followed_N = track_speed(values_N, machine.vibration_rate_hz, bounds)
            error_N = np.abs(followed_N.numpy() / run.speed_hz - 1.0)
            rows.append(
                {
                    "sweep": seed,
                    "gain_db": _gain_db(values_N, torch.from_numpy(run.speed_hz).float(), run),
                    "gain_without_tachometer_db": _gain_db(values_N, followed_N, run),
                    "speed_error_median": float(np.median(error_N)),
                    "speed_error_p95": float(np.quantile(error_N, 0.95)),
                }
            )
            step(1)
    return rows


def _swing(time_s: np.ndarray) -> np.ndarray:
    return SWEEP_HZ * (1.0 + SWEEP * np.sin(2.0 * math.pi * time_s / SWEEP_S))


def _gain_db(values_N: torch.Tensor, speed_N: torch.Tensor, run: Run) -> float:
    """By how much the outer race's line is higher over angle than over time."""
    rate_hz, outer_hz = run.machine.vibration_rate_hz, SWEEP_HZ * BEARINGS["6205"].orders.outer
    smeared = squared_envelopes(values_N[None], rate_hz, Bands.of_rate(rate_hz))
    tracked = over_angle(smeared, ShaftSpeed(float(speed_N.mean()), SWEEP_HZ, False, speed_N))
    tracked_K, smeared_K = _height(tracked, outer_hz, 0.02), _height(smeared, outer_hz, SWEEP + 0.02)
    return gain_db(tracked_K, smeared_K)


def gain_db(tracked_K: torch.Tensor, smeared_K: torch.Tensor) -> float:
    """Tracked over smeared height of a line in the band where the tracked one is highest, whatever the gain there."""
    band = int(tracked_K.argmax())
    return 20.0 * math.log10(float(tracked_K[band] / smeared_K[band]))


def _height(envelopes: Envelopes, line_hz: float, within: float) -> torch.Tensor:
    """The highest line within a share of a frequency, (K,)."""
    hertz_F = torch.fft.rfftfreq(envelopes.values_BKM.shape[-1], 1.0 / envelopes.rate_hz)
    return modulation(envelopes.values_BKM)[0, :, (hertz_F / line_hz - 1.0).abs() < within].amax(-1)


def _simulated(markers: Sequence[Json], sweeps: Sequence[Json]) -> dict[str, Metric]:
    errors = [row["marker_error"] for row in markers if "marker_error" in row]
    right = sum(row["named"] == row["true"] for row in markers) / len(markers)
    wrong = sum(row["named"] not in ("", row["true"]) for row in markers)
    p95 = float(np.quantile(errors, 0.95)) if errors else math.nan
    gain_db, followed_db = (
        float(np.median([row[name] for row in sweeps])) for name in ("gain_db", "gain_without_tachometer_db")
    )
    slowest = max(row["speed_error_p95"] for row in sweeps)
    return {
        "marker_error": figure(p95, len(errors), most=0.003, anchor="0.0022 to 0.0030, median (published)"),
        "marker_error_greatest": figure(max(errors, default=math.nan), len(errors)),
        "simulated_named_right": figure(right, len(markers)),
        "simulated_named_wrong": figure(wrong, len(markers)),
        "speed_sweep_recovered_db": figure(
            gain_db, len(sweeps), least=10.0, unit="dB", anchor="4 to 10 dB (published)"
        ),
        "without_tachometer_db": figure(followed_db, len(sweeps), unit="dB"),
        "tacholess_speed_error": figure(slowest, len(sweeps), most=0.01),
    }
