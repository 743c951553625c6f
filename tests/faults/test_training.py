"""Training on simulated machines: shards, resuming, what the model is asked, and that it learns at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, SensorFrame
from iotlam.fusion.sanity import auroc
from iotlam.model import IotlamProcessor
from iotlam.training.shards import FACTS, PRESENT, Sample, Shard
from iotlam_faults.model import load_model
from iotlam_faults.query import ANCHORS, FAULTS, FEATURES, PLACES, machine_query
from iotlam_faults.train import LEARNING, Run, Simulation, TrainConfig, simulate_machines, told_apart
from iotlam_faults.windows import ROI, by_modality, simulated
from iotlam_machine.bearings import BEARINGS
from iotlam_machine.machine import Fault, Machine
from iotlam_waveform.vibration_orders.places import ENVELOPE_Y, SIGNAL_Y
from iotlam_waveform.vibration_residual.rises import FEATURES as RISES

ORDERS = ("vibration_orders",)


def brief(**changes: object) -> TrainConfig:
    learning = replace(LEARNING, steps=4, batch=6)
    return replace(TrainConfig(machines=12, windows=1, modalities=ORDERS, learning=learning, workers=1), **changes)


def test_the_places_of_a_bearing_are_where_its_lines_are() -> None:
    orders = BEARINGS["6205"].orders
    query = machine_query(orders, 29.5)
    assert query.anchors_KHX.shape == (len(PLACES), ANCHORS, 2) and query.features_PF.shape == (
        len(FAULTS),
        len(FEATURES),
    )
    found = np.sinh(query.anchors_KHX[..., 0] / 100.0)
    np.testing.assert_allclose(found[PLACES.index("outer"), :3], orders.outer * np.arange(1, 4), rtol=1e-5)
    np.testing.assert_allclose(found[PLACES.index("inner"), 3:5], [orders.inner - 1, orders.inner + 1], rtol=1e-5)
    np.testing.assert_allclose(
        found[PLACES.index("ball"), [0, 3]], [2 * orders.ball, 2 * orders.ball - orders.cage], rtol=1e-5
    )
    np.testing.assert_allclose(found[PLACES.index("shaft")], np.arange(1, 9), rtol=1e-5)
    assert set(query.anchors_KHX[:-1, :, 1].ravel()) == {ENVELOPE_Y}
    assert set(query.anchors_KHX[-1, :, 1]) == {SIGNAL_Y}


def test_faults_that_no_sensor_can_tell_are_not_asked_about() -> None:
    query = machine_query(BEARINGS["6205"].orders, 29.5, asked=("inner", "outer"))
    assert query.allowed_P.tolist() == [fault in ("inner", "outer") for fault in FAULTS]


def test_machines_are_written_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    paths = simulate_machines(Simulation(40, 6, 2, ORDERS, tmp_path))
    shards = [Shard.load(path) for path in paths]
    assert [len(shard) for shard in shards] == [2] * 6
    present = np.stack([shard[0].targets[PRESENT] for shard in shards])
    severity = np.stack([shard[0].targets[FACTS][:, 0] for shard in shards])
    for place in ("inner", "outer", "ball"):
        np.testing.assert_array_equal(severity[:, PLACES.index(place)] > 0, present[:, FAULTS.index(place)] > 0)
    assert 0 < present.sum() < present.size
    before = [path.stat().st_mtime_ns for path in paths]
    simulate_machines(Simulation(40, 6, 2, ORDERS, tmp_path))
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_run_that_is_cut_short_ends_where_a_whole_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_model(Run(tmp_path / "whole", brief()).go())
    cut = Run(tmp_path / "cut", brief())
    monkeypatch.setattr("iotlam.training.loop.CHECKPOINT_EVERY", 2)

    def stop(self: Run, stage: str, **facts: object) -> None:
        if facts.get("step") == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_log", stop)
        with pytest.raises(KeyboardInterrupt):
            cut.go()
    again = load_model(Run(tmp_path / "cut", brief()).go())
    for (name, one), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0, msg=name)


def test_wrong_options_are_one_sentence_and_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected 10 or more, got 3"):
        Run(tmp_path / "few", brief(machines=3))
    with pytest.raises(BadInput, match="smell"):
        Run(tmp_path / "few", brief(modalities=("smell",)))
    assert not (tmp_path / "few").exists()
    Run(tmp_path / "run", brief())
    with pytest.raises(BadInput, match="a run with other options"):
        Run(tmp_path / "run", brief(seed=1))


def test_the_command_trains_a_model_and_says_what_is_wrong_with_its_options(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from iotlam_faults.cli import app

    options = ["--machines", "10", "--steps", "2", "--modalities", "vibration_orders", "--workers", "1"]
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "run"), *options])
    assert result.exit_code == 0 and f"model in {tmp_path / 'run'}" in result.output
    assert load_model(tmp_path / "run").config.modalities[0].modality == "vibration_orders"
    alone = [Shard.load(path) for path in simulate_machines(Simulation(40, 1, 1, ORDERS, tmp_path / "one"))]
    assert set(told_apart(load_model(tmp_path / "run"), alone).values()) == {0.5}, "one machine tells nothing apart"
    bad = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "bad"), "--modalities", " , "])
    assert isinstance(bad.exception, BadInput) and "expected comma-separated names" in str(bad.exception)
    assert not (tmp_path / "bad").exists()


def test_a_model_of_other_questions_is_refused(tmp_path: Path) -> None:
    from iotlam_traffic.policy import SHIPPED as TRAFFIC

    with pytest.raises(BadInput, match="expected a model of machine faults.*iotlam faults train"):
        load_model(TRAFFIC)


def test_the_area_under_the_curve_is_what_it_is() -> None:
    score = np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(score, np.array([False, False, True, True])) == 0.75  # the textbook's example
    assert auroc(np.zeros(4), np.array([False, True, False, True])) == 0.5


@pytest.mark.slow
def test_it_learns_to_tell_faults_apart_on_machines_it_never_met(tmp_path: Path, tiny_decoder: Path) -> None:
    learning = replace(LEARNING, steps=80, batch=24)
    config = brief(machines=150, decoder=str(tiny_decoder), learning=learning, workers=2)
    model = load_model(Run(tmp_path, config).go())
    paths = simulate_machines(Simulation(5000, 80, 1, ORDERS, tmp_path / "others"))
    found = told_apart(model, [Shard.load(path) for path in paths])
    assert found["inner"] > 0.75 and found["ball"] > 0.7


def test_each_modality_reads_what_is_its_own() -> None:
    now, past, phase = (
        SensorFrame(t_ns, np.zeros((4, 1), np.float32), meta={"sensor": sensor, "rate_hz": 1e4})
        for t_ns, sensor in ((0, "bearing"), (10**18, "bearing"), (0, "motor"))
    )
    names = ("vibration", "vibration_orders", "vibration_residual", "current")
    found = by_modality(names, [now], [past], [phase])
    assert found["vibration"] == found["vibration_orders"] == [now] and found["current"] == [phase]
    healthy, today = found["vibration_residual"]
    assert today is now and healthy.meta["healthy"] is True and healthy.t_ns < now.t_ns
    assert set(by_modality(names, [now])) == {"vibration", "vibration_orders"}, "without a past there is no residual"


def test_a_simulated_machine_is_held_against_itself_while_it_was_sound() -> None:
    processor = IotlamProcessor(("vibration_orders", "vibration_residual"), ROI)
    machine = Machine(structure=3, faults=(Fault("outer", severity=0.7),))
    damaged, sound = (simulated(processor, one, 2, 5) for one in (machine, machine.changed(faults=())))
    rise = RISES.index("white_rise")
    outer_x = damaged.query.anchors_KHX[PLACES.index("outer"), 0, 0]

    def at_the_outer_race(sample: Sample) -> float:
        batch = sample.tokens["vibration_residual"]
        assert batch.position_BTX is not None
        near_T = (batch.position_BTX[0] - torch.tensor([outer_x, ENVELOPE_Y])).norm(dim=-1) < 2.0
        return float(batch.tokens_BTD[0, near_T, rise].max()) if near_T.any() else 0.0

    assert at_the_outer_race(damaged) > 1.0 > 0.5 > at_the_outer_race(sound)
