from __future__ import annotations

import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.federated.codec import Packed, packed, unpacked


def pack(tensor: torch.Tensor) -> Packed:
    return packed({"w": tensor}, {})[0]["w"]


def unpack(one: Packed) -> torch.Tensor:
    return unpacked({"w": one})["w"]


@pytest.mark.parametrize(("shape", "steps"), [((), 1), ((5,), 1), ((4, 7), 4), ((3, 2, 6), 3)])
def test_a_row_is_exact_to_half_a_step(shape: tuple[int, ...], steps: int) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = pack(tensor)
    back = unpack(found)
    assert back.shape == tensor.shape
    assert found.step_X.shape == (steps,)
    missed = (back - tensor).reshape(steps, -1).abs().amax(1)
    assert (missed <= found.step_X * 0.5001).all()


def test_zeros_stay_zeros() -> None:
    assert not unpack(pack(torch.zeros(3, 4))).any()


def test_over_rounds_nothing_is_lost() -> None:
    draw = torch.Generator().manual_seed(1)
    sent, wanted, plain = torch.zeros(6, 5), torch.zeros(6, 5), torch.zeros(6, 5)
    residual: dict[str, torch.Tensor] = {}
    for _ in range(50):
        change = torch.randn(6, 5, generator=draw) * torch.tensor([1e-3, 1e-3, 1e-3, 1e-3, 1.0])
        found, residual = packed({"w": change}, residual)
        sent += unpack(found["w"])
        plain += unpack(pack(change))
        wanted += change
    torch.testing.assert_close(sent + residual["w"], wanted, rtol=1e-4, atol=1e-5)
    assert residual["w"].abs().max() < 0.02, "it does not pile up"
    assert (sent - wanted).norm() < 0.5 * (plain - wanted).norm()


def test_what_is_not_sent_keeps_its_residual_and_a_new_rank_drops_it() -> None:
    found, left = packed({"w": torch.zeros(4, 3)}, {"w": torch.full((2, 3), 0.5), "v": torch.ones(2)})
    assert not unpack(found["w"]).any()
    assert torch.equal(left["v"], torch.ones(2))


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(BadInput, match="finite"):
        packed({"w": torch.tensor([1.0, float("nan")])}, {})
