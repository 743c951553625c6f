from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp.strategy import FedAdam, FedAvg

from iotlam.bench.federated.places import counted
from iotlam.contracts import BadInput
from iotlam.federated.config import RunConfig
from iotlam.federated.flower import client_app, play
from iotlam.federated.grids import Answering, LocalGrid, PromptGrid
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.messages import Given
from iotlam.federated.rounds import Run
from iotlam.federated.strategies import initial_arrays, resulting_model

from .test_rounds import RANKS, config, fleet, same, state
from .test_rounds import play as play_without_flower

Work = Callable[..., object]


@pytest.fixture
def run(task: Task, tmp_path: Path) -> Callable[[RunConfig], Run]:
    return lambda settings: Run(tmp_path / "run", task.base, settings)


def test_flower_carries_a_run_to_the_same_weights_as_none(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path / "a")
    ours, outcomes = run(config()), []
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        play(ours, grid, lambda run: outcomes.append(run.outcomes[-1]))
    plain = Run(tmp_path / "plain", task.base, config())
    play_without_flower(plain, fleet(task, tmp_path / "b"))
    assert same(state(ours.model()), state(plain.model()))
    assert [outcome.shares for outcome in outcomes] == [outcome.shares for outcome in plain.outcomes]


class Harmed:
    """A device that fails in its own way."""

    def __init__(self, device: Local, work: Work) -> None:
        self._device, self._work = device, work

    def work(self, *asked: object) -> object:
        return self._work(self._device, *asked)


RELEASED = threading.Event()


def slow(device: Local, *asked: object) -> object:
    RELEASED.wait(30.0)
    return device.work(*asked)  # type: ignore[arg-type]


def raises(device: Local, *asked: object) -> object:
    raise RuntimeError("the disk\nis on fire")


def refuses(device: Local, *asked: object) -> object:
    raise BadInput("Sensor", expected="a signal", got="silence", fix="plug it in")


@pytest.mark.parametrize(
    ("work", "where", "why"),
    [
        (slow, "missing", "no answer by the deadline"),
        (raises, "refused", "the disk is on fire"),
        (refuses, "refused", "Sensor: expected a signal, got silence; plug it in."),
    ],
)
def test_a_round_goes_on_without_a_device_and_says_why(task: Task, tmp_path: Path, run, work, where, why) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    failing = {**devices, "press": Harmed(devices["press"], work)}
    leader = run(config(rounds=1, deadline_s=4.0))
    for order, _ in leader.orders():  # models are built before the clock runs
        devices[order.device]._model(order)
    RELEASED.clear()
    with LocalGrid(client_app(lambda name, _: failing[name]), failing, workers=3) as grid:
        start = time.monotonic()
        play(leader, grid)
        assert time.monotonic() - start < 5.0
        RELEASED.set()
    (outcome,) = leader.outcomes
    assert set(outcome.shares) == {"fan", "pump"}
    assert why in getattr(outcome, where)["press"]


def test_a_device_that_is_not_there_is_named(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=3.0))
    with LocalGrid(client_app(lambda name, _: devices[name]), ["fan", "pump"]) as grid:
        play(leader, grid)
    assert leader.outcomes[0].missing["press"] == "not connected"


