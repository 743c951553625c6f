import pytest
import torch

from iotlam.contracts import TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig, RateSchedule, parameter_groups


def test_bits_are_free_then_dearer_then_at_their_price() -> None:
    price = RateSchedule(peak=0.1, steps=100, free=0.3, ramp=0.4)
    assert [price(step) for step in (0, 30, 50, 70, 99, 1000)] == pytest.approx([0.0, 0.0, 0.05, 0.1, 0.1, 0.1])
    assert RateSchedule(0.1, steps=10, free=0.0, ramp=0.0)(1) == 0.1


def test_gates_learn_faster_and_every_parameter_is_in_one_group() -> None:
    fusion = BottleneckFusion((TokenSpec("sound", 2, 9),), FusionConfig(d_fusion=8, n_anchors=2))
    fusion.likelihood.requires_grad_(False)
    rest, gates = parameter_groups(fusion, 1e-3)
    assert (rest["lr"], gates["lr"]) == (1e-3, 5e-3)
    assert {id(p) for p in gates["params"]} == {id(p) for p in fusion.gates.parameters()}
    both = [id(p) for group in (rest, gates) for p in group["params"]]
    assert sorted(both) == sorted(id(p) for p in fusion.parameters() if p.requires_grad)
    torch.optim.AdamW([rest, gates])
