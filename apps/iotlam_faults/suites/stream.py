"""Suite `faults-stream`: a plant of machines over a real broker that is killed: what is lost, doubled, late?

Counted twice: on the monitor's disk, and by who listens to what it tells.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import torch

from iotlam.bench.mosquitto import Mosquitto
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.streams import senml
from iotlam.streams.envelope import Block, block_of
from iotlam.streams.mqtt import MqttTransport
from iotlam.streams.outbox import Outbox
from iotlam.streams.transport import Message
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger
from iotlam_faults.monitor.run import LEDGER
from iotlam_faults.monitor.service import ALARMS, FEATURES, WAVEFORMS, Service
from iotlam_machine.machine import Fault, Kind, Machine
from iotlam_machine.simulate import simulate

MACHINES, SECONDS = 500, 300
STRUCTURES, SOUND_WINDOWS, DAMAGED_WINDOWS = 25, 12, 6
DAMAGED_EVERY = 20
"""One machine in so many is damaged at a time of its own: one race, suddenly and badly."""

SEVERITY = 0.9
RATE_HZ = 12_000.0
AWAY_S = 5.0
EMPTY_S, QUIET_S = 180.0, 20.0
MONITOR_UP_S = 60.0


class Listener:
    """Somebody who listens to features and alarms, and drops doubles by their id.

    Attributes:
        features: of each machine, numbers of windows in the order they were heard.
        again: messages that were dropped.
        alarms: by id: the alarm, and when it was heard, monotonic seconds.
    """

    def __init__(self, address: str) -> None:
        self.features: dict[str, list[int]] = defaultdict(list)
        self.again = 0
        self.alarms: dict[str, tuple[Alarm, float]] = {}
        self._ids: set[str] = set()
        self._transport = MqttTransport(address, "listener")
        self._transport.subscribe(FEATURES.format(machine="+"), self._on_features)
        self._transport.subscribe(ALARMS.format(machine="+"), self._on_alarm)

    def windows(self) -> int:
        """How many windows it knows of."""
        return len(self._ids)

    def of_machine(self, name: str) -> dict[str, float]:
        """When a machine's alarms were heard, by id."""
        return {key: at_s for key, (alarm, at_s) in self.alarms.items() if alarm.machine == name}

    def close(self) -> None:
        """Listen no more."""
        self._transport.close()

    def _on_features(self, message: Message) -> None:
        name = next(str(value) for key, (_, value) in senml.decode(message.payload).items() if key.endswith(":id"))
        if name in self._ids:
            self.again += 1
            return
        self._ids.add(name)
        machine, *_, number = name.split("/")
        self.features[machine].append(int(number))

    def _on_alarm(self, message: Message) -> None:
        alarm = msgspec.json.decode(message.payload, type=Alarm)
        self.again += alarm.id in self.alarms
        self.alarms.setdefault(alarm.id, (alarm, time.monotonic()))


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
            listener = Listener(broker.address)
            facts, put_at_s = _run_plant(broker, folder, pool, machines, seconds, progress)
            _wait_for(listener, machines * seconds)
        finally:
            ended.set()
            monitor.join()
            broker.kill()
        listener.close()
        ledger = Ledger(folder / LEDGER)
        rows = _machine_rows(ledger, listener, put_at_s, machines)
        ledger.close()
        usage = (folder / "usage").read_text(encoding="utf-8").split()
    facts |= {"heard_again": listener.again, "monitor_cpu_s": float(usage[0]), "monitor_rss_mb": float(usage[1])}
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
    alarms = sum(row["alarms"] for row in rows)
    delays_s = [float("inf") if row["alarm_delay_s"] is None else row["alarm_delay_s"] for row in damaged]
    return {
        "lost": figure(sum(row["lost"] for row in rows), sent, most=0),
        "doubled": figure(sum(row["doubled"] for row in rows), sent, most=0),
        "out_of_order": figure(sum(row["out_of_order"] for row in rows), sent, most=0),
        "features_lost": figure(sum(row["features_lost"] for row in rows), sent, most=0),
        "features_doubled": figure(sum(row["features_doubled"] for row in rows), sent, most=0),
        "features_out_of_order": figure(sum(row["features_out_of_order"] for row in rows), sent),
        "alarms_lost": figure(sum(row["alarms_lost"] for row in rows), alarms, most=0),
        "alarms_doubled": figure(sum(row["alarms_doubled"] for row in rows), alarms, most=0),
        "heard_again": figure(facts["heard_again"], sent + alarms),
        "alarm_delay_windows": figure(_worst([row["alarm_delay_windows"] for row in damaged]), len(damaged), most=2),
        "alarm_delay_s": figure(_worst(delays_s), len(damaged), unit="s"),
        "alarm_delay_median_s": figure(median(delays_s) if delays_s else 0.0, len(damaged), unit="s"),
        "false_alarms": figure(sum(row["false_alarms"] for row in rows), len(rows)),
        "broker_kills": figure(facts["kills"], 1),
        "most_waiting": figure(facts["most_waiting"], 1),
        "caught_up_s": figure(facts["caught_up_s"], 1, unit="s"),
        "monitor_cpu_share": figure(facts["monitor_cpu_s"] / facts["seconds"], 1),
        "monitor_rss_mb": figure(facts["monitor_rss_mb"], 1, unit="MB"),
    }


