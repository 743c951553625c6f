"""The monitor's live page: a file that is written anew while it runs and reloads itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import iotlam
from iotlam.pages.page import figure, write_html
from iotlam_faults.monitor.alarm import Machine, Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger
from iotlam_faults.verdict import WORDS

TEMPLATE = Path(__file__).with_name("page.html.j2")
EVERY_S = 2.0
SHOWN_WINDOWS, SHOWN_MACHINES, SHOWN_ALARMS = 120, 60, 50
WIDTH, HEIGHT = 300.0, 40.0
TOP = 6.0
"""Change at the upper edge of a chart."""


def write_page(
    ledger: Ledger, rules: Rules, path: Path, refused: Sequence[str], commands: Sequence[str], live: bool = True
) -> Path:
    """Write the page; it appears whole or not at all.

    Args:
        ledger: what the monitor knows.
        rules: when an alarm is raised.
        path: the file.
        refused: the newest payloads that were refused, and why.
        commands: what was typed to make it.
        live: whether it reloads itself.

    Raises:
        BadInput: if the file cannot be written.
    """
    ordered = sorted(ledger.machines.items(), key=lambda item: (not item[1].alarmed, item[0]))
    contents = {
        "live": live,
        "every_s": f"{EVERY_S:.0f}",
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "count": len(ordered),
        "alarmed": sum(machine.alarmed for _, machine in ordered),
        "refused": list(refused)[-3:],
        "rows": [_row(ledger, rules, name, machine) for name, machine in ordered[:SHOWN_MACHINES]],
        "hidden": max(len(ordered) - SHOWN_MACHINES, 0),
        "shown": SHOWN_WINDOWS,
        "bound_y": f"{_y(rules.raise_at):.1f}",
        "raise_at": figure(rules.raise_at),
        "clear_at": figure(rules.clear_at),
        "raise_after": rules.raise_after,
        "clear_after": rules.clear_after,
        "alarms": [_told(alarm) for alarm in ledger.alarms()[:SHOWN_ALARMS]],
        "facts": {},
        "commands": list(commands),
        "versions": {"iotlam": iotlam.__version__},
    }
    return write_html(TEMPLATE, contents, path)


def _row(ledger: Ledger, rules: Rules, name: str, machine: Machine) -> dict[str, Any]:
    history = ledger.history(name, SHOWN_WINDOWS)
    first = SHOWN_WINDOWS - len(history)  # the newest is at the right edge
    changes = [(index, change) for index, (_, change, _) in enumerate(history, first) if change is not None]
    step = WIDTH / max(SHOWN_WINDOWS - 1, 1)
    judged = history[-1][2] if history else "learning"
    if judged == "learning":
        judged = f"learning {len(machine.learnt)}/{rules.learning}"
    state = "alarm" if machine.alarmed else judged
    return {
        "name": name,
        "state": state,
        "alarmed": machine.alarmed,
        "paint": "stop" if machine.alarmed else "orange" if judged == "changed" else "go",
        "change": figure(changes[-1][1]) if changes else "",
        "line": " ".join(f"{index * step:.1f},{_y(change):.1f}" for index, change in changes),
    }


def _told(alarm: Alarm) -> dict[str, Any]:
    return {
        "when": datetime.fromtimestamp(alarm.t_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "machine": alarm.machine,
        "raised": alarm.raised,
        "change": figure(alarm.change),
        "fault": " and ".join(WORDS.get(one, one) for one in alarm.fault.split("+")) if alarm.fault else "",
        "because": alarm.because,
    }


def _y(change: float) -> float:
    return HEIGHT * (1.0 - min(change, TOP) / TOP)
