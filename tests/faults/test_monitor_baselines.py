"""Baselines that are none: of a machine that was damaged while it was learnt, or stood."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from iotlam.streams import senml
from iotlam.streams.envelope import Envelope, block_of
from iotlam.streams.transport import Message
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Ledger
from iotlam_faults.monitor.page import write_page
from iotlam_faults.monitor.service import WAVEFORMS, features
from iotlam_faults.monitor.watch import Watch
from iotlam_machine.machine import Fault, Kind, Machine
from iotlam_machine.simulate import simulate

RATE_HZ = 12_000.0
BRIEF = Rules(learning=4)
KEY = "pump", "accelerometer/12000Hz"


def running(number: int, severity: float = 0.0, kind: Kind = "outer", structure: int = 7) -> tuple[np.ndarray, float]:
    """A second of a machine, and its speed."""
    faults = (Fault(kind, severity, 0.05),) if severity else ()
    run = simulate(Machine(structure=structure, speed_hz=24.5, faults=faults), 1.0, 100 * structure + number)
    return run.vibration_NA[:, :1].astype(np.float32), 24.5


def standing(number: int) -> tuple[np.ndarray, None]:
    return np.random.default_rng(number).normal(0.0, 0.005, (int(RATE_HZ), 1)).astype(np.float32), None


def feed(watch: Watch, *windows: tuple[np.ndarray, float | None], first: int = 0, source: str = "pump") -> None:
    for number, (values_NC, shaft_hz) in enumerate(windows, first):
        body = block_of(values_NC, RATE_HZ, number * 1_000_000_000, shaft_hz=shaft_hz, bearing="6205").pack()
        payload = Envelope(source, 1, number, 0, body).pack()
        watch.handle([Message(WAVEFORMS.format(source=source), payload, "iotlam/confirmed/gateway")])


@pytest.mark.parametrize("kind", ["outer", "inner"])
def test_a_machine_that_was_damaged_when_learning_began_is_alarmed_of(
    ledger: Ledger, tmp_path: Path, kind: Kind
) -> None:
    feed(Watch(ledger, BRIEF), *[running(number, 0.7, kind) for number in range(7)])
    (alarm,) = ledger.alarms()
    assert (alarm.kind, alarm.raised, alarm.number, alarm.fault) == ("damaged", True, 4, kind)
    assert alarm.because.startswith("learnt while damaged") and alarm.id == "/".join((*KEY, "1", "4", "damaged"))
    assert [window.judged for window in ledger.history(KEY)] == ["learning"] * 4 + ["learnt while damaged"] * 3
    assert "learnt while damaged" in str(senml.decode(features(ledger.history(KEY)[-1])))
    text = write_page(ledger, BRIEF, tmp_path / "page.html", [], []).read_text()
    assert ">alarm: learnt while damaged<" in text and "1 of 1 machines is in alarm" in text


def test_that_it_was_learnt_while_damaged_is_said_once_over_restarts_and_ends_when_forgotten(tmp_path: Path) -> None:
    for first in (0, 2, 4, 4, 5):  # window 4 again: it counts once
        ledger = Ledger(tmp_path / "monitor.sqlite")
        feed(Watch(ledger, BRIEF), running(first, 0.7), running(first + 1, 0.7), first=first)
        ledger.close()
    ledger = Ledger(tmp_path / "monitor.sqlite")
    assert [alarm.number for alarm in ledger.alarms()] == [4] and ledger.sensor(KEY).alarmed
    ledger.forget("pump")
    ended, raised = ledger.alarms()
    assert (ended.kind, ended.raised, ended.because) == ("damaged", False, "its baseline is learnt anew")
    feed(Watch(ledger, BRIEF), *[running(number) for number in range(7, 13)], first=7)
    assert len(ledger.alarms()) == 2 and ledger.history(KEY)[-1].judged == "sound" and ended.id != raised.id
    ledger.close()


def test_damage_that_begins_while_a_baseline_is_learnt_is_told_when_that_is_whole(ledger: Ledger) -> None:
    feed(Watch(ledger, BRIEF), *[running(number) for number in range(3)], *[running(number, 0.9) for number in (3, 4)])
    assert [(alarm.kind, alarm.number, alarm.fault) for alarm in ledger.alarms()] == [("damaged", 4, "outer")]


def test_one_that_gets_worse_than_it_was_learnt_is_said_to_have_changed_too(ledger: Ledger) -> None:
    feed(Watch(ledger, BRIEF), *[running(number, 0.4) for number in range(6)])
    feed(Watch(ledger, BRIEF), *[running(number, 0.95) for number in range(6, 8)], first=6)
    assert [(alarm.kind, alarm.fault) for alarm in ledger.alarms()] == [("changed", "outer"), ("damaged", "outer")]


def test_sound_machines_of_which_few_windows_look_otherwise_are_learnt_as_they_were(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for structure in range(20):
        feed(watch, *[running(number, structure=structure) for number in range(5)], source=f"pump-{structure}")
    feed(Watch(ledger, Rules(learning=12)), running(0, 0.7), *[running(number) for number in range(1, 13)])
    assert not ledger.alarms()
    judged = {key: ledger.history(key)[-1].judged for key in ledger.sensors}
    assert len(judged) == 21 and set(judged.values()) == {"sound"}


def test_of_a_machine_whose_bearing_or_speed_is_not_known_nothing_is_told(ledger: Ledger) -> None:
    feed(Watch(ledger, BRIEF), *[(running(number, 0.7)[0], None) for number in range(6)])
    assert not ledger.alarms() and ledger.history(KEY)[-1].judged == "sound"
    assert msgspec.to_builtins(ledger.sensor(KEY))["shown"] == {}


@pytest.mark.parametrize("stood", [2, 4, 9])
def test_a_machine_that_stood_while_it_was_learnt_is_learnt_anew_when_it_runs(ledger: Ledger, stood: int) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[standing(number) for number in range(stood)])
    feed(watch, *[running(number) for number in range(5)], first=stood)
    feed(watch, *[running(number, 0.7) for number in range(5, 8)], first=stood + 5)
    judged = [window.judged for window in ledger.history(KEY)][stood:]
    assert judged == ["learning"] * 4 + ["sound"] + ["changed"] * 3
    assert [(alarm.kind, alarm.number, alarm.fault) for alarm in ledger.alarms()] == [("changed", stood + 6, "outer")]


def test_a_machine_that_has_run_is_not_learnt_anew_when_it_stands(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[running(number) for number in range(5)], standing(5), *[running(number) for number in range(6, 8)])
    assert [window.judged for window in ledger.history(KEY)][4:] == ["sound", "other speed", "sound", "sound"]


def test_while_an_alarm_stands_a_first_speed_has_nothing_learnt_anew(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[standing(number) for number in range(5)], *[(running(0, 0.7)[0], None)] * 2)
    feed(watch, *[running(number, 0.7) for number in range(7, 9)], first=7)
    assert [alarm.kind for alarm in ledger.alarms()] == ["changed"] and len(ledger.sensor(KEY).learnt) == 4
    assert ledger.history(KEY)[-1].judged == "other speed"