def test_what_comes_late_is_logged_and_does_not_count(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    failing = {**devices, "press": Harmed(devices["press"], slow)}
    leader = run(config(rounds=2, deadline_s=4.0))
    for order, _ in leader.orders():
        devices[order.device]._model(order)
    RELEASED.clear()
    with LocalGrid(client_app(lambda name, _: failing[name]), failing, workers=3) as grid:
        play(leader, grid, lambda _: RELEASED.set())
    first, second = leader.outcomes
    assert "press" in first.missing
    assert set(second.shares) == set(devices), "it answers the next round"
    assert '"kind": "late"' in (tmp_path / "run" / "journal.jsonl").read_text()


def test_an_order_whose_round_is_over_is_not_worked_on() -> None:
    app, done = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        done.append(context.node_id)
        time.sleep(0.3)
        return Message(RecordDict(), reply_to=message)

    with LocalGrid(app, ["a", "b"]) as grid:
        messages = [Message(RecordDict(), node, "train", ttl=0.1) for node in grid.get_node_ids()]
        sent = grid.push_messages(messages)
        time.sleep(0.8)
        replies = grid.pull_messages(sent)
    assert len(done) == 1
    assert [reply.has_error() for reply in replies] == [False, True]


HOSTILE = {
    "no answer": RecordDict({"facts": ConfigRecord({"something": "else"})}),
    "no facts": RecordDict(),
    "no text": RecordDict({"facts": ConfigRecord({"failure": 5})}),
    "no JSON": RecordDict({"facts": ConfigRecord({"answer": "[" * 5000})}),
    "no array": RecordDict(
        {
            "facts": ConfigRecord({"answer": "{}"}),
            "arrays": ArrayRecord({"x": Array("float32", (3,), "numpy.ndarray", b"\x93NUMPY garbage")}),
        }
    ),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_messages_of_another_kind_are_refused_and_the_round_goes_on(task: Task, tmp_path: Path, run, hostile) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    honest = client_app(lambda name, _: devices[name])
    app, asked = ClientApp(), []

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return honest(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if context.node_config["device"] != "press":
            return honest(message, context)
        asked.append(message)
        return Message(HOSTILE[hostile], reply_to=message)

    leader = run(config(rounds=1, deadline_s=30.0))
    with LocalGrid(app, devices) as grid:
        play(leader, grid)
    assert set(leader.outcomes[0].shares) == {"fan", "pump"}
    assert "press" in leader.outcomes[0].refused
    assert len(asked) == 1, "it is not asked again and again"


def test_a_node_that_gives_the_name_of_another_is_not_listened_to(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=30.0))
    with LocalGrid(client_app(lambda name, _: devices[name]), [*devices, "press"]) as grid:
        play(leader, grid)
    assert set(leader.outcomes[0].shares) == set(devices)
    assert "name of another node" in (tmp_path / "run" / "journal.jsonl").read_text()


class Coming(LocalGrid):
    """Two nodes that say they are the same device; the first of them goes after the first round."""

    gone = False

    def get_node_ids(self) -> list[int]:
        return super().get_node_ids()[1 if self.gone else 0 :]


def test_a_device_that_comes_back_before_it_was_missed_is_listened_to_when_the_first_is_gone(  # type: ignore[no-untyped-def]
    task: Task, tmp_path: Path, run
) -> None:
    devices = fleet(task, tmp_path)
    leader = run(config(deadline_s=30.0))
    with Coming(client_app(lambda name, _: devices[name]), ["press", "fan", "pump", "press"]) as grid:
        play(leader, grid, lambda _: setattr(grid, "gone", True))
    assert [set(outcome.shares) for outcome in leader.outcomes] == [set(devices)] * 2


class Full(LocalGrid):
    """Flower takes no message for one device, as if it were too large."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        given = list(messages)
        return [] if given[0].metadata.dst_node_id == self.get_node_ids()[0] else super().push_messages(given)


def test_what_flower_does_not_take_ends_no_run(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=3.0))
    with Full(client_app(lambda name, _: devices[name]), devices) as grid:
        play(leader, grid)
    assert leader.outcomes[0].missing == {"fan": "not connected"}


class Stalled(LocalGrid):
    """The first device's reply has begun to come, and does not end; Flower waits for the rest within the pull."""

    def __init__(self, app: Answering, devices: Iterable[str]) -> None:
        devices = list(devices)
        super().__init__(app, devices, workers=len(devices))
        self.stalled: set[str] = set()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        given = list(messages)
        sent = super().push_messages(given)
        if given[0].metadata.dst_node_id == self.get_node_ids()[0] and given[0].metadata.message_type == "train":
            self.stalled |= set(sent)
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        given = list(message_ids)
        if self.stalled & set(given):
            RELEASED.wait(60.0)
        return super().pull_messages(given)


def test_a_reply_that_does_not_end_holds_up_nobody(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=4.0))
    for order, _ in leader.orders():
        devices[order.device]._model(order)
    RELEASED.clear()
    with Stalled(client_app(lambda name, _: devices[name]), devices) as grid:
        start = time.monotonic()
        play(leader, PromptGrid(grid))
        assert time.monotonic() - start < 5.0
        RELEASED.set()
    assert set(leader.outcomes[0].shares) == {"press", "pump"}
    assert leader.outcomes[0].missing == {"fan": "no answer by the deadline"}


def test_a_pull_that_fails_ends_the_run_with_its_error() -> None:
    class Broken(LocalGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
            raise ConnectionError("gone")

    with Broken(ClientApp(), ["a"]) as grid:
        prompt = PromptGrid(grid)
        with pytest.raises(ConnectionError):
            for _ in range(100):
                assert prompt.pull_messages(["x"]) == []
                time.sleep(0.05)


def test_a_round_ends_when_enough_have_answered(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    def sleeps(device: Local, *asked: object) -> object:
        RELEASED.wait(60.0)
        return device.work(*asked)  # type: ignore[arg-type]

    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=60.0, enough=2))
    RELEASED.clear()
    with LocalGrid(
        client_app(lambda name, _: {**devices, "fan": Harmed(devices["fan"], sleeps)}[name]), devices, 3
    ) as grid:
        start = time.monotonic()
        play(leader, grid)
        assert time.monotonic() - start < 30.0
        RELEASED.set()
    assert set(leader.outcomes[0].shares) == {"press", "pump"}
    assert leader.outcomes[0].missing == {"fan": "no answer when enough others had answered"}


class Garbled(LocalGrid):
    """The first device's reply is bytes that Flower cannot make a message of."""

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        found = super().pull_messages(message_ids)
        if any(reply.metadata.src_node_id == self.get_node_ids()[0] and reply.has_content() for reply in found):
            raise KeyError("a part that is not there")
        for reply in found:
            reply.metadata.__dict__["_reply_to_message_id"] = "another's"
        return found


def test_a_reply_that_is_no_message_is_refused_and_the_round_goes_on(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices = fleet(task, tmp_path)
    leader = run(config(rounds=1, deadline_s=30.0))
    grid = Garbled(client_app(lambda name, _: devices[name]), devices)
    nodes = [NodeInfo(node_id=node, name=name) for node, name in zip(grid.get_node_ids(), devices, strict=True)]
    with grid, pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "get_nodes", lambda: nodes)
        play(leader, PromptGrid(grid))
    assert set(leader.outcomes[0].shares) == {"press", "pump"}
    assert "a part that is not there" in leader.outcomes[0].refused["fan"]


def test_devices_that_work_in_turn_have_the_time_of_a_round_each(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    def takes_a_while(device: Local, *asked: object) -> object:
        time.sleep(1.5)
        return device.work(*asked)  # type: ignore[arg-type]

    devices = {name: Harmed(device, takes_a_while) for name, device in fleet(task, tmp_path).items()}
    leader = run(config(rounds=1, deadline_s=3.0))
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        play(leader, grid)
    assert set(leader.outcomes[0].shares) == set(devices)


def test_a_slow_device_costs_the_others_no_round_but_its_own(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices, slept = fleet(task, tmp_path), []

    def sleeps_once(device: Local, *asked: object) -> object:
        if not slept:
            slept.append(time.sleep(3.5))
        return device.work(*asked)  # type: ignore[arg-type]

    devices = {**devices, "fan": Harmed(devices["fan"], sleeps_once)}
    leader = run(config(rounds=2, deadline_s=2.0))
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        play(leader, grid)
    first, second = leader.outcomes
    assert first.missing["fan"] == "no answer by the deadline"
    assert {first.missing[name] for name in ("press", "pump")} == {"its turn had not come by the deadline"}
    assert set(second.shares) >= {"press", "pump"}


def test_a_device_that_is_killed_again_and_again_is_not_asked_for_ever(task: Task, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    devices, killed = fleet(task, tmp_path), []
    honest = client_app(lambda name, _: devices[name])

    def answering(message: Message, context: Context) -> Message:
        if context.node_config["device"] != "press" or message.metadata.message_type != "train":
            return honest(message, context)
        killed.append(message)
        return Message(Error(ErrorCode.CLIENT_APP_CRASHED, "out of memory"), reply_to=message)

    leader = run(config(rounds=1, deadline_s=60.0))
    with LocalGrid(answering, devices) as grid:
        play(leader, grid)
    assert len(killed) == 3
    assert "out of memory" in leader.outcomes[0].refused["press"]


def test_a_strategy_goes_on_without_devices_that_hold_nothing_out(task: Task, tmp_path: Path) -> None:
    devices = {
        name: Local(name, task, LocalData([counted(seed) for seed in range(4)], []), tmp_path / f"{name}.st")
        for name in RANKS
    }
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        result = FedAvg(min_available_nodes=3).start(
            grid, initial_arrays(task.base, rank=2), num_rounds=1, timeout=60.0, train_config=ConfigRecord({"steps": 1})
        )
    assert not result.evaluate_metrics_clientapp


@pytest.mark.parametrize("strategy", [FedAvg, FedAdam])
def test_flowers_own_strategies_plug_in(task: Task, tmp_path: Path, strategy: type[FedAvg]) -> None:
    devices = fleet(task, tmp_path)
    start = initial_arrays(task.base, rank=4)
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        result = strategy(min_available_nodes=3).start(
            grid, start, num_rounds=2, timeout=60.0, train_config=ConfigRecord({"steps": 2, "learning-rate": 0.01})
        )
    scores = [record["score"] for record in result.evaluate_metrics_clientapp.values()]
    assert len(scores) == 2
    assert all(0.0 <= score <= 1.0 for score in scores)
    learnt = state(resulting_model(task.base, result.arrays))
    assert not same(learnt, state(resulting_model(task.base, start)))


def test_one_round_of_flowers_mean_is_that_of_ours(task: Task, tmp_path: Path) -> None:
    """Equal shares, one rank: what FedAvg makes of A and B is zero-padding without anything to pad."""
    devices = fleet(task, tmp_path)
    given = Given.of({name: a.numpy() for name, a in initial_arrays(task.base, rank=4).items()})
    found = [device.fit(given, number=1, steps=2, learning_rate=0.01)[0] for device in devices.values()]
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        config = ConfigRecord({"steps": 2, "learning-rate": 0.01})
        result = FedAvg(min_available_nodes=3, fraction_evaluate=0.0).start(
            grid, initial_arrays(task.base, rank=4), num_rounds=1, timeout=60.0, train_config=config
        )
    resulting = Given.of({name: a.numpy() for name, a in result.arrays.items()})
    for layer, factors in resulting.start.items():
        mean = torch.stack([one.start[layer].b_OR for one in found]).mean(0)
        torch.testing.assert_close(factors.b_OR, mean, rtol=1e-4, atol=1e-6)
