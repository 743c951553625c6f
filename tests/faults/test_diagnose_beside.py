"""What stands beside a recording: healthy ones of the same machine, a trained head, the motor's current."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file

from iotlam.contracts import BadInput
from iotlam.model.folder import weights_sha256
from iotlam_faults.advice import advice
from iotlam_faults.diagnose import diagnose
from iotlam_faults.model import load_model
from iotlam_faults.recordings import Recordings, Vibration
from iotlam_faults.report import write_page
from iotlam_faults.signals import Signal, read_motor_current
from iotlam_faults.telling import in_numbers, in_words
from iotlam_faults.trained import FORMAT, Facts, Opinion, Trained, _shapes
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate

from .test_diagnose import RATE_HZ, dead_half, knocked, signal, swung


def test_a_changed_machine_is_damaged_even_where_no_fault_is_named() -> None:
    healthy, faint = signal(), signal(Fault("outer", 0.12, 0.02))
    louder = replace(faint, values_N=3.0 * faint.values_N)
    assert diagnose(faint, [healthy]).change < 1.0  # type: ignore[operator]
    answer = diagnose(louder, [healthy])
    assert answer.change > 2.0 and answer.headline == "Damage, but its type is unclear."  # type: ignore[operator]
    found = in_numbers(answer)
    assert found["damaged"] and found["unclear"] and "changed much since it was sound" in found["advice"][0]
    reason = f"the machine has changed by {answer.change:.1f} since it was sound: 2 and more is much"
    assert reason in found["because"] and f"- {reason}" in in_words(answer)
    assert "from one healthy recording alone: another load" in answer.doubts[-1]
    assert not diagnose(louder, [healthy, healthy]).doubts and not diagnose(faint, [healthy]).doubts
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
    assert answer.doubts[0].endswith(": it is no baseline") and answer.change is None
    assert answer.doubts[2].startswith("in phase 2 of the current, 0.03% of its samples were missing")


def test_a_healthy_recording_of_another_speed_tells_no_change() -> None:
    now, slow, slower = signal(), signal(shaft_hz=14.75), signal(shaft_hz=26.0)
    answer = diagnose(now, [slow, slower])
    assert answer.change is None and answer.headline == "No damage of the bearing shows."
    assert re.match("in pump.npz the shaft turns at 88[0-9] rpm, not 17[67][0-9]: it tells no change", answer.doubts[0])
    assert answer.doubts[-1] == "no healthy recording is left that tells how far the machine has changed"
    assert diagnose(now, [slow, signal(shaft_hz=28.0)]).change < 0.5  # type: ignore[operator]
    assert diagnose(replace(now, shaft_hz=None), [slow]).change is not None


def test_samples_with_flaws_tell_no_change_and_no_velocity() -> None:
    for spoil in (dead_half, knocked):
        found = signal()
        spoil(found.values_N)
        answer = diagnose(found, [signal()])
        assert answer.change is None and not answer.damaged and answer.blind
        assert "how far the machine has changed" in answer.doubts[-1]
        assert not any("housing" in one for one in advice(replace(answer, velocity_mm_s=20.0)))


@pytest.mark.parametrize(
    ("faults", "spoil", "said"),
    [((), "knocked", "it holds a jolt"), ((Fault("outer", 0.7, 0.05),), "", "damage of the outer race shows")],
)
def test_a_healthy_recording_that_is_not_is_no_baseline(faults: tuple[Fault, ...], spoil: str, said: str) -> None:
    january = replace(signal(*faults), source="january.npz")
    if spoil:
        knocked(january.values_N)
    alone = diagnose(signal(), [january])
    assert alone.change is None and not alone.before
    assert alone.doubts[0].startswith(f"in january.npz, {said}") and alone.doubts[0].endswith(": it is no baseline")
    both = diagnose(signal(), [january, signal()])
    assert both.change is not None and both.change < 0.5 and len(both.before) == 1


def test_a_healthy_recording_of_another_rate_is_named() -> None:
    with pytest.raises(BadInput, match="--healthy.*the same sample rate, 12000 Hz, got 6000 Hz"):
        diagnose(signal(), [replace(signal(), rate_hz=6000.0)])


@pytest.mark.parametrize("rate_hz", [11_990.0, 12_100.0])
def test_rates_that_wander_by_a_hundredth_are_one(rate_hz: float) -> None:
    now, january = signal(Fault("outer", 0.6)), signal()
    by = rate_hz / RATE_HZ
    other = replace(january, rate_hz=rate_hz, shaft_hz=29.5 * by, speed_N=np.full(len(january.values_N), 29.5 * by))
    assert other.at_rate(RATE_HZ).shaft_hz == pytest.approx(29.5)
    alike, same = diagnose(now, [other]), diagnose(now, [replace(january, speed_N=np.full(96_000, 29.5))])
    assert alike.change == pytest.approx(same.change) and alike.before[0].depth == pytest.approx(same.before[0].depth)
    assert alike.change == diagnose(now, [replace(january, rate_hz=rate_hz, shaft_hz=None)]).change


class Head:
    """A trained head that says what it is told to."""

    facts = SimpleNamespace(window_s=1.0, rate_hz=10_000.0, parts=("DE",))

    def __init__(self, by_physics: str, by_encoder: str) -> None:
        probability = {"inner": 0.1, "outer": 0.1, "ball": 0.1} | {by_physics: 0.8}
        self.opinion = Opinion(probability, by_physics, by_encoder, probability)

    def judge(self, recordings: Recordings, healthy: Vibration | None) -> Opinion:
        """As it was told; what it is asked about is kept."""
        self.asked = recordings, healthy
        return self.opinion


def test_the_head_holds_the_signal_against_the_healthy_recording_of_about_its_speed() -> None:
    now, january = signal(Fault("outer", 0.6, 0.05), part="DE"), signal()
    for healthy in ([january], [january.first(0.8), january]):
        head = Head("outer", "outer")
        diagnose(now, healthy, head)  # type: ignore[arg-type]
        recordings, past = head.asked
        assert recordings.windows and past is not None
        assert past.shaft_hz == pytest.approx(29.5, rel=0.01) and past.values_N.shape == (10_000,)
        assert past.values_N.std() == pytest.approx(january.values_N.std(), rel=0.2), "not today's"


@pytest.mark.parametrize(
    ("healthy", "said"),
    [
        (lambda: [], ""),
        (lambda: [signal().first(0.8)], "does not hold it against .*: it needs 1 s, and the recording holds 0.8"),
        (lambda: [replace(signal(), bearing=None)], ""),
    ],
)
def test_without_a_healthy_recording_that_the_head_can_read_it_is_asked_alone(
    healthy: Callable[[], list[Signal]], said: str
) -> None:
    head = Head("outer", "outer")
    answer = diagnose(signal(Fault("outer", 0.6, 0.05), part="DE"), healthy(), head)  # type: ignore[arg-type]
    if said:
        assert head.asked[1] is None and any(re.search(said, doubt) for doubt in answer.doubts)
    else:
        assert not any("does not hold it" in doubt for doubt in answer.doubts)


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


@pytest.mark.parametrize(("named", "faults"), [("ball", ()), ("outer", ("outer",))])
def test_the_head_names_nothing_against_the_lines_that_physics_suspects(named: str, faults: tuple[str, ...]) -> None:
    shallow = signal(Fault("outer", 0.13, 0.02), part="DE")
    louder = replace(shallow, values_N=3.0 * shallow.values_N)
    answer = diagnose(louder, [signal()], Head(named, named))  # type: ignore[arg-type]
    assert answer.verdict is not None and answer.verdict.suspects == ("outer",) and answer.faults == faults
    if faults:
        assert "the trained head alone names the outer race: if the bearing is damaged" in answer.because[-1]
        assert "outer race 80%" in "\n".join(in_words(answer))
    else:
        assert answer.doubts[1:] == (
            "the lines that are there are of the outer race, the trained head names the rolling elements",
        )
        assert answer.headline == "Damage, but its type is unclear."


def slow(rpm: float) -> Signal:
    """A damaged bearing on a slow shaft."""
    run = simulate(Machine(speed_hz=rpm / 60.0, faults=(Fault("outer", 0.6, 0.05),)), 8.0, 0)
    return Signal(run.vibration_NA[:, 0].astype(np.float32), RATE_HZ, "bearing", "s.npz", rpm / 60.0, BEARINGS["6205"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: swung("inner", 0.05)[0], "takes the speed as steady"),
        (lambda: signal(Fault("outer", 0.6, 0.05)).first(0.8), "needs 1 s, and the recording holds 0.8"),
        (lambda: signal(Fault("outer", 0.6, 0.05), bearing=None), "needs the bearing of the machine"),
        (lambda: slow(300.0), "needs 6 turns of the shaft in 1 s, and there are 5.0"),
        (lambda: signal().first(0.6), "reads the lines of the bearing"),
    ],
)
def test_a_head_that_cannot_be_asked_is_a_doubt_and_the_rest_stands(asked: Callable[[], Signal], said: str) -> None:
    answer = diagnose(asked(), trained=Head("ball", "ball"))  # type: ignore[arg-type]
    assert answer.opinion is None and f"the trained head is not asked: it {said}" in answer.doubts[-1]
    assert answer.faults == diagnose(asked()).faults


def test_a_current_without_a_speed_is_a_doubt_and_the_rest_stands() -> None:
    answer = diagnose(signal(shaft_hz=None), current=(np.ones((5000, 3), np.float32), 5000.0))
    assert answer.current is None and answer.lines_hz
    assert answer.doubts[-1] == "the motor's current is not read: the speed of the shaft is not known"


def test_what_holds_only_of_a_damaged_bearing_is_said_so(tmp_path: Path) -> None:
    damaged, sound = signal(Fault("outer", 0.6, 0.05), part="DE"), signal(part="DE")
    agreed, contradicted, none = (
        diagnose(asked, trained=Head(named, named))  # type: ignore[arg-type]
        for asked, named in ((damaged, "outer"), (damaged, "ball"), (sound, "ball"))
    )
    assert in_numbers(agreed)["probability_if_damaged"]["outer"] == 0.8 and in_numbers(agreed)["severity"] == {
        "outer": 0.8
    }
    assert in_numbers(none)["probability_if_damaged"]["ball"] == 0.8 and in_numbers(none)["severity"] == {}
    pages = [write_page(one, tmp_path / "page.html", []).read_text() for one in (agreed, contradicted)]
    assert ['class="marked"' in page for page in pages] == [True, False]
    assert "The trained head says: if the bearing is damaged, " in pages[0]


def test_advice_after_a_contradiction_says_whose_it_is() -> None:
    answer = diagnose(signal(Fault("outer", 0.6, 0.05), part="DE"), trained=Head("inner", "inner"))  # type: ignore[arg-type]
    assert advice(answer)[0].startswith("Physics and the trained head contradict each other")


def test_the_heads_doubts_do_not_count_where_nothing_is_damaged() -> None:
    answer = diagnose(signal(part="DE"), trained=Head("ball", "inner"))  # type: ignore[arg-type]
    assert answer.headline == "No damage of the bearing shows." and not answer.doubts


def test_the_motors_current_confirms_what_vibration_names(tmp_path: Path) -> None:
    run = simulate(Machine(faults=(Fault("outer", 0.9, 0.05),)), 8.0, 0)
    values_N, current_NP = run.vibration_NA[:, 0].astype(np.float32), run.current_NP.astype(np.float32)
    asked = Signal(values_N, RATE_HZ, "bearing", "pump.npz", 29.5, BEARINGS["6205"])
    answer = diagnose(asked, current=(current_NP, 5000.0))
    assert answer.confirmed_by_current == ("outer",)
    assert in_numbers(answer)["current"]["sidebands"]["outer"]["nats"] > 2.0
    page = write_page(answer, tmp_path / "page.html", []).read_text()
    assert "The motor&#39;s current has the sidebands of the outer race too" in page


@pytest.mark.parametrize(("severity", "told"), [(0.0, False), (0.9, True)])
def test_uneven_phases_lead_to_advice(severity: float, told: bool) -> None:
    run = simulate(Machine(faults=(Fault("winding", severity),) if severity else ()), 8.0, 0)
    found = Signal(run.vibration_NA[:, 0].astype(np.float32), RATE_HZ, "bearing", "pump.npz", 29.5, BEARINGS["6205"])
    said = advice(diagnose(found, current=(run.current_NP.astype(np.float32), 5000.0)))
    assert any("uneven by 15%" in one and "windings" in one for one in said) is told
    assert any("Nothing is to be done" in one for one in said) is not told


def test_of_several_sensors_of_current_the_first_is_taken(tmp_path: Path) -> None:
    one_N, three_NP = np.ones((6000, 1)), np.zeros((6000, 3))
    scipy.io.savemat(tmp_path / "motor.mat", {"first": one_N, "second": three_NP})
    (tmp_path / "motor.mat.toml").write_text('rate_hz = 5000\nunits = "A"\n')
    current_NP, rate_hz = read_motor_current(tmp_path / "motor.mat")
    assert rate_hz == 5000.0 and current_NP.shape == (6000, 1) and (current_NP == 1.0).all()


@pytest.mark.parametrize("wrong", ["encoder.weight", "ringing.0.scale", "ringing.0.balls.precision", ""])
def test_a_head_of_other_shapes_is_refused_before_it_is_asked(tmp_path: Path, wrong: str) -> None:
    model = load_model(None)
    known = {"parts": ("DE",), "bearings": ("a", "b"), "model_sha256": weights_sha256(model)}
    facts = Facts(format=FORMAT, rate_hz=1e4, window_s=1.0, temperature=1.0, **known)
    width = model.config.fusion.d_fusion
    arrays = {name: np.ones(shape) for name, shape in _shapes(1, 4 * width).items()}
    arrays = {name: array[:-1] if name == wrong else array for name, array in arrays.items()}
    (tmp_path / "head.json").write_text(facts.to_json())
    save_file(arrays, tmp_path / "head.safetensors")
    if not wrong:
        assert Trained.load(tmp_path).facts == facts
        return
    with pytest.raises(BadInput, match=f"the weights of a head, got '{wrong}' of others"):
        Trained.load(tmp_path)
