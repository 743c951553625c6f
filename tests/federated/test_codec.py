from __future__ import annotations

import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.federated.codec import ErrorFeedback, pack, unpack


@pytest.mark.parametrize("shape", [(), (5,), (4, 7), (3, 2, 6)])
def test_a_row_is_exact_to_half_a_step(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed = pack(tensor)
    back = unpack(packed)
    assert back.shape == tensor.shape
    assert packed.size_bytes == tensor.numel() + 4 * len(packed.step_X)
    rows = (len(tensor), -1) if tensor.dim() else (1, 1)
    missed = (back - tensor).reshape(rows).abs().amax(1)
    assert (missed <= packed.step_X * 0.5001).all()


def test_zeros_stay_zeros() -> None:
    assert not unpack(pack(torch.zeros(3, 4))).any()


def test_over_rounds_nothing_is_lost() -> None:
    sender, draw = ErrorFeedback(), torch.Generator().manual_seed(1)
    sent, wanted = torch.zeros(6, 5), torch.zeros(6, 5)
    for _ in range(50):
        change = torch.randn(6, 5, generator=draw) * torch.tensor([1e-3, 1e-3, 1e-3, 1e-3, 1.0])
        sent += unpack(sender.pack({"w": change})["w"])
        wanted += change
    torch.testing.assert_close(sent + sender.residual["w"], wanted, rtol=1e-4, atol=1e-5)
    assert sender.residual["w"].abs().max() < 0.02  # it does not pile up


def test_a_device_that_stopped_goes_on_with_its_residual() -> None:
    change = {"w": torch.linspace(-1, 1, 12).reshape(3, 4) ** 3}
    whole, first = ErrorFeedback(), ErrorFeedback()
    whole.pack(change)
    first.pack(change)
    again = ErrorFeedback(first.residual)
    assert torch.equal(whole.pack(change)["w"].values, again.pack(change)["w"].values)


def test_a_new_rank_drops_the_residual() -> None:
    sender = ErrorFeedback({"w": torch.full((2, 3), 0.5)})
    assert not unpack(sender.pack({"w": torch.zeros(4, 3)})["w"]).any()


def test_what_is_not_finite_is_refused_and_changes_nothing() -> None:
    sender = ErrorFeedback({"w": torch.full((2,), 0.5)})
    with pytest.raises(BadInput, match="finite"):
        sender.pack({"w": torch.tensor([1.0, float("nan")])})
    assert torch.equal(sender.residual["w"], torch.full((2,), 0.5))
