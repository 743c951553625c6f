from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.federated.aggregation import MODES
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.messages import content
from iotlam.federated.outcome import Planned
from iotlam.federated.rounds import Run
from iotlam.model import IotlamModel, from_pretrained, save_pretrained

from .conftest import counted, right

RANKS = {"fan": 1, "press": 2, "pump": 4}
DEVICES = tuple(Enrolled(name, rank, 24) for name, rank in RANKS.items())
TEST = [counted(seed) for seed in range(5000, 5060)]


def config(**fields: object) -> RunConfig:
    return RunConfig(DEVICES, rounds=2, steps=3, learning_rate=1e-2).changed(**fields)


def fleet(task: Task, folder: Path) -> dict[str, Local]:
    found = {}
    for place, name in enumerate(RANKS):
        first = 1000 * place
        learnt, held_out = ([counted(first + seed) for seed in span] for span in (range(24), range(100, 108)))
        found[name] = Local(name, task, LocalData(learnt, held_out), folder / f"{name}.safetensors")
    return found


def play(run: Run, devices: dict[str, Local], until: int | None = None) -> None:
    while not run.finished and run.number != until:
        for order, arrays in run.orders():
            answer, sent = devices[order.device].work(order, arrays)
            assert run.take(order.device, run.number, answer, sent) == "taken"
        assert run.awaited == []
        run.close({})


