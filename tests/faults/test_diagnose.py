"""From a recording to an answer, a page and reasons to doubt."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from iotlam.contracts import BadInput
from iotlam_faults.advice import advice
from iotlam_faults.cli import app
from iotlam_faults.data.catalogue import downloads, entries
from iotlam_faults.data.store import Store
from iotlam_faults.diagnose import diagnose
from iotlam_faults.model import load_model
from iotlam_faults.physics.combs import Clarity
from iotlam_faults.physics.speed import ShaftSpeed
from iotlam_faults.physics.tracking import angle_turns, over_angle
from iotlam_faults.signals import Signal, read_motor_current, read_signals
from iotlam_faults.trained import Facts, Opinion, Trained, _shapes
from iotlam_faults.verdict import Finding, name_faults
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate
from iotlam_waveform.envelope import Bands, Envelopes

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
    assert read.told(29.5, None, "", "").speed_N is None


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


def test_fast_machines_are_judged_in_bands_that_hold_their_lines() -> None:
    machine = Machine(speed_hz=200.0, faults=(Fault("inner", 0.9),))
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
    assert answer.faults == ("outer",)
    assert "- the first 42 s of 60 s were judged" in answer.sentences()
    assert answer.as_json()["recorded_seconds"] == 60.0 and answer.as_json()["seconds"] == 42.0


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


def test_a_changed_machine_is_damaged_even_where_no_fault_is_named() -> None:
    healthy, faint = signal(), signal(Fault("outer", 0.12, 0.02))
    louder = replace(faint, values_N=3.0 * faint.values_N)
    assert diagnose(faint, [healthy]).change < 1.0  # type: ignore[operator]
    answer = diagnose(louder, [healthy])
    assert answer.change > 2.0 and answer.headline == "Damage, but its type is unclear."  # type: ignore[operator]
    assert answer.as_json()["unclear"] and "changed much since it was sound" in answer.as_json()["advice"][0]
    (past,) = answer.before
    assert past.source == "pump.npz" and past.depth["outer"] < 0.2


def test_doubts_of_the_other_recordings_are_told() -> None:
    run = simulate(Machine(), 8.0, 0)
    sound = signal()
    clipped = replace(sound, values_N=np.clip(sound.values_N, -0.8, 0.8), source="january.npz")
    current_NP = run.current_NP.astype(np.float32)
    current_NP[100:110, 1] = np.nan
    answer = diagnose(sound, [clipped], current=(current_NP, 5000.0))
    assert answer.doubts[0].startswith("in january.npz, the signal is clipped")
    assert answer.doubts[1].startswith("in phase 2 of the current, 0.03% of its samples were missing")


def test_a_healthy_recording_of_another_rate_is_named() -> None:
    with pytest.raises(BadInput, match="--healthy.*the same sample rate, 12000 Hz, got 6000 Hz"):
        diagnose(signal(), [replace(signal(), rate_hz=6000.0)])


class Head:
    """A trained head that says what it is told to."""

    facts = SimpleNamespace(window_s=1.0, rate_hz=10_000.0, parts=("DE",))

    def __init__(self, by_physics: str, by_encoder: str) -> None:
        probability = {"inner": 0.1, "outer": 0.1, "ball": 0.1} | {by_physics: 0.8}
        self.judge = lambda recordings: Opinion(probability, by_physics, by_encoder, probability)


@pytest.mark.parametrize(
    ("by_physics", "by_encoder", "faults", "doubt"),
    [
        ("outer", "outer", ("outer",), None),
        ("inner", "inner", (), "physics names the outer race, the trained head the inner race"),
        ("ball", "inner", ("outer",), "readings disagree: rolling elements by physics, inner race by the encoder"),
    ],
)
def test_a_second_opinion_that_contradicts_physics_leaves_the_type_unclear(
    by_physics: str, by_encoder: str, faults: tuple[str, ...], doubt: str | None
) -> None:
    answer = diagnose(signal(Fault("outer", 0.6, 0.05), part="DE"), trained=Head(by_physics, by_encoder))  # type: ignore[arg-type]
    assert answer.faults == faults and answer.damaged
    assert (doubt in answer.doubts[0]) if doubt else not answer.doubts
    assert answer.headline == ("Damage of the outer race." if faults else "Damage, but its type is unclear.")
    assert any("reasons to doubt" in one for one in advice(answer)) is bool(doubt)


@pytest.mark.parametrize("faults, said", [((), "Nothing is to be done"), ((Fault("inner", 0.8, 0.05),), "inner race")])
def test_advice_is_grounded_in_the_answer(faults: tuple[Fault, ...], said: str) -> None:
    assert said in advice(diagnose(signal(*faults)))[0]
    assert "Find out the speed of the shaft: with it" in advice(diagnose(signal(*faults, shaft_hz=None)))[0]
    assert "Find out the number of the bearing" in advice(diagnose(signal(*faults, bearing=None)))[0]
    assert "Record anew, for longer" in advice(diagnose(signal(*faults).first(0.6)))[0]


def test_advice_after_a_contradiction_says_whose_it_is() -> None:
    answer = diagnose(signal(Fault("outer", 0.6, 0.05), part="DE"), trained=Head("inner", "inner"))  # type: ignore[arg-type]
    assert advice(answer)[0].startswith("Physics and the trained head contradict each other")


def test_the_heads_doubts_do_not_count_where_nothing_is_damaged() -> None:
    answer = diagnose(signal(part="DE"), trained=Head("ball", "inner"))  # type: ignore[arg-type]
    assert answer.headline == "No damage of the bearing shows." and not answer.doubts


def test_the_motors_current_confirms_what_vibration_names() -> None:
    run = simulate(Machine(faults=(Fault("outer", 0.9, 0.05),)), 8.0, 0)
    values_N, current_NP = run.vibration_NA[:, 0].astype(np.float32), run.current_NP.astype(np.float32)
    asked = Signal(values_N, RATE_HZ, "bearing", "pump.npz", 29.5, BEARINGS["6205"])
    answer = diagnose(asked, current=(current_NP, 5000.0))
    assert answer.confirmed_by_current == ("outer",)
    assert answer.as_json()["current"]["sidebands"]["outer"]["nats"] > 2.0


def test_of_several_sensors_of_current_the_first_is_taken(tmp_path: Path) -> None:
    one_N, three_NP = np.ones((6000, 1)), np.zeros((6000, 3))
    scipy.io.savemat(tmp_path / "motor.mat", {"first": one_N, "second": three_NP})
    (tmp_path / "motor.mat.toml").write_text('rate_hz = 5000\nunits = "A"\n')
    current_NP, rate_hz = read_motor_current(tmp_path / "motor.mat")
    assert rate_hz == 5000.0 and current_NP.shape == (6000, 1) and (current_NP == 1.0).all()


def spoilt(change: str) -> Signal:
    found = signal(Fault("outer", 0.7))
    values_N = found.values_N.copy()
    if change == "clipped":
        values_N = np.clip(values_N, -2.5, 2.5)
    elif change == "coarse":
        values_N = np.round(values_N / 0.1) * 0.1
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
    "change, said", [("clipped", "clipped"), ("coarse", "values"), ("gaps", "are bridged"), ("glitch", "1 of them")]
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
    assert answer.as_json()["unclear"] and answer.as_json()["advice"][0].startswith("Set right what is doubted")


def test_what_is_bridged_is_told_and_judged() -> None:
    found = signal()
    found.values_N[1000], found.values_N[2000] = 1e5, np.nan
    answer = diagnose(found)
    assert len(answer.doubts) == 2 and answer.headline == "No damage of the bearing shows." and not answer.unclear


@pytest.mark.parametrize("wrong", [{"shaft_hz": 1670.0 / 60.0}, {"bearing": BEARINGS["6203"]}])
def test_impacts_that_nothing_explains_are_doubted(wrong: dict[str, object]) -> None:
    answer = diagnose(signal(Fault("outer", 0.7), **wrong))
    assert not answer.faults and "impacts (kurtosis 1" in answer.doubts[-1]
    assert "Nothing is to be done" not in advice(answer)[0] and answer.unclear


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
    assert code == 2 and "--healthy: expected a channel 'today.x', got P.x, P.y in other.npz" in output


def test_of_a_published_recording_the_channel_that_is_asked_for_is_known(tmp_path: Path) -> None:
    path = data().find(next(one for one in downloads("cwru") if one.file == "97.mat"))
    assert path is not None
    page = tmp_path / "page.html"
    code, output = run(str(path), "--channel", "FE", "--out", str(page))
    assert code == 0 and output.startswith("No damage of the bearing shows.\n") and "6203" in page.read_text()


def test_what_the_catalogue_doubts_is_told_and_axes_of_a_known_sensor_are_picked(tmp_path: Path) -> None:
    store = data()
    for name, file, channel, fault, doubt in (
        ("adi_cbm", "2400_HOR_GS_BaLo_WA_11lb.Wfm.csv", "ADXL356.x", "outer", "the bearing is not stated"),
        ("cwru", "236.mat", "DE", "outer", "clipped"),
    ):
        path = store.find(next(one for one in downloads(name) if one.file == file))
        assert path is not None
        code, output = run(str(path), "--out", str(tmp_path / "page.html"), "--json")
        found = json.loads(output)
        assert code == 0 and found["channel"] == channel and found["faults"] == [fault]
        assert any(doubt in one for one in found["doubts"])


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


@pytest.mark.parametrize("wrong", ["encoder.weight", "ringing.0.scale", "ringing.0.balls.precision", ""])
def test_a_head_of_other_shapes_is_refused_before_it_is_asked(tmp_path: Path, wrong: str) -> None:
    facts = Facts(format=1, rate_hz=1e4, window_s=1.0, parts=("DE",), bearings=("a", "b"), temperature=1.0)
    width = load_model(None).config.fusion.d_fusion
    arrays = {name: np.ones(shape) for name, shape in _shapes(1, 4 * width).items()}
    arrays = {name: array[:-1] if name == wrong else array for name, array in arrays.items()}
    (tmp_path / "head.json").write_text(facts.to_json())
    save_file(arrays, tmp_path / "head.safetensors")
    if not wrong:
        assert Trained.load(tmp_path).facts == facts
        return
    with pytest.raises(BadInput, match=f"the weights of a head, got '{wrong}' of others"):
        Trained.load(tmp_path)


def test_pinned_checksums_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cwru").mkdir()
    for text in ("[]", "{", '{"97.mat": 1}'):
        (tmp_path / "cwru" / "checksums.json").write_text(text)
        with pytest.raises(BadInput, match="expected JSON of checksums by path"):
            Store(tmp_path).lock("cwru")


@pytest.mark.parametrize("slowest_hz", [0.01, 5.0])
def test_a_slow_start_takes_no_more_memory_than_its_turns(slowest_hz: float) -> None:
    speed_N = torch.linspace(slowest_hz, 30.0, 20_000)
    wave_BKM = torch.sin(2.0 * np.pi * 3.6 * angle_turns(speed_N, 2000.0)).float().reshape(1, 1, -1)
    smeared = Envelopes(wave_BKM, 2000.0, torch.ones(1, 1), Bands.of_rate(RATE_HZ), False)
    found = over_angle(smeared, ShaftSpeed(float(speed_N.mean()), 30.0, False, speed_N))
    count = found.values_BKM.shape[-1]
    assert count <= 8.1 * wave_BKM.shape[-1]
    if slowest_hz == 5.0:  # all that the signal holds is kept
        assert found.rate_hz / float(speed_N.mean()) == 400.0
    order = int(torch.fft.rfft(found.values_BKM[0, 0]).abs().argmax()) * found.rate_hz / count / float(speed_N.mean())
    assert order == pytest.approx(3.6, abs=0.01)
