"""Running a monitor: until it is stopped, or until the demo's machines have said all."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import msgspec
import typer

from iotlam.contracts import BadInput, Json, check_writable
from iotlam.contracts.errors import IotlamError
from iotlam.streams.local import LocalTransport
from iotlam.streams.mqtt import MqttTransport, public
from iotlam.streams.outbox import Outbox
from iotlam.streams.transport import Transport
from iotlam.training.progress import progress
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.demo import plant, send
from iotlam_faults.monitor.ledger import Alarm, Ledger
from iotlam_faults.monitor.page import EVERY_S, write_page
from iotlam_faults.monitor.service import WAVEFORMS, Service

LEDGER, GATEWAY = "monitor.sqlite", "gateway.sqlite"
DEMO, LOCK = "simulated-plant", "lock.sqlite"
SHOWN_REFUSED = 3


def run_service(broker: str, folder: Path, page: Path, rules: Rules) -> None:
    """Watch the machines of a broker until Ctrl-C.

    Raises:
        BadInput: if the broker refuses, or the folder cannot be used.
    """
    transport = MqttTransport(broker, f"iotlam-monitor-{uuid4().hex[:12]}")
    command = f"iotlam faults monitor --broker {public(broker)}"
    with _watching(transport, folder, page, rules, command, lambda alarm: typer.echo(_told(alarm))) as service:
        typer.echo(f"watching {public(broker)}; page: {page}; Ctrl-C ends it", err=True)
        warned = ""
        while True:
            time.sleep(EVERY_S)
            service.check()
            problem = _problem(service, transport)
            if problem != warned:
                typer.echo(problem or "back to work", err=True)
                warned = problem


def forget(folder: Path, machine: str) -> None:
    """Have a machine's baselines learnt anew, as after a repair.

    Raises:
        BadInput: if a monitor is at work in the folder, or has never heard of the machine.
    """
    if not (folder / LEDGER).exists():
        fix = "give the --state of the monitor"
        raise BadInput("--forget", expected="a monitor's folder", got=f"'{folder}'", fix=fix)
    lock = locked(folder)
    ledger = Ledger(folder / LEDGER)
    try:
        known = sorted({name for name, _ in ledger.sensors})
        if machine not in known:
            raise BadInput(
                "--forget", expected="a machine it knows", got=f"'{machine}'", fix=f"name one of {known[:9]}"
            )
        ledger.forget(machine)
    finally:
        ledger.close()
        lock.close()


def run_demo(folder: Path, page: Path, rules: Rules, windows: int, pace_s: float, seed: int) -> Path:
    """Watch simulated machines of which one wears out, over a transport in this process; returns the page."""
    demo = folder / DEMO
    check_writable("--state", demo)
    for path in (*demo.glob(f"{LEDGER}*"), *demo.glob(f"{GATEWAY}*")):
        path.unlink()  # each demo begins with machines that nobody knows
    transport = LocalTransport()
    typer.echo(f"live page: {page}", err=True)
    command = "iotlam faults monitor --demo"
    with _watching(transport, demo, page, rules, command, lambda alarm: typer.echo(_told(alarm), err=True)) as service:
        outbox = Outbox(transport, demo / GATEWAY, WAVEFORMS, "demo")
        with progress("Watching", total=windows) as step:
            send(outbox, plant(windows, seed), pace_s, step, service.check)
        outbox.close()
    typer.echo(f"page: {page}", err=True)
    return page


def demo(out: Path, seed: int = 0, quick: bool = False) -> Json:
    """`iotlam demo faults`: simulated machines of which one wears out, ending in a page.

    Args:
        out: folder of the page.
        seed: of which machine wears out and how.
        quick: fewer windows.
    """
    start = time.monotonic()
    page = run_demo(
        out, out / "monitor.html", Rules(), windows=50 if quick else 70, pace_s=0.0 if quick else 0.2, seed=seed
    )
    view = Ledger(out / DEMO / LEDGER)
    alarms = [msgspec.to_builtins(alarm) for alarm in view.alarms()]
    view.close()
    return {"page": str(page), "alarms": alarms, "seconds": round(time.monotonic() - start, 1)}


@contextmanager
def _watching(
    transport: Transport, folder: Path, page: Path, rules: Rules, command: str, say: Callable[[Alarm], None]
) -> Iterator[Service]:
    """A monitor at work that writes its page; all that has come is done when it ends."""
    check_writable("--state", folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = locked(folder)
    ledger = Ledger(folder / LEDGER)
    service = Service(transport, ledger, rules, say)
    ended = threading.Event()

    def paint(live: bool = True) -> None:
        view = Ledger(folder / LEDGER)  # a connection of its own: it reads while the service writes
        try:
            write_page(view, rules, page, _flags(service, transport if live else None), [command], live)
        finally:
            view.close()

    def keep_painting() -> None:
        while not ended.wait(EVERY_S):
            with suppress(IotlamError, sqlite3.Error):  # a full disk: the next time
                paint()

    painter = threading.Thread(target=keep_painting, name="page", daemon=True)
    painter.start()
    try:
        yield service
    finally:
        ended.set()
        painter.join()
        service.close()
        transport.close()
        ledger.close()
        paint(live=False)
        lock.close()


def locked(folder: Path) -> sqlite3.Connection:
    """Keep other monitors out of a folder for as long as the connection lives; the system ends it with the process.

    Raises:
        BadInput: if another one is at work in it.
    """
    lock = sqlite3.connect(folder / LOCK, timeout=0.0, check_same_thread=False)
    try:
        lock.execute("begin exclusive")
    except sqlite3.Error as error:
        lock.close()
        got, fix = f"another one at work in '{folder}' ({error})", "end it, or name another folder"
        raise BadInput("--state", expected="a folder for this monitor alone", got=got, fix=fix) from error
    return lock


def _problem(service: Service, transport: Transport) -> str:
    return str(service.failure or "") or ("" if transport.connected else "the broker is away; trying again")


def _flags(service: Service, transport: Transport | None) -> list[str]:
    """What is wrong with a monitor's own work, if it is still at work, and what it refused."""
    problem = _problem(service, transport) if transport else ""
    return ([problem] if problem else []) + [f"Refused: {one}" for one in list(service.watch.refused)[-SHOWN_REFUSED:]]


def _told(alarm: Alarm) -> str:
    what = f"{alarm.fault}: {alarm.because}" if alarm.raised else alarm.because
    change = "" if alarm.change is None else f"change {alarm.change:.2f}  "
    return f"{alarm.machine} {alarm.sensor}  {'ALARM' if alarm.raised else 'ended'}  {change}{what}"
