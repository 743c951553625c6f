from __future__ import annotations

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.federated.adapter import RoundModel
from iotlam.federated.factors import no_update
from iotlam.federated.local import Local, LocalData, Task, own_model
from iotlam.federated.messages import Answer, Given, Order, changes, check_answer, check_changes, flat

from .conftest import counted

Asked = tuple[Order, dict[str, np.ndarray]]


@pytest.fixture
def device(task: Task, tmp_path: Path) -> Local:
    data = LocalData([counted(seed) for seed in range(12)], [counted(seed) for seed in range(100, 106)])
    return Local("press", task, data, tmp_path / "press.safetensors")


@pytest.fixture
def asked(base: Path) -> Callable[..., Asked]:
    """`asked(**fields)`: an order to start from the model as it is, and its arrays."""
    model = RoundModel(base, 3)

    def make(**fields: object) -> Asked:
        frozen = {name: no_update(*one.shape) for name, one in model.adapter.items()}
        facts = Order("run", 0, "press", "n-0", model.digest, 3, ("a", "b"), "kept", "", True, False, 3, 1e-2, 5)
        return facts.changed(**fields), Given(model.adapter, frozen, model.others).arrays()

    return make


def whole(order: Order, arrays: dict[str, np.ndarray], sent: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    given = Given.of(arrays)
    like = flat(given.start, order.trains, given.others if order.others else {})
    check_changes(sent, like, order.eight_bits)
    return changes(sent, like, order.eight_bits)


def test_training_changes_what_it_should_and_is_the_same_twice(
    device: Local, task: Task, asked, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked()
    answer, sent = device.work(order, arrays)
    check_answer(order, answer, sent, 12)
    made = whole(order, arrays, sent)
    assert any(change.abs().max() > 1e-4 for name, change in made.items() if name.startswith("adapter/"))
    assert any(change.abs().max() > 1e-4 for name, change in made.items() if name.startswith("others/"))
    assert 0 <= answer.score_before <= 1 and answer.loss > 0 and answer.examples == 12
    data = LocalData([counted(seed) for seed in range(12)], [])
    again = Local("press", task, data, tmp_path / "again.safetensors").work(order, arrays)
    assert again[0].content == answer.content
    assert again[0].score_before == -1.0


@pytest.mark.parametrize("trains", [("b",), ("a",)])
def test_only_one_factor_is_trained_where_the_mode_says_so(device: Local, asked, trains) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(trains=trains, others=False)
    _, sent = device.work(order, arrays)
    assert {name[-1] for name in sent} == set(trains)
    assert all(name.startswith("adapter/") for name in sent)


def test_without_steps_nothing_changes(device: Local, asked) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(steps=0)
    answer, sent = device.work(order, arrays)
    assert answer.loss == -1.0
    assert not any(change.any() for change in whole(order, arrays, sent).values())


def test_asked_again_a_device_gives_the_same_answer_without_training(device: Local, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(eight_bits=True)
    first, sent = device.work(order, arrays)
    later = Local("press", device._task, device._data, tmp_path / "press.safetensors")
    again, resent = later.work(order, arrays)
    assert again == first, "the seconds, too: it is the answer that was kept"
    assert all(np.array_equal(sent[name], resent[name]) for name in sent)


def test_eight_bits_are_less_than_a_third_of_the_bytes(device: Local, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked()
    _, exact = device.work(order, arrays)
    _, sent = device.work(order.changed(nonce="n-1", eight_bits=True), arrays)
    assert sum(array.nbytes for array in sent.values()) < 0.33 * sum(array.nbytes for array in exact.values())
    made, wanted = whole(order.changed(eight_bits=True), arrays, sent), whole(order, arrays, exact)
    for name, change in made.items():
        assert (change - wanted[name]).abs().max() <= wanted[name].abs().max() / 127 * 0.51 + 1e-9


@pytest.mark.parametrize(("after", "kept"), [("n-0", True), ("n-9", False), ("", False)])
def test_rounding_is_made_up_for_only_if_the_answer_counted(device: Local, asked, after: str, kept: bool) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(eight_bits=True)
    device.work(order, arrays)
    again = order.changed(number=1, nonce="n-1", after=after, steps=0)  # nothing is learnt: only the rounding is sent
    _, sent = device.work(again, arrays)
    assert any(change.any() for change in whole(again, arrays, sent).values()) == kept


def test_orders_for_others_are_refused(device: Local, asked, other_base: Path) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked()
    with pytest.raises(BadInput, match="'press'"):
        device.work(order.changed(device="pump"), arrays)
    with pytest.raises(BadInput, match="model that the run began with"):
        device.work(order.changed(base=RoundModel(other_base, 3).digest), arrays)


@pytest.mark.parametrize(
    "lie",
    [
        {"run": "other"},
        {"number": 3},
        {"device": "pump"},
        {"nonce": "n-9"},
        {"base": "0" * 64},
        {"examples": 0},
        {"examples": 13},
        {"loss": float("nan")},
        {"score_before": 1e9},
        {"seconds": -1.0},
        {"content": "0" * 64},
    ],
)
def test_answers_that_lie_are_refused(device: Local, asked, lie: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked()
    answer, sent = device.work(order, arrays)
    with pytest.raises(BadInput, match="'press' in round 0"):
        check_answer(order, answer.changed(**lie), sent, 12)


HARMS = {
    "another shape": lambda sent, name: {**sent, name: sent[name][:1]},
    "not finite": lambda sent, name: {**sent, name: np.full_like(sent[name], np.nan)},
    "huge": lambda sent, name: {**sent, name: np.full_like(sent[name], 1e30)},
    "double": lambda sent, name: {**sent, name: sent[name].astype(np.float64)},
    "big-endian": lambda sent, name: {**sent, name: sent[name].astype(">f4")},
    "complex": lambda sent, name: {**sent, name: sent[name].astype(np.complex64)},
    "text": lambda sent, name: {**sent, name: np.full(sent[name].shape, "x")},
    "missing": lambda sent, name: {key: value for key, value in sent.items() if key != name},
    "one more": lambda sent, name: {**sent, "adapter/other/b": sent[name]},
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("eight_bits", [False, True])
def test_changes_of_another_kind_are_refused(device: Local, asked, harm: str, eight_bits: bool) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(eight_bits=eight_bits)
    _, sent = device.work(order, arrays)
    for name in [next(iter(sent))] if not eight_bits else sorted(sent)[:2]:
        if sent[name].dtype == np.int8 and harm in ("not finite", "huge"):
            continue
        with pytest.raises(BadInput, match="Change of"):
            whole(order, arrays, HARMS[harm](sent, name))


def test_a_device_without_data_is_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="examples to learn from"):
        Local("empty", task, LocalData([], []), tmp_path / "m")


def test_a_broken_memory_is_named(device: Local, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "press.safetensors").write_bytes(b"no memory")
    with pytest.raises(BadInput, match="device's memory"):
        device.work(*asked())


def test_what_is_missing_to_an_own_module_is_said(device: Local, task: Task, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match="got no such file; call it on the machine where the device is"):
        own_model(task.base, tmp_path / "press.safetensors")
    device.work(*asked())
    with pytest.raises(BadInput, match="own module, got none; run with"):
        own_model(task.base, tmp_path / "press.safetensors")


def test_an_answer_is_the_same_in_json(device: Local, asked) -> None:  # type: ignore[no-untyped-def]
    answer, _ = device.work(*asked())
    assert Answer.from_json(answer.to_json(), "answer") == answer


def test_an_order_of_an_earlier_round_is_answered_and_not_remembered(device: Local, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked()
    device.work(order.changed(number=3, nonce="n-3"), arrays)
    before = (tmp_path / "press.safetensors").read_bytes()
    answer, _ = device.work(order.changed(number=2, nonce="n-2"), arrays)
    assert answer.nonce == "n-2"
    assert (tmp_path / "press.safetensors").read_bytes() == before
    device.work(order.changed(run="another", number=0, nonce="n-0"), arrays)
    assert (tmp_path / "press.safetensors").read_bytes() != before, "another run begins with round 0"


def test_one_process_at_a_time_works_for_a_device(device: Local, asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    order, arrays = asked(steps=0)
    with (tmp_path / "press.lock").open("w") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        work = pool.submit(device.work, order, arrays)
        with pytest.raises(TimeoutError):
            work.result(0.5)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert work.result(30.0)[0].nonce == order.nonce
