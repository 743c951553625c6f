"""Evaluation: recordings at one rate, honest rows, trust learnt on the training side, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from iotlam.contracts import BadInput
from iotlam.model import save_pretrained
from iotlam.model.folder import own_state
from iotlam_faults.cli import app
from iotlam_faults.data.catalogue import Entry
from iotlam_faults.data.reading import Waveform
from iotlam_faults.evaluate import (
    CLASSES,
    HONEST,
    Bench,
    all_confused,
    calibration_error,
    f1_and_recalls,
    fit_head,
    fit_trust,
    run_split,
    summary,
)
from iotlam_faults.evaluation_page import read_evaluation, write_page
from iotlam_faults.head import Columns
from iotlam_faults.methods import METHODS, Scorer, Seen, find_methods
from iotlam_faults.model import load_model
from iotlam_faults.protocols import random_windows
from iotlam_faults.recordings import Recordings, cut
from iotlam_faults.splits import Fitted, Leak, Split
from iotlam_faults.trained import Trained
from iotlam_machine.machine import Fault, Machine
from iotlam_machine.simulate import simulate

from .test_catalogue import data

RATE_HZ = 10_000.0


def wave(bearing: str, fault: str, size: float, seed: int, rate_hz: float = RATE_HZ, load: float = 0.0) -> Waveform:
    """Four seconds of a simulated machine; of one part the structure is the same."""
    faults = (Fault(fault, size, 0.05),) if fault else ()  # type: ignore[arg-type]
    run = simulate(Machine(structure=5, vibration_rate_hz=rate_hz, faults=faults), 4.0, seed)
    entry = Entry(
        set="own", file=f"{bearing}-{seed}.wav", bearing=bearing, rate_hz=rate_hz, model="6205", part="DE",
        faults=(fault,) if fault else (), severity_mm=size or None, load=load, rpm=60.0 * float(run.speed_hz.mean()),
    )  # fmt: skip
    return Waveform(run.vibration_NA[:, :1].astype(np.float32), entry, Path(entry.file))


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    waves = [wave("sound", "", 0.0, 1)]
    for index, fault in enumerate(("inner", "outer", "ball")):
        for size in (0.5, 0.7, 0.9):
            waves.append(wave(f"{fault}-{size}", fault, size, 10 + 10 * index + round(10 * size)))
    return cut(waves)


def split_of(recordings: Recordings, size: float) -> Split:
    pieces = [(one.piece, one.entry) for one in recordings.windows]
    test = tuple(piece for piece, entry in pieces if not entry.faults or entry.severity_mm == size)
    return Split(f"size {size}", tuple(piece for piece, _ in pieces if piece not in set(test)), test)


def test_recordings_of_several_rates_are_brought_to_one_that_all_can_give() -> None:
    slow, fast = wave("a", "outer", 0.5, 3, 12_000.0), wave("b", "", 0.0, 4, 48_000.0)
    time_s = np.arange(len(fast.values_NC)) / 48_000.0
    tones_N = np.sin(2 * np.pi * 4000.0 * time_s) + np.sin(2 * np.pi * 5600.0 * time_s)  # the second would fold
    found = cut([slow, Waveform(tones_N[:, None].astype(np.float32), fast.entry, fast.path)])
    assert found.rate_hz == 10_000.0 and found.values_WN.shape == (8, 10_000)
    amplitude_F = np.abs(np.fft.rfft(found.values_WN[5].numpy())) / 5000.0
    assert amplitude_F[4000] == pytest.approx(1.0, abs=0.02) and amplitude_F[4300:].max() < 0.05


def test_recordings_shorter_than_a_window_are_named() -> None:
    with pytest.raises(BadInput, match="some of 9 s or longer"):
        cut([wave("a", "", 0.0, 1)], 9.0)


def test_a_recording_without_speed_is_named() -> None:
    one = wave("a", "", 0.0, 1)
    raw = {**one.entry.to_raw(), "rpm": None}
    with pytest.raises(BadInput, match=r"a-1\.wav.*its speed"):
        cut([Waveform(one.values_NC, Entry.from_raw(raw, "test"), one.path)])


def test_windows_of_too_few_turns_are_refused_before_anything_is_fitted() -> None:
    one = wave("o", "outer", 0.5, 3)
    slow = Waveform(one.values_NC, one.entry.changed(rpm=300.0), one.path)
    with pytest.raises(BadInput, match="6 turns of the shaft or more in each, got 5.0 of o-3.wav.*windows of 2 s"):
        Bench.of(cut([one, slow]), None)
    assert Bench.of(cut([slow], 2.0), None).windows


def test_the_baseline_is_known_and_not_tested(recordings: Recordings) -> None:
    bench = Bench.of(recordings, None)
    assert len(bench.set_aside) == 1 and len(bench.rows(split_of(recordings, 0.7).test)) == 3 + 12
    present_WL, sizes_W = bench.seen.present_WL, np.array([one.entry.severity_mm or 0.0 for one in bench.windows])
    sound = bench.rows(one.piece for one in bench.windows if not one.entry.faults)
    assert bench.change(sound).max() < 1.0
    assert bench.change(np.flatnonzero(present_WL[:, :2].any(1) & (sizes_W == 0.9))).min() > 2.0
    assert "one window of sound-1.wav" in bench.baselines_in_words()["DE"]


def test_where_there_are_several_sound_recordings_the_baseline_is_the_others() -> None:
    found = cut([wave("s", "", 0.0, 1, load=0.0), wave("s", "", 0.0, 2, load=1.0), wave("o", "outer", 0.5, 3)])
    bench = Bench.of(found, None)
    past = {name: {piece.recording for piece in fitted.pieces} for name, fitted in bench.baselines.items()}
    assert past == {"s-1.wav": {"s-2.wav"}, "s-2.wav": {"s-1.wav"}, "o-3.wav": {"s-1.wav", "s-2.wav"}}
    assert len(bench.set_aside) == 1 and len(bench.rows(one.piece for one in bench.windows)) == 11
    assert "2 of them, but for the one that is tested" in bench.baselines_in_words()["DE"]


def test_where_nothing_is_sound_all_counts_as_changed() -> None:
    bench = Bench.of(cut([wave("o", "outer", 0.5, 3)]), None)
    assert np.isinf(bench.change(np.arange(4))).all() and "none" in bench.baselines_in_words()["DE"]


@pytest.mark.parametrize("what", ["head", "threshold"])
def test_what_is_fitted_on_a_tested_bearing_does_not_judge_it(recordings: Recordings, what: str) -> None:
    bench, split = Bench.of(recordings, None), split_of(recordings, 0.7)
    other = next(piece for piece in split.test if piece not in bench.set_aside)
    fit = {"head": fit_head, "threshold": fit_trust}[what]
    split.trusted(fit(bench, "logistic", split.train))
    with pytest.raises(Leak, match="a fit on training data alone"):
        split.trusted(fit(bench, "logistic", (*split.train, other)))
    with pytest.raises(Leak, match="a fit on training data alone"):
        run_split(bench, split, "logistic", train=(*split.train, other))


def test_a_baseline_of_what_is_tested_does_not_judge_it(recordings: Recordings) -> None:
    bench, split = Bench.of(recordings, None), split_of(recordings, 0.7)
    pieces = tuple(one.piece for one in bench.windows if not one.entry.faults)
    spoilt = Fitted(bench.baselines["sound-1.wav"].value, pieces)
    with pytest.raises(Leak, match="one of samples that are not tested"):
        run_split(replace(bench, baselines={**bench.baselines, "sound-1.wav": spoilt}), split, "logistic")


@pytest.mark.parametrize("name", ["forest", "logistic", "physics-head"])
def test_methods_tell_unseen_bearings_and_the_dummy_does_not(recordings: Recordings, name: str) -> None:
    bench, split = Bench.of(recordings, None), split_of(recordings, 0.7)
    assert run_split(bench, split, name)["auroc"] > 0.9
    assert run_split(bench, split, "dummy")["auroc"] == 0.5


def test_methods_see_the_training_side_alone(recordings: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, split = Bench.of(recordings, None), split_of(recordings, 0.7)
    allowed, tested = (set(bench.seen.groups_W[bench.rows(side)]) for side in (split.train, split.test))
    learnt: list[set[str]] = []
    scored: list[int] = []

    def spy(seen: Seen) -> Scorer:
        learnt.append(set(seen.groups_W))
        score = METHODS["logistic"](seen)

        def count(columns: Columns) -> np.ndarray:
            scored.append(len(columns.parts_W))
            return score(columns)

        return count

    monkeypatch.setitem(METHODS, "spy", spy)  # type: ignore[arg-type]
    row = run_split(bench, split, "spy", trusted=True)
    assert learnt[0] == allowed and not allowed & tested and scored[0] == 3 + 12
    assert len(learnt) == 1 + 6 and all(len(allowed - one) == 1 and one < allowed for one in learnt[1:])
    assert {one["true"] for one in row["recordings"]} == set(CLASSES)
    assert sum(count for count, _, _ in row["bins"]) == 12


def test_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    assert calibration_error(np.array([[[10, 9.0, 9], [10, 5.0, 5]]])) == 0.0
    assert calibration_error(np.array([[[10, 9.0, 4], [10, 5.0, 5]]])) == pytest.approx(0.25)


def test_f1_leaves_out_what_never_occurs() -> None:
    counts = np.array([[5, 0, 0, 0], [0, 4, 4, 0], [0, 0, 8, 0], [0, 0, 0, 0]])
    f1, recalls = f1_and_recalls(counts)
    assert recalls == {"sound": 1.0, "inner": 0.5, "outer": 1.0}
    assert f1 == pytest.approx((1.0 + 2 * 4 / 12 + 2 * 8 / 20) / 3)


def test_the_summary_keeps_leaky_splits_apart(recordings: Recordings) -> None:
    bench = Bench.of(recordings, None)
    honest, leaky = split_of(recordings, 0.9), next(iter(random_windows(recordings.windows)))
    rows = [run_split(bench, split, "forest") for split in (honest, leaky)]
    found = summary(rows, "forest")
    assert (found["auroc"], found["leaky_auroc"]) == (round(rows[0]["auroc"], 4), round(rows[1]["auroc"], 4))
    alone = summary(rows[1:], "forest")
    assert alone["leaky_auroc"] == found["leaky_auroc"] and all(alone[key] is None for key in HONEST)


def test_a_sound_window_that_many_splits_test_counts_once(recordings: Recordings) -> None:
    bench = Bench.of(recordings, None)
    rows = [run_split(bench, split_of(recordings, size), "logistic") for size in (0.5, 0.7, 0.9)]
    counts_CC = all_confused(rows)
    assert counts_CC[0].sum() == 3 and counts_CC[1:].sum() == 3 * 12
    rows[0]["sound"] = {"sound-1.wav": [0, 3, 0, 0]}
    assert all_confused(rows)[0].tolist() == [2, 1, 0, 0]


def test_a_head_comes_back_from_its_folder_as_it_was(recordings: Recordings, tmp_path: Path) -> None:
    trained = Trained.fit(recordings, None)
    trained.save(tmp_path / "head")
    again = Trained.load(tmp_path / "head")
    one = cut([wave("asked", "outer", 0.8, 77)], again.facts.window_s, again.facts.rate_hz)
    assert again.facts == trained.facts and again.judge(one) == trained.judge(one)
    assert again.judge(one).probability["outer"] > 0.5 and sum(again.judge(one).probability.values()) == pytest.approx(
        1.0, abs=1e-3
    )
    with pytest.raises(BadInput, match="a sample rate of 10000 Hz or more, got 8000 Hz"):
        cut([wave("slow", "", 0.0, 1, 8000.0)], 1.0, again.facts.rate_hz)


def test_a_folder_without_a_head_is_named(recordings: Recordings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a head trained on recordings"):
        Trained.load(tmp_path)
    Trained.fit(recordings, None).save(tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadInput, match="a head trained on recordings"):
        Trained.load(tmp_path)


@pytest.mark.parametrize("change", ["rate_hz", "window_s", "temperature", "shape", "nan", "format"])
def test_a_spoilt_head_is_named(recordings: Recordings, tmp_path: Path, change: str) -> None:
    Trained.fit(recordings, None).save(tmp_path)
    if change in ("shape", "nan"):
        arrays = dict(load_file(tmp_path / "head.safetensors"))
        arrays["physics.weight"] = np.zeros((3, 3)) if change == "shape" else arrays["physics.weight"] * np.nan
        save_file(arrays, tmp_path / "head.safetensors")
    else:
        facts = json.loads((tmp_path / "head.json").read_text())
        (tmp_path / "head.json").write_text(json.dumps({**facts, change: 0}))
    with pytest.raises(BadInput, match=r"head\."):
        Trained.load(tmp_path)


def test_a_head_of_another_encoder_is_refused(recordings: Recordings, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    model = load_model(None)
    save_pretrained(model, encoder)
    Trained.fit(recordings, encoder).save(tmp_path / "head")
    Trained.load(tmp_path / "head")
    list(own_state(model).values())[-1].add_(0.1)
    save_pretrained(model, encoder)
    with pytest.raises(BadInput, match="expected a head fitted with the weights .* got one fitted with .*fit it again"):
        Trained.load(tmp_path / "head")


def test_nothing_to_test_on_is_named() -> None:
    found = cut([wave("sound", "", 0.0, 1), wave("o", "outer", 0.5, 2)])
    bench = Bench.of(found, None)
    first = next(one.piece for one in found.windows if not one.entry.faults)
    rest = tuple(one.piece for one in found.windows if one.entry.faults)
    with pytest.raises(BadInput, match="none to test on"):
        run_split(bench, Split("small", rest, (first,)), "logistic")


def test_a_method_that_is_none_is_named() -> None:
    assert find_methods("") == tuple(METHODS)
    with pytest.raises(BadInput, match="--methods.*'xgboost'"):
        find_methods("forest,xgboost")


def test_an_evaluation_becomes_a_page(recordings: Recordings, tmp_path: Path) -> None:
    bench = Bench.of(recordings, None)
    splits = [split_of(recordings, 0.9), split_of(recordings, 0.7), next(iter(random_windows(recordings.windows)))]
    rows = [run_split(bench, split, name) for split in splits for name in ("dummy", "physics-head")]
    (result := tmp_path / "rosa.json").write_text(
        json.dumps({"protocol": "rosa", "set": "own", "command": "iotlam faults evaluate", "splits": rows})
    )
    done = CliRunner().invoke(app, ["report", str(result), "--out", str(tmp_path / "page.html")])
    text = (tmp_path / "page.html").read_text()
    assert done.exit_code == 0 and "protocol rosa · 2 splits" in text and "on bearings it has not seen" in text
    assert text.count("<svg") >= 2 and len(text) < 200_000 and "leaky on purpose" not in text


def test_a_leaky_evaluation_says_so_on_its_page(recordings: Recordings, tmp_path: Path) -> None:
    split = next(iter(random_windows(recordings.windows)))
    rows = [run_split(Bench.of(recordings, None), split, "physics-head")]
    found = {"protocol": "random-windows", "set": "own", "command": "x", "baselines": {"DE": "none"}, "splits": rows}
    text = write_page(found, tmp_path / "page.html", []).read_text()
    assert "leaky on purpose" in text and "has not seen" not in text.partition("<main>")[0].partition("leaky on")[0]
    assert f"AUROC {rows[0]['auroc']:.3f} with leaks" in text and "takes for what" not in text


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"protocol": "rosa"}', '{"protocol": "rosa", "set": "x", "command": "x", "splits": []}']
)
def test_what_is_no_evaluation_is_named(tmp_path: Path, text: str) -> None:
    (result := tmp_path / "rosa.json").write_text(text)
    with pytest.raises(BadInput, match="the JSON of an evaluation"):
        read_evaluation(result)


@pytest.mark.parametrize("change", [{"confusion": [[0] * 4] * 4}, {"sound": {"x": [1]}}, {"split": "other"}])
def test_an_evaluation_that_was_spoilt_is_named(recordings: Recordings, tmp_path: Path, change: dict) -> None:
    bench, split = Bench.of(recordings, None), split_of(recordings, 0.9)
    rows = [run_split(bench, split, name) for name in ("dummy", "logistic")]
    found = {"protocol": "rosa", "set": "own", "command": "x", "splits": [{**rows[0], **change}, rows[1]]}
    (result := tmp_path / "rosa.json").write_text(json.dumps(found))
    with pytest.raises(BadInput, match="the JSON of an evaluation"):
        read_evaluation(result)


@pytest.mark.slow
def test_a_folder_with_bearings_at_one_place_is_evaluated_honestly(tmp_path: Path) -> None:
    rows = ["file,bearing,faults,rpm,model"]
    for fault in ("", "inner", "outer"):
        for number in (1, 2):
            one = wave(f"{fault or 'sound'}-{number}", fault, 0.6 if fault else 0.0, 40 + len(rows))
            np.savez(tmp_path / f"{len(rows)}.npz", data=one.values_NC, rate_hz=RATE_HZ, units="m/s2")
            rows.append(f"{len(rows)}.npz,{one.entry.bearing},{fault},{one.entry.rpm},6205")
    (tmp_path / "catalogue.csv").write_text("\n".join(rows) + "\n")
    options = ["--folder", str(tmp_path), "--protocol", "unseen-bearing", "--methods", "logistic,iotlam", "--json"]
    result = CliRunner().invoke(app, ["evaluate", *options, "--workers", "1"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    honest = [row for row in found["splits"] if not row["leaky"]]
    assert {row["split"] for row in honest} == {"unseen bearing 0", "unseen bearing 1"}
    assert all(len(row["by_bearing"]) == 2 for row in honest)
    assert all(one["auroc"] > 0.8 for one in found["figures"])


def test_the_command_prints_honest_beside_leaky_on_real_records() -> None:
    store = data()
    options = ["evaluate", "--splits", "1", "--methods", "logistic,iotlam", "--workers", "2", "--dir", str(store.root)]
    done = CliRunner().invoke(app, [*options, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    ours, rival = found["figures"][1], found["figures"][0]
    assert ours["auroc"] > 0.95 and rival["auroc"] > 0.8 and ours["leaky_auroc"] > 0.99
    assert [row["leaky"] for row in found["splits"]] == [False] * 2 + [True] * 2
    assert (
        set(found["baselines"]) == {"DE", "FE"} and f"healthy baseline at DE: {found['baselines']['DE']}" in done.stderr
    )
    options = ["evaluate", "--protocol", "random-windows", "--methods", "dummy", "--dir", str(store.root)]
    done = CliRunner().invoke(app, options, catch_exceptions=False)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["method", *HONEST, "leaky_auroc"],
        ["dummy", "0.5"],
    ]