def _worst(delays: Sequence[float | None]) -> float:
    """The longest of some delays; an alarm that never came is no short one."""
    return max((float("inf") if delay is None else float(delay) for delay in delays), default=0.0)


def _wait_for(listener: Listener, windows: int) -> None:
    """Wait until all windows have been heard of, or nothing new comes."""
    heard, since = listener.windows(), time.monotonic()
    while heard < windows and time.monotonic() - since < QUIET_S:
        time.sleep(0.1)
        if listener.windows() > heard:
            heard, since = listener.windows(), time.monotonic()


def _run_plant(
    broker: Mosquitto,
    folder: Path,
    pool: Sequence[dict[str, list[Block]]],
    machines: int,
    seconds: int,
    progress: Progress,
) -> tuple[dict[str, float], list[float]]:
    """Send all windows, killing the broker at a third and two thirds of the time; wait until all are confirmed.

    Returns:
        Figures, and when the windows of each second were sent, monotonic seconds.
    """
    put_at_s: list[float] = []
    rng = np.random.default_rng(0)
    gateway = MqttTransport(broker.address, "gateway")
    outbox = Outbox(gateway, folder / "gateway.sqlite", WAVEFORMS, "gateway")
    kills, most_waiting, start = 0, 0, time.monotonic()
    with progress("Sending windows", machines * seconds) as step:
        for second in range(seconds):
            put_at_s.append(time.monotonic())
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
    facts = {
        "kills": float(kills),
        "most_waiting": float(most_waiting),
        "caught_up_s": round(caught_up_s, 1),
        "seconds": round(time.monotonic() - start, 1),
    }
    return facts, put_at_s


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


def _machine_rows(ledger: Ledger, listener: Listener, put_at_s: Sequence[float], machines: int) -> list[Json]:
    taken: dict[str, list[int]] = defaultdict(list)
    for name, number in ledger.database.execute("select machine, number from windows order by rowid"):
        taken[name].append(number)
    written: dict[str, list[Alarm]] = defaultdict(list)
    for alarm in reversed(ledger.alarms()):
        written[alarm.machine].append(alarm)
    return [
        {
            "machine": f"m{index}",
            **windows_row(taken[f"m{index}"], listener.features[f"m{index}"], len(put_at_s)),
            **alarms_row(
                written[f"m{index}"], listener.of_machine(f"m{index}"), put_at_s, _damaged_at(index, len(put_at_s))
            ),
        }
        for index in range(machines)
    ]


def windows_row(taken: Sequence[int], heard: Sequence[int], sent: int) -> Json:
    """What became of a machine's windows: on the monitor's disk, and at who listens to features.

    Args:
        taken: numbers of the windows on disk, in order.
        heard: of those whose features were heard.
        sent: how many there were.
    """
    found = {
        f"{where}{what}": value
        for where, numbers in (("", taken), ("features_", heard))
        for what, value in _counted(numbers, sent).items()
    }
    return {"sent": sent, **found}


def alarms_row(written: Sequence[Alarm], heard: Mapping[str, float], put_at_s: Sequence[float], at: int | None) -> Json:
    """What became of a machine's alarms.

    Args:
        written: those on the monitor's disk, in order.
        heard: when those that were heard came, monotonic seconds by id.
        put_at_s: when each window was sent.
        at: the first damaged window, None where there is none.
    """
    raised = [alarm for alarm in written if alarm.raised]
    after = [alarm for alarm in raised if at is not None and alarm.number >= at]
    delay_windows, delay_s = None, None
    if at is not None and after:
        delay_windows = after[0].number - at + 1
        delay_s = round(heard[after[0].id] - put_at_s[at], 2) if after[0].id in heard else None
    return {
        "alarms": len(written),
        "alarms_lost": len({alarm.id for alarm in written} - set(heard)),
        "alarms_doubled": len(set(heard) - {alarm.id for alarm in written}),
        "damaged_at": at,
        "alarm_delay_windows": delay_windows,
        "alarm_delay_s": delay_s,
        "false_alarms": len(raised) - len(after),
    }


def _counted(numbers: Sequence[int], sent: int) -> dict[str, int]:
    return {
        "lost": sent - len(set(numbers)),
        "doubled": len(numbers) - len(set(numbers)),
        "out_of_order": sum(later < earlier for earlier, later in pairwise(numbers)),
    }
