"""From a recording to an answer, a page and reasons to doubt."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from iotlam.contracts import BadInput
from iotlam_faults.advice import advice
from iotlam_faults.cli import app
from iotlam_faults.data.catalogue import downloads, entries
from iotlam_faults.diagnose import diagnose
from iotlam_faults.physics.combs import Clarity
from iotlam_faults.signals import Signal, read_signals
from iotlam_faults.telling import in_numbers, in_words
from iotlam_faults.trained import Opinion
from iotlam_faults.verdict import Finding, name_faults
from iotlam_machine.bearings import BEARINGS, Bearing
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate
from iotlam_waveform.envelope import Bands

from .test_catalogue import data

RATE_HZ = 12_000.0


def signal(*faults: Fault, seconds: float = 8.0, **changes: object) -> Signal:
    values_N = simulate(Machine(faults=faults), seconds, 0).vibration_NA[:, 0].astype(np.float32)
    known = {"shaft_hz": 29.5, "bearing": BEARINGS["6205"], **changes}
    return Signal(values_N, RATE_HZ, "bearing", "pump.npz", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind, word", [("inner", "inner race"), ("outer", "outer race"), ("ball", "rolling elements")])
def test_a_fault_is_named(kind: str, word: str) -> None:
    answer = diagnose(signal(Fault(kind, 0.6, 0.05)))  # type: ignore[arg-type]
    assert answer.headline == f"Damage of the {word}."
    assert answer.verdict is not None and answer.verdict.faults == (kind,) and not answer.doubts
    assert word in answer.verdict.because[0] or "cage" in answer.verdict.because[0]


def test_a_sound_bearing_is_sound() -> None:
    answer = diagnose(signal())
    assert answer.headline == "No damage of the bearing shows."
    assert answer.kurtosis == pytest.approx(3.0, abs=0.2)


def test_a_shallow_fault_is_said_and_not_named() -> None:
    answer = diagnose(signal(Fault("outer", 0.12, 0.02)))
    assert answer.verdict is not None and answer.verdict.faults == ()
    assert answer.headline in ("Something is there, but it is unclear what.", "No damage of the bearing shows.")


@pytest.mark.parametrize(
    "name, sigmas, depth, named",
    [
        ("outer", 6.1, 0.51, True),
        ("outer", 5.9, 0.59, False),
        ("outer", 5.1, 0.61, True),
        ("outer", 4.9, 1.5, False),
        ("ball", 5.1, 0.36, True),
        ("ball", 4.1, 0.49, False),
        ("ball", 4.1, 0.51, True),
        ("ball", 3.9, 1.5, False),
    ],
)
def test_a_deeper_line_need_be_less_clear(name: str, sigmas: float, depth: float, named: bool) -> None:
    nothing = Clarity(0.0, 0.0, 0, 0.0)
    seen = Clarity(sigmas, depth, 0, 0.0)
    findings = {
        one: Finding(one, 1.0, 29.5, nothing, seen if one == name else nothing, Bands.of_rate(RATE_HZ))
        for one in ("inner", "outer", "ball", "cage")
    }
    assert name_faults(findings)[0] == ((name,) if named else ())


def test_both_races_are_named_where_both_are_damaged() -> None:
    answer = diagnose(signal(Fault("inner", 0.7, 0.05), Fault("outer", 0.7, 0.05)))
    assert set(answer.faults) == {"inner", "outer"} and len(answer.verdict.because) == 2  # type: ignore[union-attr]
    assert replace(answer, opinion=Opinion({"outer": 1.0}, "outer", "outer", {"outer": 1.0})).faults == answer.faults


def swung(kind: str, by: float) -> tuple[Signal, np.ndarray]:
    """A damaged machine whose speed swings by a share in ten seconds, and its true speed."""
    machine = Machine(faults=(Fault(kind, 0.7, 0.05),))  # type: ignore[arg-type]
    run = simulate(machine, 10.0, 1, lambda time_s: 29.5 * (1.0 + by * np.sin(2.0 * np.pi * time_s / 10.0)))
    values_N = run.vibration_NA[:, 0].astype(np.float32)
    return Signal(values_N, RATE_HZ, "bearing", "pump.npz", 29.5, BEARINGS["6205"]), run.speed_hz


@pytest.mark.parametrize("kind", ["inner", "outer"])
@pytest.mark.parametrize("by", [0.01, 0.05, 0.2])
def test_a_moving_speed_is_followed(kind: str, by: float) -> None:
    answer = diagnose(swung(kind, by)[0])
    assert answer.faults == (kind,) and not answer.doubts
    low, high = (float(number) for number in re.findall(r"(\d+)", answer.verdict.because[-1]))  # type: ignore[union-attr]
    assert low == pytest.approx(1770 * (1 - by), rel=0.02) and high == pytest.approx(1770 * (1 + by), rel=0.02)


def test_a_trace_of_the_speed_is_used_as_it_is(tmp_path: Path) -> None:
    found, speed_N = swung("outer", 0.2)
    path = tmp_path / "pump.npz"
    np.savez(path, data=found.values_N, rate_hz=RATE_HZ, units="m/s2", shaft_hz=speed_N[::120])
    (read,) = read_signals(path)
    assert read.speed_N is not None and np.abs(read.speed_N / speed_N - 1.0).max() < 0.01
    assert read.shaft_hz == pytest.approx(29.5, rel=0.01)
    tracked = diagnose(read.told(None, BEARINGS["6205"], "6205", ""))
    assert tracked.faults == ("outer",)
    assert tracked.verdict.speed.path_N.numpy() == pytest.approx(read.speed_N)  # type: ignore[union-attr]
    given = read.told(29.6, BEARINGS["6205"], "6205", "")
    assert given.speed_N is read.speed_N and given.shaft_hz == read.shaft_hz and not diagnose(given).doubts


def test_a_tachometer_beside_the_signal_gives_the_speed(tmp_path: Path) -> None:
    found, speed_N = swung("outer", 0.2)
    turns_N = np.cumsum(speed_N) / RATE_HZ
    np.savez(
        tmp_path / "pump.npz", data=found.values_N, rate_hz=RATE_HZ, units="m/s2", tacho=(turns_N % 1.0 < 0.1) * 1.0
    )
    (read,) = read_signals(tmp_path / "pump.npz")
    tracked = diagnose(read.told(None, BEARINGS["6205"], "6205", ""))
    assert tracked.faults == ("outer",) and not tracked.doubts
    ratio_N = tracked.verdict.speed.path_N.numpy() / speed_N  # type: ignore[union-attr]
    assert np.abs(ratio_N[2000:-2000] - 1.0).max() < 0.002


def test_of_a_trace_the_speed_of_what_is_judged_counts() -> None:
    run = simulate(
        Machine(faults=(Fault("inner", 0.7, 0.05),)),
        32.0,
        1,
        lambda time_s: 15.0 + 20.0 * np.clip(time_s - 22.0, 0.0, 1.0),
    )
    values_N, speed_N = run.vibration_NA[:, 0].astype(np.float32), run.speed_hz.astype(np.float32)
    found = Signal(values_N, RATE_HZ, "bearing", "pump.npz", float(speed_N.mean()), BEARINGS["6205"], speed_N=speed_N)
    answer = diagnose(found)
    assert answer.faults == ("inner",) and answer.signal.shaft_hz == pytest.approx(15.0, rel=0.01)
    assert answer.cut == "the first 20 s of 32 s"
    slow = replace(found, speed_N=np.linspace(0.5, 1.0, len(speed_N), dtype=np.float32))
    first = slow.first(20.0, 21.0)
    assert len(first.values_N) == len(first.speed_N) and first.speed_N.sum() / RATE_HZ == pytest.approx(21.0, rel=1e-3)  # type: ignore[arg-type, union-attr]


def test_a_tachometer_counts_before_the_stated_speed_which_checks_it() -> None:
    found, speed_N = swung("outer", 0.2)
    traced = replace(found, speed_N=speed_N.astype(np.float32), shaft_hz=float(speed_N.mean()))
    answer = diagnose(traced.told(33.0, None, "", ""))
    assert answer.faults == ("outer",) and answer.verdict.speed.hz == pytest.approx(29.5, rel=0.01)  # type: ignore[union-attr]
    assert "given as 1980 rpm, but the recording's tachometer says 177" in answer.doubts[0]
    sound = replace(signal(), speed_N=np.full(96_000, 59.0, np.float32), shaft_hz=59.0).told(29.5, None, "", "")
    twice = diagnose(sound)
    assert "if it gives 2 pulses a turn, state pulses_per_turn" in twice.doubts[0] and twice.blind


def test_a_tachometer_is_not_overruled_by_the_lines_of_another_machine() -> None:
    found = signal(Fault("outer", 0.6, 0.05), shaft_hz=29.5)
    time_N = np.arange(len(found.values_N)) / RATE_HZ
    beside_N = sum(np.cos(2.0 * np.pi * 28.77 * order * time_N) for order in range(1, 9))
    values_N = found.values_N + np.float32(0.5) * beside_N.astype(np.float32)
    answer = diagnose(replace(found, values_N=values_N, speed_N=np.full(len(values_N), 29.5, np.float32)))
    assert answer.faults == ("outer",) and answer.verdict.speed.hz == pytest.approx(29.5)  # type: ignore[union-attr]
    assert "the tachometer says 1770 rpm, but lines of another speed are clearer" in answer.doubts[0]


def test_fast_machines_are_judged_in_bands_that_hold_their_lines() -> None:
    machine = Machine(speed_hz=200.0, faults=(Fault("inner", 0.9),), structure=1)
    values_N = simulate(machine, 10.0, 1).vibration_NA[:, 0].astype(np.float32)
    asked = Signal(values_N, RATE_HZ, "bearing", "spindle.npz", 200.0, BEARINGS["6205"])
    answer = diagnose(asked)
    assert answer.verdict is not None and "lines of the inner race" in answer.verdict.because[0]
    faster = diagnose(replace(asked, shaft_hz=500.0))
    assert faster.verdict is None and "more than 12000 Hz of sample rate can hold" in faster.doubts[0]


def test_of_a_slow_shaft_as_many_turns_are_judged_as_it_takes() -> None:
    machine = Machine(speed_hz=0.5, faults=(Fault("outer", 0.9),), vibration_rate_hz=2000.0)
    values_N = simulate(machine, 60.0, 0).vibration_NA[:, 0].astype(np.float32)
    answer = diagnose(Signal(values_N, 2000.0, "bearing", "kiln.npz", 0.5, BEARINGS["6205"]))
    assert answer.faults == ("outer",) and "- the first 42 s of 60 s were judged" in in_words(answer)
    assert in_numbers(answer)["recorded_seconds"] == 60.0 and in_numbers(answer)["seconds"] == 42.0


def test_without_speed_or_geometry_the_rest_is_said() -> None:
    answer = diagnose(signal(Fault("outer", 0.7), shaft_hz=None))
    assert answer.verdict is None and "the speed of the machine is not known" in answer.doubts[0]
    outer_hz = BEARINGS["6205"].orders.outer * 29.5
    assert any(abs(hz / outer_hz - 1.0) < 0.01 for hz, _ in answer.lines_hz)
    both = diagnose(signal(shaft_hz=None, bearing=None))
    assert "the speed and the bearing of the machine are not known" in both.doubts[0]


def test_a_wrong_speed_is_told_and_the_shafts_own_is_used() -> None:
    answer = diagnose(signal(Fault("outer", 0.7), Fault("misalignment", 0.5), shaft_hz=29.5 * 0.98))
    assert answer.verdict is not None and answer.verdict.faults == ("outer",)
    assert answer.verdict.speed.hz == pytest.approx(29.5, rel=0.002)
    assert re.search("the shaft's own lines say 177[0-2]", answer.doubts[0])


@pytest.mark.parametrize("faults, said", [((), "Nothing is to be done"), ((Fault("inner", 0.8, 0.05),), "inner race")])
def test_advice_is_grounded_in_the_answer(faults: tuple[Fault, ...], said: str) -> None:
    assert said in advice(diagnose(signal(*faults)))[0]
    assert "Find out the speed of the shaft: with it" in advice(diagnose(signal(*faults, shaft_hz=None)))[0]
    assert "Find out the number of the bearing" in advice(diagnose(signal(*faults, bearing=None)))[0]
    assert "Record anew, for longer" in advice(diagnose(signal(*faults).first(0.6)))[0]


def test_where_the_housing_moves_hard_it_is_not_said_that_nothing_is_to_be_done() -> None:
    (said,) = advice(replace(diagnose(signal()), velocity_mm_s=20.0))
    assert said.startswith("The housing moves hard")


def spoilt(change: str) -> Signal:
    found = signal(Fault("outer", 0.7))
    values_N = found.values_N.copy()
    if change == "clipped":
        values_N = np.clip(values_N, -2.5, 2.5)
    elif change == "coarse":
        values_N = np.round(values_N / 0.4) * 0.4
    elif change == "gaps":
        values_N[5000:5100] = np.nan
    elif change == "constant":
        values_N[:] = 0.25
    elif change == "mostly missing":
        values_N[::3] = np.nan
    elif change == "short":
        values_N = values_N[:3000]
    elif change == "glitch":
        values_N[50_000] = 1e30
    elif change == "huge":
        values_N *= np.float32(1e25)
    return Signal(values_N, RATE_HZ, "bearing", "pump.npz", 29.5, BEARINGS["6205"])


@pytest.mark.parametrize(
    "change, said", [("clipped", "clipped"), ("coarse", "apart"), ("gaps", "are bridged"), ("glitch", "1 of them")]
)
def test_what_can_still_be_used_is_used_and_doubted(change: str, said: str) -> None:
    answer = diagnose(spoilt(change))
    assert any(said in doubt for doubt in answer.doubts)
    assert answer.verdict is not None and answer.verdict.faults == ("outer",)


@pytest.mark.parametrize(
    "change, said",
    [
        ("constant", "expected a signal that varies, got 0.25 throughout"),
        ("mostly missing", "expected at most 5% missing samples, got 33%"),
        ("short", "expected at least 0.5 s, got 0.25 s"),
        ("huge", r"expected samples that can be squared, got up to .*e\+2"),
    ],
)
def test_what_says_nothing_is_refused_in_a_sentence(change: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        diagnose(spoilt(change))
    assert "Recording 'pump.npz', channel 'bearing'" in str(caught.value)


def dead_half(values_N: np.ndarray) -> None:
    values_N[len(values_N) // 2 :] = 0.0


def dropouts(values_N: np.ndarray) -> None:
    for start in range(0, len(values_N), 12_000):
        values_N[start : start + 1500] = 0.0


def clipped(values_N: np.ndarray) -> None:
    np.clip(values_N, -0.8, 0.8, out=values_N)


def knocked(values_N: np.ndarray) -> None:
    values_N[50_000:50_100] = np.random.default_rng(0).normal(0.0, 1e4, 100)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (dead_half, "the signal stands still for 50.0% of the time"),
        (dropouts, "the signal stands still for 12.5% of the time"),
        (clipped, "the signal is clipped"),
        (knocked, "it holds a jolt of"),
    ],
)
def test_what_cannot_be_judged_is_not_called_sound(spoil: Callable[[np.ndarray], None], said: str) -> None:
    found = signal()
    spoil(found.values_N)
    answer = diagnose(found)
    assert answer.doubts[0].startswith(said) and not answer.faults
    assert answer.headline == "No damage of the bearing shows, but this recording cannot tell whether it is sound."
    assert in_numbers(answer)["unclear"] and in_numbers(answer)["advice"][0].startswith("Set right what is doubted")


def test_what_is_bridged_is_told_and_judged() -> None:
    found = signal()
    found.values_N[1000], found.values_N[2000] = 1e5, np.nan
    answer = diagnose(found)
    assert len(answer.doubts) == 2 and answer.headline == "No damage of the bearing shows." and not answer.unclear


@pytest.mark.parametrize("wrong", [{"shaft_hz": 1670.0 / 60.0}, {"bearing": BEARINGS["6203"]}])
def test_impacts_that_nothing_explains_are_doubted(wrong: dict[str, object]) -> None:
    answer = diagnose(signal(Fault("outer", 0.7), **wrong))
    assert not answer.faults and "impacts (kurtosis " in answer.doubts[-1]
    assert "Nothing is to be done" not in advice(answer)[0] and answer.unclear


@pytest.mark.parametrize(("balls", "judged"), [(45, True), (64, False)])
def test_a_bearing_of_so_many_elements_that_its_lines_are_beyond_is_not_called_sound(balls: int, judged: bool) -> None:
    answer = diagnose(signal(bearing=Bearing(balls=balls, ball_mm=10.0, pitch_mm=230.0)))
    assert (answer.verdict is not None) is judged and answer.unclear is not judged
    if not judged:
        assert answer.doubts[0].endswith("its lines lie beyond order 30 of the shaft")
        assert advice(answer)[0].startswith("Compare with healthy recordings")


def test_a_rate_too_low_for_the_bearings_lines_is_told() -> None:
    noise_N = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    answer = diagnose(Signal(noise_N, 1000.0, "x", "slow.csv", 40.0, BEARINGS["6205"]))
    assert answer.verdict is None and "more than 1000 Hz of sample rate can hold" in answer.doubts[0]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["diagnose", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, BadInput), result.exception
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    np.savez(tmp_path / "pump.npz", data=signal(Fault("outer", 0.6)).values_N, rate_hz=RATE_HZ, units="m/s2")
    return tmp_path / "pump.npz"


def test_the_command_answers_and_writes_a_page_that_stands_alone(pump: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, output = run(str(pump), "--rpm", "1770", "--bearing", "6205-2RS", "--out", str(page))
    assert code == 0 and output.startswith("Damage of the outer race.\n- lines of the outer race at 10")
    text = page.read_text()
    assert len(text) < 500_000 and "Damage of the outer race." in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert text.count("<svg") >= 6


def test_the_answer_as_json_is_the_same(pump: Path, tmp_path: Path) -> None:
    page = str(tmp_path / "page.html")
    code, output = run(str(pump), "--rpm", "1770", "--geometry", "9,7.94,39.04", "--out", page, "--json")
    found = json.loads(output)
    assert code == 0 and found["faults"] == ["outer"] and found["page"] == page
    assert found["findings"]["outer"]["hz"] == pytest.approx(3.585 * 29.5 * 1.004, rel=0.003)
    assert set(found["velocity_zone"]) == {"1 rigid", "1 flexible", "2 rigid", "2 flexible"}


@pytest.mark.parametrize(
    "options, said",
    [
        (["--bearing", "6205", "--geometry", "9,7.94,39.04"], "got both"),
        (["--geometry", "9,7.94"], "expected balls, ball mm, pitch mm"),
        (["--geometry", "nine,7.94,39.04"], "as in --geometry 9,7.94,39.04"),
        (["--geometry", "90,7.94,39.04"], "90 elements of 7.94 mm"),
        (["--bearing", "unknown"], "give its geometry instead"),
        (["--channel", "z"], "expected one of pump, got 'z'"),
        (["--out", "page.txt"], "ends in .html"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_writes_nothing(pump: Path, options: list[str], said: str) -> None:
    out = [] if "--out" in options else ["--out", str(pump.parent / "page.html")]
    code, output = run(str(pump), *options, *out)
    assert code == 2 and said in output and "\n" not in output.strip()
    assert not (pump.parent / "page.html").exists()


def table(path: Path, values_N: np.ndarray) -> Path:
    """A table of two axes, of which the second is the signal."""
    rows = np.column_stack([np.arange(len(values_N)) / RATE_HZ, np.roll(values_N, 7), values_N])
    np.savetxt(path, rows, "%.7g", ",", header="time [s],x [m/s2],y [m/s2]", comments="")
    return path


def test_healthy_recordings_are_matched_by_axis_and_drawn(pump: Path, tmp_path: Path) -> None:
    today = table(tmp_path / "today.csv", signal(Fault("outer", 0.6), seconds=4.0).values_N)
    january = table(tmp_path / "january.csv", signal(seconds=4.0).values_N)
    page = tmp_path / "page.html"
    machine = ("--rpm", "1770", "--bearing", "6205", "--out", str(page))
    code, output = run(str(today), "--channel", "today.y", "--healthy", str(january), *machine)
    assert code == 0 and output.startswith("Damage of the outer race.")
    text = page.read_text()
    assert "january.csv" in text and "Since the machine was sound" in text and "The level line" in text
    code, output = run(str(today), *machine)
    assert code == 0 and "Since the machine was sound" not in page.read_text()
    np.savez(
        tmp_path / "other.npz", data=np.load(pump)["data"].reshape(-1, 2), rate_hz=RATE_HZ, units="m/s2", sensor="P"
    )
    code, output = run(str(today), "--healthy", str(tmp_path / "other.npz"), *machine)
    assert code == 2 and "--healthy: expected a channel of today.x, today.y, got P.x, P.y in other.npz" in output


def test_of_a_published_recording_the_channel_that_is_asked_for_is_known(tmp_path: Path) -> None:
    path = data().find(next(one for one in downloads("cwru") if one.file == "97.mat"))
    assert path is not None
    page = tmp_path / "page.html"
    code, output = run(str(path), "--channel", "FE", "--out", str(page))
    assert code == 0 and output.startswith("No damage of the bearing shows.\n") and "6203" in page.read_text()


def test_what_the_catalogue_doubts_is_told_and_axes_of_a_known_sensor_are_picked(tmp_path: Path) -> None:
    store = data()
    for name, file, channel, fault, doubt in (
        ("adi_cbm", "2400_HOR_GS_BaLo_WA_11lb.Wfm.csv", "ADXL356.", "outer", "the bearing is not stated"),
        ("cwru", "236.mat", "DE", "outer", "clipped"),
    ):
        path = store.find(next(one for one in downloads(name) if one.file == file))
        assert path is not None
        code, output = run(str(path), "--out", str(tmp_path / "page.html"), "--json")
        found = json.loads(output)
        assert code == 0 and found["channel"].startswith(channel) and found["faults"] == [fault]
        assert any(doubt in one for one in found["doubts"])


def test_a_published_healthy_recording_of_another_speed_tells_no_change(tmp_path: Path) -> None:
    store = data()
    files = ("2400_GoB_GS_BaLo_WA_11lb.Wfm.csv", "1200_GoB_GS_BaLo_WA_11lb.Wfm.csv")
    paths = [store.find(next(one for one in downloads("adi_cbm") if one.file == file)) for file in files]
    code, output = run(str(paths[0]), "--healthy", str(paths[1]), "--out", str(tmp_path / "page.html"), "--json")
    found = json.loads(output)
    assert code == 0 and found["change"] is None and "Damage" not in found["verdict"]
    assert any("the shaft turns at 1" in one and "it tells no change" in one for one in found["doubts"])


def test_a_published_recording_is_recognised_under_any_name(tmp_path: Path) -> None:
    store = data()
    for number, fault in ((130, "outer"), (105, "inner"), (294, "outer")):
        entry = next(entry for entry in entries("cwru") if entry.file == f"{number}.mat")
        path = store.find(next(one for one in downloads("cwru") if one.file == entry.file))
        assert path is not None
        copy = tmp_path / f"{number}.mat"  # the sensors' reader tells the rate by the record's number
        shutil.copy(path, copy)
        code, output = run(str(copy), "--out", str(tmp_path / "page.html"), "--json")
        assert code == 0, output
        assert json.loads(output)["faults"] == [fault] and json.loads(output)["channel"] == entry.channel
