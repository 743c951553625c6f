"""A recording of several channels: all are judged, and the one that says most answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import downloads
from iotlam_faults.diagnose import diagnose, strongest
from iotlam_faults.signals import Signal
from iotlam_faults.telling import in_words
from iotlam_machine.machine import Fault

from .test_catalogue import data
from .test_diagnose import RATE_HZ, run, signal
from .test_signals import columns

MACHINE = ("--rpm", "1770", "--bearing", "6205")
SECONDS = 4.0


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 0.5, round(SECONDS * RATE_HZ)).astype(np.float32)


def axis(name: str, values_N: np.ndarray) -> Signal:
    return replace(signal(seconds=SECONDS), values_N=values_N, channel=f"P.{name}", sensor="P", axis=name)


def damaged() -> np.ndarray:
    return signal(Fault("outer", 0.6), seconds=SECONDS).values_N


def test_damage_on_the_second_axis_is_found_and_the_others_are_told(tmp_path: Path) -> None:
    path, page = columns(tmp_path / "pump.csv", x=noise(), y=damaged(), z=noise() + 9.81), tmp_path / "page.html"
    code, output = run(str(path), *MACHINE, "--out", str(page))
    assert code == 0 and output.startswith("Damage of the outer race.")
    said = "hannel pump.y says most; pump.x: No damage of the bearing shows; pump.z: No damage of the bearing shows"
    assert f"- c{said}\n" in output and f"<p>C{said}.</p>" in page.read_text()
    code, output = run(str(path), *MACHINE, "--out", str(page), "--json")
    found = json.loads(output)
    assert found["channel"] == "pump.y" and found["faults"] == ["outer"]
    assert [(one["channel"], one["damaged"]) for one in found["other_channels"]] == [
        ("pump.x", False),
        ("pump.z", False),
    ]


def test_a_channel_that_is_asked_for_is_judged_alone(tmp_path: Path) -> None:
    path = columns(tmp_path / "pump.csv", x=noise(), y=damaged())
    code, output = run(str(path), *MACHINE, "--channel", "x", "--out", str(tmp_path / "page.html"), "--json")
    found = json.loads(output)
    assert code == 0 and found["channel"] == "pump.x" and found["faults"] == [] and "other_channels" not in found


def test_a_dead_axis_leaves_the_others_to_be_judged_and_is_told() -> None:
    dead = axis("x", np.zeros_like(noise()))
    answer = strongest([dead, axis("y", noise())])
    assert answer.signal.channel == "P.y" and answer.headline == "No damage of the bearing shows."
    said = "channel P.y says most; P.x: not judged, expected a signal that varies, got 0 throughout"
    assert f"- {said}" in in_words(answer)
    with pytest.raises(BadInput, match="channel 'P.x': expected a signal that varies"):
        strongest([dead])


def test_the_strongest_verdict_answers_then_the_clearest_lines() -> None:
    sound, faint = axis("x", noise()), axis("y", damaged() + 3.0 * noise())
    clear, unknown = axis("z", damaged()), replace(axis("u", damaged()), bearing=None)
    clipped = axis("c", np.clip(noise(), -0.5, 0.5))
    assert diagnose(faint).sigmas < diagnose(clear).sigmas  # type: ignore[operator]
    in_turn = [clear, faint, clipped, sound, unknown]
    for count in range(1, len(in_turn) + 1):
        answer = strongest(in_turn[-count:][::-1])
        assert answer.signal.channel == in_turn[-count].channel and len(answer.others) == count - 1


def test_channels_that_name_different_faults_are_doubted() -> None:
    inner = axis("x", signal(Fault("inner", 0.6), seconds=SECONDS).values_N)
    answer = strongest([inner, axis("y", damaged())])
    other = {"P.x": "inner race", "P.y": "outer race"}[answer.others[0].channel]
    assert answer.doubts[-1] == f"the channels disagree: {answer.others[0].channel} names the {other}"
    assert not strongest([axis("x", damaged()), axis("y", damaged())]).doubts


def test_each_axis_is_held_against_its_own_healthy_one() -> None:
    quiet, loud = noise(), 10.0 * noise()[::-1]
    today, january = [axis("x", quiet), axis("y", loud)], [axis("y", loud), axis("x", quiet)]
    answer = strongest(today, [january])
    assert answer.change == pytest.approx(0.0, abs=0.5) and answer.headline == "No damage of the bearing shows."
    louder = strongest([today[0], axis("y", 10.0 * loud)], [january[:1]])
    assert louder.signal.channel == "P.y" and louder.changed
    quieter = strongest([axis("x", damaged()), today[1]], [january[:1]])
    lacking = "in pump.npz there is no channel like P.x: it tells no change of it"
    assert quieter.signal.channel == "P.x" and quieter.change is None and lacking in quieter.doubts
    with pytest.raises(BadInput, match="--healthy: expected a channel of P.x, P.y, got P.z"):
        strongest(today, [[axis("z", quiet)]])


def test_all_axes_of_a_published_recording_are_judged(tmp_path: Path) -> None:
    store = data()
    path = store.find(next(one for one in downloads("adi_cbm") if one.file == "1800_LIR_GS_BaLo_WA_11lb.Wfm.csv"))
    assert path is not None
    code, output = run(str(path), "--out", str(tmp_path / "page.html"), "--json")
    found = json.loads(output)
    assert code == 0 and found["faults"] == ["inner"] and found["channel"] != "ADXL356.x"
    assert len(found["other_channels"]) == 2
