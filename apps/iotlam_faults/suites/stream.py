"""Suite `faults-stream`: a plant of machines over a real broker that is killed: what is lost, doubled, late?"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import numpy as np
import torch

from iotlam.bench.mosquitto import Mosquitto
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.streams.envelope import Block, block_of
from iotlam.streams.mqtt import MqttTransport
from iotlam.streams.outbox import Outbox
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Ledger
from iotlam_faults.monitor.run import LEDGER
from iotlam_faults.monitor.service import WAVEFORMS, Service
from iotlam_machine.machine import Fault, Kind, Machine
from iotlam_machine.simulate import simulate

MACHINES, SECONDS = 500, 300
STRUCTURES, SOUND_WINDOWS, DAMAGED_WINDOWS = 25, 12, 6
DAMAGED_EVERY = 20
"""One machine in so many is damaged at a time of its own: one race, suddenly and badly."""

SEVERITY = 0.9
RATE_HZ = 12_000.0
AWAY_S = 5.0
EMPTY_S = 180.0
MONITOR_UP_S = 60.0


def stream(quick: bool, progress: Progress) -> SuiteResult:
    """Machines send a window a second through a gateway and a broker that is killed twice.

    Args:
        quick: few machines for half a minute, to see that it works.
        progress: draws the progress of a piece of work.

    Raises:
        BadInput: if Mosquitto is not installed.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    machines, seconds = (40, 40) if quick else (MACHINES, SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder)
        pool = _pool(progress)
        context = multiprocessing.get_context("spawn")
        broker.start()
        ready, ended = context.Event(), context.Event()
        monitor = context.Process(target=run_monitor, args=(broker.address, folder, ready, ended))
        monitor.start()
        try:
            ready.wait(MONITOR_UP_S)
            facts = _run_plant(broker, folder, pool, machines, seconds, progress)
        finally:
            ended.set()
            monitor.join()
            broker.kill()
        ledger = Ledger(folder / LEDGER)
        rows = _machine_rows(ledger, machines, seconds)
        ledger.close()
        usage = (folder / "usage").read_text(encoding="utf-8").split()
    facts |= {"monitor_cpu_s": float(usage[0]), "monitor_rss_mb": float(usage[1])}
    return SuiteResult("faults-stream", rows, figures(rows, facts), time.monotonic() - start)


def run_monitor(address: str, folder: Path, ready: Event, ended: Event) -> None:
    """A monitor in a process of its own."""
    torch.set_num_threads(1)
    transport, ledger = MqttTransport(address, "monitor"), Ledger(folder / LEDGER)
    service = Service(transport, ledger, Rules())
    ready.set()
    ended.wait()
    service.close()
    transport.close()
    ledger.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    text = f"{used.ru_utime + used.ru_stime:.1f} {used.ru_maxrss / 1024:.1f}"
    (folder / "usage").write_text(text, encoding="utf-8")


def figures(rows: Sequence[Json], facts: dict[str, float]) -> dict[str, Metric]:
    """The metrics, from the machines' rows."""
    sent = sum(row["sent"] for row in rows)
    damaged = [row for row in rows if row["damaged_at"] is not None]
    delays = [row["alarm_delay_windows"] for row in damaged]
    missed = sum(delay is None for delay in delays)
    worst = float(max((delay for delay in delays if delay is not None), default=0)) if not missed else float("inf")
    return {
        "lost": figure(sum(row["lost"] for row in rows), sent, most=0),
        "doubled": figure(sum(row["doubled"] for row in rows), sent, most=0),
        "out_of_order": figure(sum(row["out_of_order"] for row in rows), sent, most=0),
        "alarm_delay_windows": figure(worst, len(damaged), most=2),
        "false_alarms": figure(sum(row["false_alarms"] for row in rows), len(rows)),
        "broker_kills": figure(facts["kills"], 1),
        "most_waiting": figure(facts["most_waiting"], 1),
        "caught_up_s": figure(facts["caught_up_s"], 1, unit="s"),
        "monitor_cpu_share": figure(facts["monitor_cpu_s"] / facts["seconds"], 1),
        "monitor_rss_mb": figure(facts["monitor_rss_mb"], 1, unit="MB"),
    }


