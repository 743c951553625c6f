"""The monitor: alarms with debounce and hysteresis, windows that count once, bad payloads, and the command."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.contracts import BadInput
from iotlam.streams import senml
from iotlam.streams.envelope import Block, Envelope, block_of
from iotlam.streams.local import LocalTransport
from iotlam.streams.outbox import Outbox
from iotlam.streams.transport import Message
from iotlam_faults.cli import app
from iotlam_faults.monitor import ledger as ledger_module
from iotlam_faults.monitor.alarm import Latch, Rules
from iotlam_faults.monitor.demo import plant
from iotlam_faults.monitor.ledger import Ledger, Window
from iotlam_faults.monitor.page import write_page
from iotlam_faults.monitor.run import demo, locked
from iotlam_faults.monitor.service import ALARMS, FEATURES, WAVEFORMS, Service
from iotlam_faults.monitor.watch import Watch
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate

RATE_HZ = 4_000.0
BRIEF = Rules(learning=5)
SOUND, LOUD, DEAD = 1.0, 6.0, 0.0
PUMP = "pump", "accelerometer/4000Hz"


def block(seed: int, loud: float = SOUND, shaft_hz: float | None = 29.5, bearing: str = "6205") -> Block:
    values_NC = np.random.default_rng(seed).normal(0.0, loud, (int(RATE_HZ), 1)).astype(np.float32)
    return block_of(values_NC, RATE_HZ, seed * 1_000_000_000, shaft_hz=shaft_hz, bearing=bearing)


def message(number: int, body: bytes, source: str = "pump", oldest: int = 0) -> Message:
    topic = WAVEFORMS.format(source=source)
    return Message(topic, Envelope(source, 1, number, oldest, body).pack(), "iotlam/confirmed/gateway")


def feed(watch: Watch, *louds: float, first: int = 0) -> None:
    for number, loud in enumerate(louds, first):
        watch.handle([message(number, block(number, loud).pack())])


def test_a_knock_raises_no_alarm_and_a_flutter_ends_none() -> None:
    latch, rules = Latch(), Rules(raise_after=2, clear_after=3)
    turned = [latch.turn(change >= 2.0, change < 1.4, rules) for change in (3, 1, 3, 1.9, 2, 2.5)]
    assert turned == [False] * 5 + [True] and latch.stands
    turned = [latch.turn(change >= 2.0, change < 1.4, rules) for change in (1, 1, 1.6, 1, 1, 1)]
    assert turned == [False] * 5 + [True] and not latch.stands


def test_an_alarm_comes_with_the_second_changed_window_and_ends(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[SOUND] * 8, LOUD, LOUD, LOUD, *[SOUND] * 5)
    ended, raised = ledger.alarms()
    assert (raised.raised, raised.number, raised.machine) == (True, 9, "pump") and raised.change > 2.0
    assert (ended.raised, ended.number) == (False, 15)
    judged = [window.judged for window in ledger.history(PUMP)]
    assert judged == ["learning"] * 5 + ["sound"] * 3 + ["changed"] * 3 + ["sound"] * 5


def test_windows_count_once_and_in_turn(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    batch = [message(number, block(number).pack()) for number in (0, 1, 1, 0, 3, 2, 3)]
    ((topic, payload),) = watch.handle(batch)
    assert [window.t_ns // 1_000_000_000 for window in ledger.history(PUMP)] == [0, 1, 2, 3]
    assert topic == "iotlam/confirmed/gateway" and json.loads(payload) == [1, {"pump": 3}]


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    for first in (0, 4, 7):
        ledger = Ledger(tmp_path / "monitor.sqlite")
        feed(Watch(ledger, BRIEF), *[SOUND] * 4, first=first)  # the last window again: it counts once
        ledger.close()
    assert len(Ledger(tmp_path / "monitor.sqlite").history(PUMP)) == 11


def test_a_restart_with_longer_learning_does_not_learn_damage(ledger: Ledger) -> None:
    feed(Watch(ledger, BRIEF), *[SOUND] * 6, LOUD, LOUD)
    feed(Watch(ledger, Rules(learning=9)), *[LOUD] * 10, first=8)
    assert [alarm.number for alarm in ledger.alarms()] == [7] and ledger.history(PUMP)[-1].judged == "changed"


def test_nothing_is_learnt_while_an_alarm_stands(ledger: Ledger) -> None:
    feed(Watch(ledger, BRIEF), SOUND, DEAD, DEAD, *[SOUND] * 5)
    assert [alarm.raised for alarm in ledger.alarms()] == [False, True] and len(ledger.sensor(PUMP).learnt) == 2


def test_other_speeds_are_not_judged(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[SOUND] * 6)
    for number in (6, 7, 8):
        watch.handle([message(number, block(number, LOUD, shaft_hz=40.0).pack())])
    assert not ledger.alarms() and ledger.history(PUMP)[-1].judged == "other speed"


def test_a_machine_whose_speed_is_lost_is_said_not_to_be_watched(ledger: Ledger, tmp_path: Path) -> None:
    watch, page = Watch(ledger, BRIEF), tmp_path / "page.html"
    feed(watch, *[SOUND] * 6)
    for number in range(6, 11):
        assert "The machine is quiet" in write_page(ledger, BRIEF, page, [], []).read_text()
        watch.handle([message(number, block(number, LOUD, shaft_hz=None).pack())])
    text = write_page(ledger, BRIEF, page, [], []).read_text()
    assert "1 of 1 machines is not watched" in text and 'color: var(--orange)">other speed<' in text
    feed(watch, SOUND, first=11)
    assert "The machine is quiet" in write_page(ledger, BRIEF, page, [], []).read_text()


@pytest.mark.parametrize("between", [{"shaft_hz": 40.0}, {"loud": DEAD}])
def test_changed_windows_are_not_in_a_row_with_one_between_that_is_not_judged(
    ledger: Ledger, between: dict[str, float]
) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[SOUND] * 6, LOUD)
    watch.handle([message(7, block(7, **between).pack())])
    feed(watch, LOUD, first=8)
    assert not ledger.alarms()
    feed(watch, LOUD, first=9)
    assert [alarm.number for alarm in ledger.alarms()] == [9]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"hello", "begins with IOT1"),
        (b"IOT1\xff\x00", "does not decode"),
        (message(0, b"no block", "fan").payload, "does not decode"),
        (message(0, block(1, bearing="9999").pack(), "fan").payload, "9999"),
    ],
)
def test_what_says_nothing_is_refused_and_harms_no_other(ledger: Ledger, payload: bytes, reason: str) -> None:
    watch = Watch(ledger, BRIEF)
    watch.handle([message(0, block(0).pack()), Message("x", payload, "r"), message(1, block(1).pack())])
    assert len(ledger.history(PUMP)) == 2
    assert reason in watch.refused[-1]


@pytest.mark.parametrize(
    ("changes", "reason"), [({"channels": 2000}, "64 channels"), ({"sensor": "x" * 300}, "decode")]
)
def test_a_block_does_not_make_sensors_without_bounds(ledger: Ledger, changes: dict[str, object], reason: str) -> None:
    watch = Watch(ledger, BRIEF)
    watch.handle([message(0, msgspec.structs.replace(block(0), **changes).pack())])
    assert not ledger.sensors and reason in watch.refused[-1]


def test_blocks_too_short_to_be_judged_are_refused_and_raise_no_alarm(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    values_NC = np.random.default_rng(0).normal(0.0, SOUND, (4096, 1)).astype(np.float32)
    for number in range(3):
        watch.handle([message(number, block_of(values_NC, 25_600.0, number).pack())])
    assert not ledger.sensors and not ledger.alarms()
    assert watch.refused[-1] == "pump: expected blocks of 0.5 s or longer, got 0.16 s; join them before they are sent"


@pytest.mark.parametrize("shaft_hz", [float("nan"), float("inf"), 0.0, -3.0])
def test_a_speed_that_is_none_is_refused(ledger: Ledger, shaft_hz: float) -> None:
    watch = Watch(ledger, BRIEF)
    watch.handle([message(0, block(0, shaft_hz=shaft_hz).pack()), message(1, block(1).pack())])
    assert len(ledger.history(PUMP)) == 1 and "the shaft's speed in hertz" in watch.refused[-1]


def test_samples_too_large_to_be_squared_do_not_spoil_the_baseline(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, SOUND, 1e25, *[SOUND] * 5, LOUD, LOUD)
    assert ledger.history(PUMP)[1].judged == "dead" and [alarm.kind for alarm in ledger.alarms()] == ["changed"]


def test_a_message_with_a_number_beyond_all_bounds_is_refused(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    watch.handle([message(2**63, block(0).pack(), oldest=2**63), message(0, block(0).pack())])
    assert len(ledger.history(PUMP)) == 1 and "does not decode" in watch.refused[-1]


def test_each_sensor_has_a_baseline_and_alarms_of_its_own(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for number in range(20):
        sensor, loud = ("DE", SOUND) if number % 2 else ("FE", LOUD if number > 15 else SOUND)
        body = msgspec.structs.replace(block(number, loud), sensor=sensor).pack()
        watch.handle([message(number, body)])
    (alarm,) = ledger.alarms()
    assert (alarm.sensor, alarm.number) == ("FE/4000Hz", 18)
    assert ledger.history(("pump", "DE/4000Hz"))[-1].judged == "sound"


def test_every_channel_of_a_block_is_watched(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for number, loud in enumerate([SOUND] * 6 + [LOUD] * 2):
        values_NC = np.random.default_rng(number).normal(0.0, (SOUND, loud), (int(RATE_HZ), 2)).astype(np.float32)
        watch.handle([message(number, block_of(values_NC, RATE_HZ, number).pack())])
    assert [alarm.sensor for alarm in ledger.alarms()] == ["accelerometer.2/4000Hz"]
    assert {window.id for window in ledger.history(("pump", "accelerometer.1/4000Hz"))} >= {
        "pump/accelerometer.1/4000Hz/1/7"
    }


def test_a_fault_is_named_from_the_windows_of_its_own_sensor(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)

    def simulated(number: int, rate_hz: float, sensor: str, faults: tuple[Fault, ...] = ()) -> Message:
        run = simulate(Machine(structure=1, vibration_rate_hz=rate_hz, faults=faults), 1.0, number)
        values_NC, shaft_hz = run.vibration_NA[:, :1].astype(np.float32), float(run.speed_hz.mean())
        return message(number, block_of(values_NC, rate_hz, number, sensor, shaft_hz, "6205").pack())

    for number in range(6):
        watch.handle([simulated(number, 12_000.0, "DE")])
    for number in range(6, 10, 2):
        watch.handle([simulated(number, 12_000.0, "DE", (Fault("outer", 0.9, 0.05),))])
        watch.handle([simulated(number + 1, 24_000.0, "FE")])
    assert [(alarm.sensor, alarm.fault) for alarm in ledger.alarms()] == [("DE/12000Hz", "outer")]


def test_a_window_of_hardly_a_turn_is_not_named(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for number, loud in enumerate([SOUND] * 6 + [LOUD] * 2):
        watch.handle([message(number, block(number, loud, shaft_hz=0.5).pack())])
    assert ledger.alarms()[0].fault == "unclear" and "turns of the shaft" in ledger.alarms()[0].because


def test_a_dead_sensor_raises_an_alarm_that_ends_when_it_is_back(ledger: Ledger, tmp_path: Path) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[SOUND] * 6, DEAD, SOUND, *[DEAD] * 3)
    (raised,) = ledger.alarms()
    assert (raised.kind, raised.raised, raised.number, raised.fault) == ("dead", True, 9, "dead")
    assert "a signal that varies" in raised.because and ledger.history(PUMP)[-1].rms is None
    text = write_page(ledger, BRIEF, tmp_path / "page.html", [], []).read_text()
    assert "alarm: dead" in text and "1 of 1 machines is in alarm" in text
    feed(watch, *[SOUND] * 5, first=11)
    ended = ledger.alarms()[0]
    assert (ended.kind, ended.raised, ended.number) == ("dead", False, 15) and ended.id != raised.id
    assert not ledger.sensor(PUMP).alarmed


def test_a_machine_that_falls_silent_is_not_called_quiet(ledger: Ledger, tmp_path: Path) -> None:
    feed(Watch(ledger, BRIEF), *[SOUND] * 8)
    page = tmp_path / "page.html"
    assert "The machine is quiet" in write_page(ledger, BRIEF, page, [], []).read_text()
    ledger.sensor(PUMP).taken_ns -= 3 * 60 * 1_000_000_000
    text = write_page(ledger, BRIEF, page, [], []).read_text()
    assert "1 of 1 machines is silent" in text and ">silent<" in text and "3\N{NO-BREAK SPACE}min" in text


def test_who_measures_once_an_hour_is_not_silent_in_between(ledger: Ledger, tmp_path: Path) -> None:
    watch, hour_ns = Watch(ledger, BRIEF), 3_600_000_000_000
    for number in range(3):
        watch.handle([message(number, msgspec.structs.replace(block(number), t_ns=number * hour_ns).pack())])
    for age, said in ((2, "is quiet"), (6, "is silent")):
        ledger.sensor(PUMP).taken_ns = time.time_ns() - age * hour_ns
        text = write_page(ledger, BRIEF, tmp_path / "page.html", [], []).read_text()
        assert said in text


def test_a_sensor_at_another_rate_replaces_what_it_was(ledger: Ledger, tmp_path: Path) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, SOUND)
    watch.handle([message(1, msgspec.structs.replace(block(1), rate_hz=5_000.0).pack())])
    ledger.sensor(PUMP).taken_ns -= 3_600_000_000_000
    text = write_page(ledger, BRIEF, tmp_path / "page.html", [], []).read_text()
    assert ">replaced<" in text and ">silent<" not in text


def test_rates_that_wander_are_one_sensor_before_and_after_a_restart(tmp_path: Path) -> None:
    for first in (0, 5):
        ledger = Ledger(tmp_path / "monitor.sqlite")
        for number in range(first, first + 5):
            noise_N = np.random.default_rng(number).normal(0.0, SOUND, 4258)
            values_NC = np.convolve(noise_N, np.ones(4), "valid")[:, None].astype(np.float32)
            rate_hz = 4255.0 + 0.05 * number + 0.2 * first  # by itself 4256 Hz would have bands that reach further
            Watch(ledger, BRIEF).handle([message(number, block_of(values_NC, rate_hz, number).pack())])
        ledger.close()
    ledger = Ledger(tmp_path / "monitor.sqlite")
    assert set(ledger.sensors) == {("pump", "accelerometer/4255Hz")}
    history = ledger.history(("pump", "accelerometer/4255Hz"))
    assert [window.judged for window in history] == ["learning"] * 5 + ["sound"] * 5
    ledger.close()


def test_a_clock_that_is_set_back_hides_no_window(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for number, t_ns in enumerate((5_000, 6_000, 1_000)):
        watch.handle([message(number, msgspec.structs.replace(block(number), t_ns=t_ns).pack())])
    assert [window.number for window in ledger.history(PUMP, 2)] == [1, 2]


def test_old_windows_go_once_they_have_been_told(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "KEPT_WINDOWS", 5)
    feed(Watch(ledger, BRIEF), *[SOUND] * 12)
    ledger.told(Window, [row for row, window in ledger.untold(Window, 0, 100) if window.number != 3])
    assert [window.number for window in ledger.history(PUMP)] == [3, 7, 8, 9, 10, 11]


def test_an_unknown_bearing_does_not_blind_the_monitor(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    for number, loud in enumerate([SOUND] * 6 + [LOUD] * 2):
        watch.handle([message(number, block(number, loud, bearing="9999").pack())])
    assert ledger.alarms()[0].fault == "unclear" and "9999" in watch.refused[-1]


def test_a_full_disk_takes_nothing_and_loses_nothing(ledger: Ledger) -> None:
    watch = Watch(ledger, BRIEF)
    feed(watch, *[SOUND] * 4)
    pages = ledger.database.execute("pragma page_count").fetchone()[0]
    ledger.database.execute(f"pragma max_page_count = {pages}")
    batch = [message(number, block(number).pack()) for number in range(4, 400)]
    with pytest.raises(BadInput, match=r"write on its disk.*make room"):
        watch.handle(batch)
    assert len(ledger.history(PUMP, 1000)) == 4 and len(ledger.sensor(PUMP).learnt) == 4
    ledger.database.execute(f"pragma max_page_count = {100 * pages}")
    watch.handle(batch)
    assert len(ledger.history(PUMP, 1000)) == 400


def test_an_unexpected_error_takes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(ledger, BRIEF)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "write", lambda *_: (_ for _ in ()).throw(sqlite3.DatabaseError("broken")))
        with pytest.raises(sqlite3.DatabaseError):
            watch.handle([message(0, block(0).pack())])
    watch.handle([message(0, block(0).pack())])
    assert len(ledger.history(PUMP)) == 1


def test_a_service_tells_features_and_alarms_of_a_plant(ledger: Ledger, tmp_path: Path) -> None:
    transport, features, alarms = LocalTransport(), [], []
    transport.subscribe(FEATURES.format(machine="+"), features.append)
    transport.subscribe(ALARMS.format(machine="+"), alarms.append)
    service = Service(transport, ledger, Rules(learning=10))
    outbox = Outbox(transport, tmp_path / "gateway.sqlite", WAVEFORMS, "gateway")
    for batch in plant(60, seed=0):
        outbox.put(batch)
    deadline = time.monotonic() + 60.0
    while outbox.waiting():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    outbox.close()
    service.close()
    assert len(features) == 360
    told = senml.decode(features[-1].payload)
    assert {name.rpartition(":")[2] for name in told} >= {"rms", "kurtosis", "change", "shaft", "judged"}
    (alarm,) = (msgspec.json.decode(one.payload) for one in alarms)
    assert alarm["raised"] and alarm["fault"] in ("inner", "outer", "ball") and alarm["number"] >= 30
    assert ledger.sensor((alarm["machine"], alarm["sensor"])).alarmed
    page = write_page(ledger, Rules(), tmp_path / "page.html", ["x: <b>no</b>"], ["iotlam"])
    text = page.read_text()
    assert "1 of 6 machines is in alarm" in text and "&lt;b&gt;no" in text and 'http-equiv="refresh"' in text
    assert len(text) < 200_000


def test_the_demo_ends_in_a_page(tmp_path: Path) -> None:
    found = demo(tmp_path, seed=0, quick=True)
    assert (
        "in alarm" in Path(found["page"]).read_text() and 'http-equiv="refresh"' not in Path(found["page"]).read_text()
    )
    assert [alarm["raised"] for alarm in found["alarms"]] == [True]


def test_the_demo_leaves_a_folder_of_that_name_alone(tmp_path: Path) -> None:
    (mine := tmp_path / "demo" / "mine.txt").parent.mkdir()
    mine.write_text("precious")
    demo(tmp_path, seed=1, quick=True)
    assert mine.read_text() == "precious"


def test_two_monitors_do_not_share_a_folder(tmp_path: Path) -> None:
    held = locked(tmp_path)
    with pytest.raises(BadInput, match="another one at work"):
        locked(tmp_path)
    held.close()
    locked(tmp_path).close()


def test_a_machine_that_was_repaired_is_learnt_anew(tmp_path: Path) -> None:
    (state := tmp_path / "state").mkdir()
    ledger = Ledger(state / "monitor.sqlite")
    feed(Watch(ledger, BRIEF), *[SOUND] * 6, LOUD, LOUD)
    ledger.close()
    done = CliRunner().invoke(app, ["monitor", "--state", str(state), "--forget", "fan"])
    assert "a machine it knows, got 'fan'; name one of ['pump']" in str(done.exception)
    assert CliRunner().invoke(app, ["monitor", "--state", str(state), "--forget", "pump"]).exit_code == 0
    ledger = Ledger(state / "monitor.sqlite")
    feed(Watch(ledger, BRIEF), *[LOUD] * 8, first=8)
    ended, raised = ledger.alarms()
    assert (raised.raised, ended.raised, ended.because) == (True, False, "its baseline is learnt anew")
    assert ended.id != raised.id and ledger.history(PUMP)[-1].judged == "sound"
    ledger.close()


@pytest.mark.parametrize("foreign", ["create table machines (machine text, x text)", "create table taken (a text)"])
def test_a_file_of_others_is_refused(tmp_path: Path, foreign: str) -> None:
    database = sqlite3.connect(tmp_path / "monitor.sqlite")
    database.execute(foreign)
    database.commit()
    database.close()
    with pytest.raises(BadInput, match=r"monitor\.sqlite.*another format"):
        Ledger(tmp_path / "monitor.sqlite")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "monitor.sqlite")
    with ledger.database:
        ledger.database.execute("insert into sensors values ('pump', 'a', x'c1')")
    ledger.close()
    with pytest.raises(BadInput, match="a damaged one"):
        Ledger(tmp_path / "monitor.sqlite")


@pytest.mark.parametrize("source", ["a/b", "a#", "+", "a\0b", "", "x" * 300])
def test_names_that_are_no_level_of_a_topic_are_refused(ledger: Ledger, source: str) -> None:
    watch = Watch(ledger, BRIEF)
    watch.handle([message(0, block(0).pack(), source), message(0, block(0).pack())])
    assert set(ledger.sensors) == {PUMP} and "does not decode" in watch.refused[-1]


@pytest.mark.parametrize("reply_to", ["iotlam/#", "elsewhere", "iotlam/confirmed/+", "iotlam/confirmed/a\0"])
def test_nobody_is_answered_elsewhere(ledger: Ledger, reply_to: str) -> None:
    payload = message(0, block(0).pack()).payload
    assert Watch(ledger, BRIEF).handle([Message("iotlam/machines/pump/waveform", payload, reply_to)]) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "it, --demo or --forget, got none"),
        (["--demo", "--broker", "mqtt://x"], "it, --demo or --forget, got several"),
        (["--forget", "pump"], "--forget: expected a monitor's folder"),
        (["--demo", "--page", "x.txt"], "ends in .html"),
        (["--demo", "--page", "/proc/x.html"], "--page"),
        (["--demo", "--raise-at", "nan"], "--raise-at: expected a number"),
        (["--broker", "mqtt://127.0.0.1:9"], "an MQTT 5 broker at 127.0.0.1:9"),
    ],
)
def test_wrong_options_end_in_a_sentence(tmp_path: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["monitor", "--state", str(tmp_path / "state"), *options])
    assert isinstance(done.exception, BadInput) and said in str(done.exception)
    assert not list(tmp_path.rglob("*.sqlite"))
