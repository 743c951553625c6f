"""The monitor's live page: a file that is written anew while it runs and reloads itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import iotlam
from iotlam.pages.page import figure, write_html
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Key, Ledger, without_rate
from iotlam_faults.verdict import WORDS

TEMPLATE = Path(__file__).with_name("page.html.j2")
EVERY_S = 2.0
SHOWN_WINDOWS, SHOWN_SENSORS, SHOWN_ALARMS = 120, 60, 50
SILENT_S, MISSED, RHYTHM = 60.0, 5.0, 20
"""A sensor is silent after a minute, or five times the usual step between its newest windows where that is longer."""

UNWATCHED = 5
"""Windows in a row at other speeds from which a sensor is said not to be watched: a machine runs up faster."""

STALE_S = 60.0
"""Age from which a page that is meant to be live says that it is old."""

WIDTH, HEIGHT = 300.0, 40.0
TOP = 6.0
"""Change at the upper edge of a chart."""


def write_page(
    ledger: Ledger, rules: Rules, path: Path, flags: Sequence[str], commands: Sequence[str], live: bool = True
) -> Path:
    """Write the page; it appears whole or not at all.

    Args:
        ledger: what the monitor knows.
        rules: when an alarm is raised.
        path: the file.
        flags: what is wrong with the monitor's own work, and payloads that were refused, in sentences.
        commands: what was typed to make it.
        live: whether it reloads itself.

    Raises:
        BadInput: if the file cannot be written.
    """
    now_ns = time.time_ns()
    silent = {key for key in ledger.sensors if _is_silent(ledger, key, now_ns)}
    unwatched = {key for key in ledger.sensors if _is_unwatched(ledger, key)}
    alarmed = {key for key, sensor in ledger.sensors.items() if sensor.alarmed}
    ordered = sorted(ledger.sensors, key=lambda key: (*(key not in some for some in (alarmed, silent, unwatched)), key))
    count = _machines(ordered)
    troubled = {"in alarm": alarmed, "silent": silent, "not watched": unwatched}
    headlines = [_headline(_machines(keys), count, state) for state, keys in troubled.items() if keys]
    contents = {
        "live": live,
        "every_s": f"{EVERY_S:.0f}",
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "when_ms": now_ns // 1_000_000,
        "stale_s": f"{STALE_S:.0f}",
        "count": count,
        "alarmed": _machines(alarmed),
        "headline": headlines[0] if headlines else _quiet(count),
        "flags": [*headlines[1:], *(f"{flag}." for flag in flags)],
        "rows": [_row(ledger, rules, key, key in silent, now_ns) for key in ordered[:SHOWN_SENSORS]],
        "hidden": max(len(ordered) - SHOWN_SENSORS, 0),
        "shown": SHOWN_WINDOWS,
        "bound_y": f"{_y(rules.raise_at):.1f}",
        "raise_at": figure(rules.raise_at),
        "clear_at": figure(rules.clear_at),
        "raise_after": rules.raise_after,
        "clear_after": rules.clear_after,
        "unwatched": UNWATCHED,
        "alarms": [_told(alarm) for alarm in ledger.alarms(SHOWN_ALARMS)],
        "facts": {},
        "commands": list(commands),
        "versions": {"iotlam": iotlam.__version__},
    }
    return write_html(TEMPLATE, contents, path)


def _machines(keys: Iterable[Key]) -> int:
    return len({machine for machine, _ in keys})


def _headline(some: int, count: int, state: str) -> str:
    return f"{some} of {count} machines {'is' if some == 1 else 'are'} {state}."


def _quiet(count: int) -> str:
    if not count:
        return "No machine has been heard yet."
    return "The machine is quiet." if count == 1 else f"All {count} machines are quiet."


def _is_silent(ledger: Ledger, key: Key, now_ns: int) -> bool:
    """Whether nothing has come for much longer than usual."""
    age_s = _age_s(ledger, key, now_ns)
    if age_s <= SILENT_S or _is_replaced(ledger, key):
        return False
    times_ns = [window.t_ns for window in ledger.history(key, RHYTHM)]
    usual_s = median(abs(later - earlier) / 1e9 for earlier, later in pairwise(times_ns)) if times_ns[1:] else 0.0
    return age_s > MISSED * usual_s


def _is_unwatched(ledger: Ledger, key: Key) -> bool:
    """Whether its baseline has not applied for some windows, so that no alarm can come."""
    return ledger.sensor(key).unjudged >= UNWATCHED and not _is_replaced(ledger, key)


def _is_replaced(ledger: Ledger, key: Key) -> bool:
    """Whether the sensor has been heard at another rate since."""
    mine = without_rate(key)
    return any(
        state.taken_ns > ledger.sensor(key).taken_ns
        for other, state in ledger.sensors.items()
        if without_rate(other) == mine
    )


def _age_s(ledger: Ledger, key: Key, now_ns: int) -> float:
    """Seconds since the newest window; one of the future came before the monitor's clock was set back."""
    return abs(now_ns - ledger.sensor(key).taken_ns) / 1e9


def _row(ledger: Ledger, rules: Rules, key: Key, silent: bool, now_ns: int) -> dict[str, Any]:
    history, sensor = ledger.history(key, SHOWN_WINDOWS), ledger.sensor(key)
    first = SHOWN_WINDOWS - len(history)  # the newest is at the right edge
    changes = [(index, one.change) for index, one in enumerate(history, first) if one.change is not None]
    step = WIDTH / max(SHOWN_WINDOWS - 1, 1)
    state = history[-1].judged if history else "learning"
    if state == "learning":
        state = f"learning {len(sensor.learnt)}/{rules.learning}"
    if sensor.alarmed:
        state = "alarm: dead" if sensor.dead.stands else "alarm"
        if sensor.learnt_fault and not sensor.dead.stands:
            state = "alarm: learnt while damaged"
    elif _is_replaced(ledger, key):
        state = "replaced"
    if silent:
        state = "alarm, silent" if sensor.alarmed else "silent"
    doubtful = silent or state in ("changed", "dead", "other speed")
    return {
        "machine": key[0],
        "sensor": key[1],
        "state": state,
        "alarmed": sensor.alarmed,
        "paint": "stop" if sensor.alarmed else "orange" if doubtful else "go",
        "age": _span(_age_s(ledger, key, now_ns)),
        "change": figure(changes[-1][1]) if changes and changes[-1][0] == SHOWN_WINDOWS - 1 else "",
        "line": " ".join(f"{index * step:.1f},{_y(change):.1f}" for index, change in changes),
    }


def _span(seconds: float) -> str:
    """A time in words, whole in its greatest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}\N{NO-BREAK SPACE}{unit}"
    return f"{seconds:.0f}\N{NO-BREAK SPACE}s"


def _told(alarm: Alarm) -> dict[str, Any]:
    return {
        "when": datetime.fromtimestamp(alarm.t_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "machine": alarm.machine,
        "sensor": alarm.sensor,
        "raised": alarm.raised,
        "change": "" if alarm.change is None else figure(alarm.change),
        "fault": " and ".join(WORDS.get(one, one) for one in alarm.fault.split("+")) if alarm.fault else "",
        "because": alarm.because,
    }


def _y(change: float) -> float:
    return HEIGHT * (1.0 - min(change, TOP) / TOP)
