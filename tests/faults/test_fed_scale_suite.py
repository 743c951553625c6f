from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iotlam.contracts import Json
from iotlam.federated.factors import Factors
from iotlam.federated.plan import Plan
from iotlam.federated.rounds import Run
from iotlam.federated.runtimes import carry_out
from iotlam_faults.federated import data
from iotlam_faults.suites.fed_scale import eight, figures, plain, small_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("small"))


def small(base: Path, **rounds: object) -> Plan:
    plan = eight(2, 2)
    devices = tuple(device.changed(data={**device.data, "machines": 4}) for device in plan.devices[:3])
    return plan.changed(devices=devices, base=str(base), rounds={**plan.rounds, **rounds})


def test_the_plain_loop_does_what_a_run_does(base: Path, tmp_path: Path) -> None:
    """With zero-padding, and changes as they are, both end in the same weights but for rounding."""
    plan = small(base, mode="zero_pad", eight_bits=False)
    carry_out(plan, tmp_path)
    examples = {one.name: len(data(one.data).learnt) for one in plan.devices}
    run = Run(tmp_path, base, plan.config_for(examples), plan.to_json())
    found, scale = plain(plan), run.model().config
    for name, tensor in run._others.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    for layer, mode in run._modes.items():
        b_OR, a_RI = (found[f"decoder.{layer}.lora_{part}.default.weight"] for part in ("B", "A"))
        ours, theirs = mode.whole(), Factors(b_OR * (scale.lora_alpha / scale.lora_rank), a_RI)
        torch.testing.assert_close((theirs.b_OR @ theirs.a_RI).double(), ours.b_OR @ ours.a_RI, rtol=1e-4, atol=1e-6)
        assert float(ours.b_OR.abs().max()) > 1e-4


def test_the_figures_follow_from_the_rows() -> None:
    rows: list[Json] = []
    for number in range(6):
        rows.append({"kind": "run", "cpu_s": 11.0 + number, "seconds": 12.0})
        rows.append({"kind": "plain", "cpu_s": 10.0 + number, "seconds": 10.0})
    rows.append({"kind": "thousand", "cpu_s": 200.0, "seconds": 301.0, "gib": 1.5, "before_gib": 0.4})
    rows += [
        {"kind": "runtime", "runtime": name, "weights": weights, "first_round_s": 1.0, "seconds": 2.0}
        for name, weights in (("process", "a"), ("ray", "b"), ("superlink", "a"))
    ]
    found = figures(rows)
    assert found["overhead_over_plain_loop"].value == pytest.approx(13.5 / 12.5 - 1)
    assert found["overhead_in_wall_time"].value == pytest.approx(0.2)
    assert (found["thousand_devices_ten_rounds_s"].met, found["thousand_devices_memory_gib"].met) == (False, True)
    assert (found["runtimes_with_same_weights"].value, found["runtimes_with_same_weights"].met) == (2, False)
