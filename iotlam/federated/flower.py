"""Flower carries orders and answers over any grid (`iotlam.federated.grids`).

The same client app runs in one process and on SuperNodes; the round loop is ours, for Flower's own waits
without end for devices that are gone, and forgets what it has done when it is killed. Devices are known by the name
that their node's key was registered with, or without keys by the one in their node's configuration; never by a number.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from iotlam.contracts import BadInput, IotlamError
from iotlam.contracts.errors import as_said, one_line
from iotlam.federated import strategies
from iotlam.federated.grids import DEVICE, POLL_S, Carries
from iotlam.federated.local import Local
from iotlam.federated.messages import Answer, Arrays, Order, from_bytes, to_bytes
from iotlam.federated.outcome import Planned
from iotlam.federated.rounds import Run

POLL_SHARE, MOST_S = 0.02, 1.0
"""How long until replies are asked for: a share of the time that has passed in a round; no more seconds than."""

FILE = "safetensors"
"""The array of a message that holds all arrays, and how."""

GONE = (
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
)
"""Errors after which a device may come back and be asked again."""


DEADLINE = "by the deadline"

CRASHES = 3
"""After so many in a round a device is not asked again in it."""


class Works(Protocol):
    """A device: a `Local`, or what stands for one."""

    def work(self, order: Order, arrays: Arrays) -> tuple[Answer, Arrays]:
        """Answer an order."""
        ...


def client_app(find: Callable[[str, Context], Works]) -> ClientApp:
    """Flower's client app of devices: it answers our orders, and Flower's own strategies.

    Args:
        find: the device of a name; called at each message, since on SuperNodes each message has its own process.
    """
    app = ClientApp()

    def plain(context: Context) -> Local:
        device = find(str(context.node_config[DEVICE]), context)
        assert isinstance(device, Local)
        return device

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return strategies.evaluate(plain(context), message)

    @app.query()
    def tell_name(message: Message, context: Context) -> Message:
        return Message(_facts("name", str(context.node_config[DEVICE])), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if strategies.CONFIG in message.content.config_records:
            return strategies.train(plain(context), message)
        name = str(context.node_config[DEVICE])
        try:
            order = Order.from_json(_fact(message, "order"), f"Order for '{name}'")
            answer, sent = find(name, context).work(order, _arrays(message))
        except IotlamError as error:
            return Message(_facts("failure", str(error)), reply_to=message)
        return Message(_content("answer", answer.to_json(), record_of(sent)), reply_to=message)

    return app


def play(
    run: Run,
    grid: Carries,
    on_round: Callable[[Run], object] = lambda _: None,
    planner: Callable[[Run], Planned] | None = None,
) -> None:
    """Do what is left of a run; each round ends by its deadline, whoever has answered.

    Args:
        run: the server's side.
        grid: the way to the nodes.
        on_round: told of the run after each round.
        planner: says who takes part in a round; None for all.
    """
    loop = _Loop(run, grid, planner)
    while not run.finished:
        loop.round()
        on_round(run)


class _Loop:
    """Orders go out as their devices appear, answers come in until all have answered or the time is up."""

    def __init__(self, run: Run, grid: Carries, planner: Callable[[Run], Planned] | None) -> None:
        self._run, self._grid, self._planner = run, grid, planner
        self._enrolled = {device.name for device in run.config.devices}
        self._there: set[int] = set()
        self._names: dict[int, str] = {}
        """By node, in the order in which they were known."""
        self._calls: dict[str, int] = {}
        self._asked: dict[str, tuple[str, int, int]] = {}
        """By message: device, node and round; those of earlier rounds, too, for what comes late is logged."""
        self._open: set[str] = set()
        """Orders that have no reply."""
        self._crashes: Counter[str] = Counter()
        """Of each device in this round."""
        self._deadline = 0.0

    @property
    def _left_s(self) -> float:
        """Of the round."""
        return self._deadline - time.monotonic()

    def round(self) -> None:
        """One round."""
        whole_s = self._run.config.deadline_s
        self._deadline = time.monotonic() + whole_s
        self._crashes.clear()
        orders = self._contents()
        causes = dict.fromkeys(orders, "not connected")
        while not self._run.complete and self._left_s > 0:
            self._order(self._nodes(), orders, causes)
            time.sleep(min(max(POLL_SHARE * (whole_s - self._left_s), POLL_S), MOST_S, max(self._left_s, 0.0)))
            for reply in self._grid.pull_messages([*self._calls, *self._open]):
                self._take(reply, causes)
                if self._grid.in_turn:
                    self._deadline = time.monotonic() + whole_s
            self._run.keep()
        for message in self._grid.withdraw(self._open):
            self._open.discard(message)
            causes[self._asked.pop(message)[0]] = f"its turn had not come {DEADLINE}"
        if self._run.complete:  # `enough` of them
            causes = {name: why.replace(DEADLINE, "when enough others had answered") for name, why in causes.items()}
        self._run.close(causes)

    def _nodes(self) -> dict[str, int]:
        """The nodes that are there, by device; nodes whose names nobody knows yet are asked for them.

        The name that a node's key was registered with is its name, whatever it says; of nodes that only say the same
        name, the first has it.
        """
        nodes = list(self._grid.get_nodes())
        self._there, registered = {node.node_id for node in nodes}, {n.node_id: n.name for n in nodes if n.name}
        for node, name in registered.items():
            if node not in self._names:
                self._introduce(node, name)
        self._call(sorted(self._there - self._names.keys() - set(self._calls.values())))
        found: dict[str, int] = {}
        for node in sorted(self._names, key=lambda node: node not in registered):
            if node in self._there:
                found.setdefault(self._names[node], node)
        return found

    def _contents(self) -> dict[str, RecordDict]:
        """What each device is sent; those that are given the same have the same arrays."""
        found: dict[str, RecordDict] = {}
        records: dict[int, ArrayRecord] = {}
        for order, arrays in self._run.orders(self._planner):
            if id(arrays) not in records:
                records[id(arrays)] = record_of(arrays)
            found[order.device] = _content("order", order.to_json(), records[id(arrays)])
        return found

    def _call(self, nodes: Sequence[int]) -> None:
        """Ask nodes for their names."""
        for node in nodes:
            if message := self._push(node, MessageType.QUERY, RecordDict()):
                self._calls[message] = node

    def _order(self, nodes: Mapping[str, int], orders: Mapping[str, RecordDict], causes: dict[str, str]) -> None:
        """Send orders to the devices that are there and have not got theirs; one that came back is asked again."""
        asked = {self._asked[message][1] for message in self._open if self._asked[message][2] == self._run.number}
        for name in self._run.awaited:
            if name not in nodes or nodes[name] in asked:
                continue
            if message := self._push(nodes[name], MessageType.TRAIN, orders[name]):
                self._asked[message] = name, nodes[name], self._run.number
                self._open.add(message)
                self._run.sent(name)
                before = causes[name] if name in self._crashes else ""
                causes[name] = f"no answer {DEADLINE}" + (f"; before, {before}" if before else "")

    def _push(self, node: int, kind: str, content: RecordDict) -> str:
        """Send a message; '' if it could not be. One by one: what is too large for Flower is so for one device only."""
        if (left_s := self._left_s) <= 0:
            return ""
        if self._grid.in_turn:
            left_s *= len(self._run.config.devices)  # it may be the last one's turn
        message = Message(content, node, kind, ttl=left_s, group_id=str(self._run.number))
        return next(iter(self._grid.push_messages([message])), None) or ""

    def _take(self, reply: Message, causes: dict[str, str]) -> None:
        """A node may answer as often as it likes, and whatever it likes."""
        message = reply.metadata.reply_to_message_id
        if (node := self._calls.pop(message, None)) is not None:
            self._answer_call(node, reply)
            return
        if message not in self._asked:
            return
        self._open.discard(message)
        name, _, number = self._asked[message]
        if reply.has_error() and reply.error.code in GONE:
            if number == self._run.number:
                self._gone(name, reply.error, causes)
            return
        try:
            answer, arrays = _answer(reply, name)
        except Exception as error:  # what came may be anything
            self._run.refuse(name, number, as_said(error))
        else:
            self._run.take(name, number, answer, arrays)

    def _gone(self, name: str, error: Error, causes: dict[str, str]) -> None:
        """A device may come back; one whose app was killed, as for want of memory, only so often."""
        causes[name] = _reason(error)
        self._crashes[name] += error.code == ErrorCode.CLIENT_APP_CRASHED
        if self._crashes[name] >= CRASHES:
            self._run.refuse(name, self._run.number, f"{causes[name]}, {CRASHES} times")

    def _answer_call(self, node: int, reply: Message) -> None:
        if reply.has_error() and reply.error.code in GONE:
            return
        try:
            name = _fact(reply, "name")
        except Exception:  # as above
            name = ""
        self._introduce(node, name)

    def _introduce(self, node: int, name: str) -> None:
        """A node has a name; who gives none of this run, or that of a node that is there, is not listened to."""
        if name not in self._enrolled:
            self._run.refuse(name, -1, f"node {node} is no device of this run, and is not listened to")
        elif any(known == name and other in self._there for other, known in self._names.items()):
            self._run.refuse(name, -1, f"node {node} gives the name of another node, and is not listened to")
        self._names[node] = name


def _answer(reply: Message, name: str) -> tuple[Answer, Arrays]:
    """A device's answer.

    Raises:
        Exception: of any kind, if it is none, or a failure.
    """
    if reply.has_error():
        raise ValueError(_reason(reply.error))
    if failure := _fact(reply, "failure", ""):
        raise ValueError(failure)
    return Answer.from_json(_fact(reply, "answer"), f"Answer of device '{name}'"), _arrays(reply)


def _content(kind: str, text: str, arrays: ArrayRecord) -> RecordDict:
    return RecordDict({"facts": ConfigRecord({kind: text}), "arrays": arrays})


def record_of(arrays: Arrays) -> ArrayRecord:
    """All arrays as one of Flower's: each of its own costs more than its numbers."""
    file = to_bytes(arrays)
    return ArrayRecord({FILE: Array("uint8", (len(file),), FILE, file)})


def _facts(kind: str, text: str) -> RecordDict:
    return RecordDict({"facts": ConfigRecord({kind: text})})


def _fact(message: Message, kind: str, default: str | None = None) -> str:
    """A text among a message's facts.

    Raises:
        BadInput: if it is not there and there is no default.
    """
    record = message.content.config_records.get("facts", ConfigRecord()) if message.has_content() else ConfigRecord()
    text = record.get(kind, default)
    if not isinstance(text, str):
        got = ", ".join(record) or "nothing"
        raise BadInput("Message", expected=f"'{kind}'", got=got, fix="run the same version of iotlam on all devices")
    return text


def _arrays(message: Message) -> dict[str, NDArray[np.generic]]:
    return from_bytes(message.content.array_records["arrays"][FILE].data)


def _reason(error: Error) -> str:
    """What Flower says of a failure, as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", error.reason or "no reason given")
    return f"Flower error {error.code}: {one_line(text)}"