def _run_plant(
    broker: Mosquitto,
    folder: Path,
    pool: Sequence[dict[str, list[Block]]],
    machines: int,
    seconds: int,
    progress: Progress,
) -> dict[str, float]:
    """Send all windows, killing the broker at a third and two thirds of the time; wait until all are confirmed."""
    rng = np.random.default_rng(0)
    gateway = MqttTransport(broker.address, "gateway")
    outbox = Outbox(gateway, folder / "gateway.sqlite", WAVEFORMS, "gateway")
    kills, most_waiting, start = 0, 0, time.monotonic()
    with progress("Sending windows", machines * seconds) as step:
        for second in range(seconds):
            outbox.put([(f"m{index}", _body(rng, pool, index, second, seconds)) for index in range(machines)])
            if second in (seconds // 3, 2 * seconds // 3):
                broker.kill()
                kills, away_since = kills + 1, time.monotonic()
            time.sleep(max(start + second + 1 - time.monotonic(), 0.0))
            if kills and broker.is_down and time.monotonic() - away_since >= AWAY_S:
                broker.start()
            most_waiting = max(most_waiting, outbox.waiting())
            step(machines)
    sent_at = time.monotonic()
    while outbox.waiting() and time.monotonic() - sent_at < EMPTY_S:
        time.sleep(0.1)
    caught_up_s = time.monotonic() - sent_at
    outbox.close()
    gateway.close()
    return {
        "kills": kills,
        "most_waiting": most_waiting,
        "caught_up_s": round(caught_up_s, 1),
        "seconds": round(time.monotonic() - start, 1),
    }


def _body(
    rng: np.random.Generator, pool: Sequence[dict[str, list[Block]]], index: int, second: int, seconds: int
) -> bytes:
    at = _damaged_at(index, seconds)
    kind = "sound" if at is None or second < at else _race(index)
    windows = pool[index % len(pool)][kind]
    raw = windows[int(rng.integers(len(windows)))]
    return msgspec.structs.replace(raw, t_ns=second * 1_000_000_000).pack()


def _damaged_at(index: int, seconds: int) -> int | None:
    """Window from which a machine is damaged: any after the baseline is learnt, also while the broker is away."""
    if index % DAMAGED_EVERY:
        return None
    rng = np.random.default_rng((index, 11))
    return int(rng.integers(Rules().learning + 2, seconds - 3))


def _race(index: int) -> Kind:
    return "outer" if index // DAMAGED_EVERY % 2 else "inner"


def _pool(progress: Progress) -> list[dict[str, list[Block]]]:
    """Windows of machines of some structures, sound and damaged, to be sent in any order."""
    found = []
    with progress("Simulating windows", STRUCTURES) as step:
        for structure in range(STRUCTURES):
            kinds: dict[str, tuple[int, tuple[Fault, ...]]] = {
                "sound": (SOUND_WINDOWS, ()),
                "inner": (DAMAGED_WINDOWS, (Fault("inner", SEVERITY, 0.05),)),
                "outer": (DAMAGED_WINDOWS, (Fault("outer", SEVERITY, 0.05),)),
            }
            found.append(
                {
                    kind: [_window(structure, faults, 1000 * structure + seed) for seed in range(count)]
                    for kind, (count, faults) in kinds.items()
                }
            )
            step(1)
    return found


def _window(structure: int, faults: tuple[Fault, ...], seed: int) -> Block:
    run = simulate(Machine(structure=structure, vibration_rate_hz=RATE_HZ, faults=faults), 1.0, seed)
    values_NC = run.vibration_NA[:, :1].astype(np.float32)
    return block_of(values_NC, RATE_HZ, 0, shaft_hz=float(run.speed_hz.mean()), bearing="6205")


def _machine_rows(ledger: Ledger, machines: int, seconds: int) -> list[Json]:
    numbers: dict[str, list[int]] = {f"m{index}": [] for index in range(machines)}
    for name, number in ledger.database.execute("select machine, number from windows order by rowid"):
        numbers[name].append(number)
    raised: dict[str, list[int]] = {}
    for alarm in reversed(ledger.alarms()):
        if alarm.raised:
            raised.setdefault(alarm.machine, []).append(alarm.number)
    rows = []
    for index in range(machines):
        name, at = f"m{index}", _damaged_at(index, seconds)
        taken = numbers[name]
        after = [number for number in raised.get(name, []) if at is not None and number >= at]
        rows.append(
            {
                "machine": name,
                "sent": seconds,
                "lost": seconds - len(set(taken)),
                "doubled": len(taken) - len(set(taken)),
                "out_of_order": sum(later != earlier + 1 for earlier, later in zip(taken, taken[1:], strict=False)),
                "damaged_at": at,
                "alarm_delay_windows": after[0] - at + 1 if after and at is not None else None,
                "false_alarms": len(raised.get(name, [])) - len(after),
            }
        )
    return rows