def state(model: IotlamModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_of_unequal_devices_ends_in_an_ordinary_model(mode: str, task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(mode=mode))
    play(run, fleet(task, tmp_path))
    save_pretrained(run.model(), tmp_path / "model")
    found = from_pretrained(tmp_path / "model")
    assert not same(state(found), state(from_pretrained(task.base)))
    assert [outcome.round for outcome in run.outcomes] == [0, 1]
    assert run.outcomes[0].shares == pytest.approx(dict.fromkeys(RANKS, 1 / 3))
    assert 0 < run.outcomes[1].score <= 1


def test_together_the_devices_learn(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(rounds=4, steps=20))
    before = right(run.model(), TEST)
    play(run, fleet(task, tmp_path))
    assert right(run.model(), TEST) > max(before, 0.5) + 0.2


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_stopped_goes_on_to_the_same_weights(mode: str, task: Task, tmp_path: Path) -> None:
    settings = config(rounds=3, mode=mode)
    whole = Run(tmp_path / "whole", task.base, settings)
    play(whole, fleet(task, tmp_path / "a"))
    first = Run(tmp_path / "parts", task.base, settings)
    play(first, fleet(task, tmp_path / "b"), until=1)
    orders = first.orders()  # planned, one device has answered, and then the power fails
    fleet(task, tmp_path / "b")["press"].work(*next(one for one in orders if one[0].device == "press"))
    first.leave()
    second = Run(tmp_path / "parts", task.base, settings)
    assert second.number == 1
    assert [order.nonce for order, _ in second.orders()] == [order.nonce for order, _ in orders]
    play(second, fleet(task, tmp_path / "b"))
    assert same(state(whole.model()), state(second.model()))


@pytest.mark.parametrize("harmed", [False, True])
def test_answers_that_were_taken_need_not_come_again(harmed: bool, task: Task, tmp_path: Path) -> None:
    """Its server is killed in the middle of a round, and a device that has answered is gone; not so its answer."""
    whole, part = (Run(tmp_path / name, task.base, config(rounds=1)) for name in ("whole", "part"))
    devices = fleet(task, tmp_path)
    answers = {order.device: devices[order.device].work(order, arrays) for order, arrays in part.orders()}
    assert part.take("fan", 0, *answers["fan"]) == "taken"
    part.keep()
    part.leave()
    (kept,) = (tmp_path / "part").glob("answers-0.bin")
    if harmed:
        kept.write_bytes(kept.read_bytes()[:-1])
    part = Run(tmp_path / "part", task.base, config(rounds=1))
    part.orders()
    assert part.awaited == (["fan", "press", "pump"] if harmed else ["press", "pump"])
    for name in part.awaited:
        assert part.take(name, 0, *answers[name]) == "taken"
    assert set(part.close({}).shares) == set(devices)
    assert not list((tmp_path / "part").glob("answers-*"))
    play(whole, fleet(task, tmp_path / "again"))
    assert same(state(part.model()), state(whole.model()))


def test_late_doubled_and_forged_answers_do_not_count(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    devices = fleet(task, tmp_path)
    answers = {order.device: devices[order.device].work(order, arrays) for order, arrays in run.orders()}
    assert run.take("press", 0, *answers["press"]) == "taken"
    assert run.take("press", 0, *answers["press"]) == "doubled"
    run.refuse("press", 0, "a broken answer behind a good one")
    assert run.take("stranger", 0, *answers["press"]) == "stranger"
    assert run.take("fan", 0, *answers["press"]) == "refused"
    assert run.awaited == ["pump"]
    outcome = run.close({"pump": "switched off"})
    assert outcome.shares == {"press": 1.0}
    assert outcome.missing == {"pump": "switched off"}
    assert set(outcome.refused) == {"fan"} and "expected device fan, got press" in outcome.refused["fan"]
    assert run.take("pump", 0, *answers["pump"]) == "late"
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert kinds == ["begin", "plan", "doubled", "refused", "stranger", "refused", "round", "late"]


def test_after_a_refusal_a_device_may_answer_rightly(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    (order, arrays), *_ = run.orders()
    answer, sent = fleet(task, tmp_path)[order.device].work(order, arrays)
    assert run.take(order.device, 0, answer.changed(examples=25), sent) == "refused"
    assert run.take(order.device, 0, answer.changed(number=7), sent) == "refused"
    assert run.take(order.device, 0, answer, sent) == "taken"
    assert run.close({}).refused == {}


def test_too_few_answers_change_nothing(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(at_least=2))
    before = state(run.model())
    order, arrays = run.orders()[0]
    run.take(order.device, 0, *fleet(task, tmp_path)[order.device].work(order, arrays))
    outcome = run.close({})
    assert outcome.shares == {}
    assert set(outcome.missing.values()) == {"no answer by the deadline"}
    assert same(state(run.model()), before)


@pytest.mark.parametrize("mode", ["freeze_a", "zero_pad"])
def test_a_round_in_which_nobody_was_asked_changes_nothing(mode: str, task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(mode=mode))
    devices = fleet(task, tmp_path)
    for order, arrays in run.orders():
        run.take(order.device, 0, *devices[order.device].work(order, arrays))
    run.close({})
    before = state(run.model())
    run.orders(lambda _: Planned({}))
    assert run.close({}).shares == {}
    assert same(state(run.model()), before)


def test_fewer_than_a_rule_needs_change_nothing(task: Task, tmp_path: Path) -> None:
    """Two answers of which one may be an attacker's: nobody knows which."""
    run = Run(tmp_path / "run", task.base, config(rule="trimmed_mean", attackers=1))
    devices = fleet(task, tmp_path)
    for order, arrays in run.orders()[:2]:
        assert run.take(order.device, 0, *devices[order.device].work(order, arrays)) == "taken"
    assert run.close({}).shares == {}


def test_some_devices_may_be_asked_at_less_than_their_rank(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    orders = run.orders(lambda _: Planned({"pump": 2}))
    assert [(order.device, order.rank) for order, _ in orders] == [("pump", 2)]
    other = Run(tmp_path / "other", task.base, config())
    for ranks in ({"pump": 5}, {"stranger": 1}, {"pump": 0}):
        with pytest.raises(BadInput, match="rank 1 to"):
            other.orders(lambda _, ranks=ranks: Planned(ranks))
    assert other.orders(lambda _: Planned({})) == []


@pytest.mark.parametrize("mode", [name for name, mode in MODES.items() if mode.robust])
def test_who_counts_nothing_changes_nothing(mode: str, task: Task, tmp_path: Path) -> None:
    """The attacker is left out by the rule: the result is that of the other two alone, to the last bit."""
    settings = config(mode=mode, rule="trimmed_mean", attackers=1, eight_bits=False, rounds=1)
    ends = []
    for name, factor in (("a", -30.0), ("b", -900.0)):
        run, devices = Run(tmp_path / name, task.base, settings), fleet(task, tmp_path / name)
        for order, arrays in run.orders():
            answer, sent = devices[order.device].work(order, arrays)
            if order.device == "pump":
                sent = {key: np.asarray(np.float32(factor) * array) for key, array in sent.items()}
                answer = answer.changed(content=content(sent), examples=24)
            run.take(order.device, 0, answer, sent)
        assert run.close({}).shares["pump"] == 0.0
        ends.append(state(run.model(8)))
    for key, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][key], tensor, rtol=1e-4, atol=1e-5)


def test_a_lie_about_examples_does_not_help_where_somebody_is_doubted(task: Task, tmp_path: Path) -> None:
    devices = tuple(Enrolled(name, rank, 10**6) for name, rank in RANKS.items())
    run = Run(tmp_path / "run", task.base, config(devices=devices, rule="median", attackers=1))
    for order, arrays in run.orders():
        answer, sent = fleet(task, tmp_path)[order.device].work(order, arrays)
        run.take(order.device, 0, answer.changed(examples=10**6 if order.device == "pump" else 24), sent)
    assert run.close({}).shares["pump"] < 0.5


def test_reasons_are_one_line_and_short(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    run.orders()
    run.refuse("fan", 0, "\x1b[31mhot\n" + "x" * 10_000)
    reason = run.close({}).refused["fan"]
    assert reason.isprintable() and len(reason) <= 300


def test_other_options_and_other_leaders_are_refused(task: Task, other_base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    with pytest.raises(BadInput, match="another process"):
        Run(tmp_path / "run", task.base, config())
    run.leave()
    with pytest.raises(BadInput, match="other options"):
        Run(tmp_path / "run", task.base, config(steps=4))
    with pytest.raises(BadInput, match="another model"):
        Run(tmp_path / "run", other_base, config())
    with pytest.raises(BadInput, match="other options"):
        Run(tmp_path / "run", task.base, config(), about="other data")
    more = (*DEVICES[:2], DEVICES[2].changed(examples=25))
    with pytest.raises(BadInput, match="Device 'pump': expected 24 examples, as when the run began, got 25"):
        Run(tmp_path / "run", task.base, config(devices=more))
    Run(tmp_path / "run", task.base, config()).leave()


def test_a_changed_checkpoint_is_refused(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    play(run, fleet(task, tmp_path), until=1)
    run.leave()
    path = tmp_path / "run" / "round-0.safetensors"
    harmed = bytearray(path.read_bytes())
    harmed[-1] ^= 1
    path.write_bytes(bytes(harmed))
    with pytest.raises(BadInput, match="state after a round"):
        Run(tmp_path / "run", task.base, config())
    path.unlink()
    with pytest.raises(BadInput, match="restore it"):
        Run(tmp_path / "run", task.base, config())


def test_only_the_last_checkpoint_stays(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config())
    play(run, fleet(task, tmp_path))
    assert [path.name for path in (tmp_path / "run").glob("round-*")] == ["round-1.safetensors"]
    run.leave()
    (tmp_path / "run" / "round-0.safetensors").write_bytes(b"")  # as one that was killed before it was removed
    Run(tmp_path / "run", task.base, config()).leave()
    assert [path.name for path in (tmp_path / "run").glob("round-*")] == ["round-1.safetensors"]


def test_a_rule_needs_enough_answers() -> None:
    """Three that agree among themselves would be nearest to each other among seven, for multi-Krum."""
    devices = tuple(Enrolled(f"device {number}", 4, 24) for number in range(9))
    assert RunConfig(devices, rule="multi_krum", attackers=3).needed == 9
    assert RunConfig(devices, rule="median", attackers=4, at_least=2).needed == 9
    assert RunConfig(devices, at_least=2).needed == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"devices": ()},
        {"devices": (DEVICES[0], DEVICES[0])},
        {"devices": (Enrolled("a", 0, 5),)},
        {"mode": "median"},
        {"rule": "zero_pad"},
        {"attackers": 2, "rule": "median"},
        {"attackers": 1},
        {"rule": "trimmed_mean"},
        {"rule": "multi_krum"},
        {"rule": "multi_krum", "attackers": 1},
        {"rule": "median", "mode": "zero_pad"},
        {"at_least": 4},
        {"enough": 4},
        {"enough": 1, "at_least": 2},
        {"rounds": 0},
        {"learning_rate": float("nan")},
        {"deadline_s": float("inf")},
        {"seed": -1},
    ],
)
def test_runs_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="RunConfig"):
        config(**wrong)


def test_bytes_are_those_that_were_sent(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(eight_bits=False))
    devices, up, down = fleet(task, tmp_path), 0, 0
    for order, arrays in run.orders():
        answer, sent = devices[order.device].work(order, arrays)
        run.sent(order.device)
        run.take(order.device, 0, answer, sent)
        up += sum(np.asarray(array).nbytes for array in sent.values())
        down += sum(np.asarray(array).nbytes for array in arrays.values())
    outcome = run.close({})
    assert (outcome.up_bytes, outcome.down_bytes) == (up, down)
