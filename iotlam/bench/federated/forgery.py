"""Messages that are not what a device should send, one attack each, and what comes of a run that gets them.

Attackers are devices of the run with keys and names of their own, which have overheard all others and may send whatever
they like. They are honest in round 0 and attack in round 1, each in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo

from iotlam.bench.federated.fleet import EXAMPLES, RANKS, small_config, small_device
from iotlam.bench.federated.objects import Objects
from iotlam.contracts import IotlamError, Json
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import client_app, play, record_of
from iotlam.federated.grids import DEVICE, LocalGrid, PromptGrid
from iotlam.federated.local import Local
from iotlam.federated.messages import Answer, Arrays, Order, content
from iotlam.federated.outcome import Outcome
from iotlam.federated.rounds import Run

MOLES, ATTACKED = tuple(f"mole-{place}" for place in range(6)), 1
Sent = tuple[Answer, dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Overheard:
    """What the attacker knows.

    Attributes:
        asked: the message with its order.
        order: what it was asked.
        honest: what an honest device would answer.
        all: what each device has answered so far, its own included, by name and round.
    """

    asked: Message
    order: Order
    honest: Sent
    all: dict[tuple[str, int], Sent]

    def reply(self, text: object, arrays: Arrays) -> Message:
        """An answer of its own making."""
        return self.with_record(text, record_of(arrays))

    def with_record(self, text: object, record: ArrayRecord) -> Message:
        """The same, with arrays as they travel."""
        facts = ConfigRecord({"answer": text})  # type: ignore[dict-item]
        return Message(RecordDict({"facts": facts, "arrays": record}), reply_to=self.asked)


Forge = Callable[[Overheard], Message | Objects]
"""Makes an attacker's reply: a message, or what lies in its place at Flower's server."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: what it is.
        forge: the attacker's reply in its round; None for an honest one.
        nodes: more nodes: the name that each is registered under ('' for none), and the one that it gives itself.
        doubled: whether each reply comes twice.
        honest: whether the forged reply says what is true, only not as it should.
    """

    name: str
    forge: Forge | None = None
    nodes: tuple[tuple[str, object], ...] = ()
    doubled: bool = False
    honest: bool = False

    @property
    def counts(self) -> bool:
        """Whether the attacker's own answer is honest and has to count, once."""
        return self.forge is None or self.honest


@dataclass(slots=True)
class Stage:
    """Runs of the same devices, whose honest work is done once and then known by heart.

    Args:
        base: folder of the model to begin with.
        folder: where devices keep their memory, and runs their journals.
    """

    base: Path
    folder: Path
    known: dict[tuple[str, int, str], Sent] = field(default_factory=dict)
    devices: dict[str, Local] = field(default_factory=dict)
    count: int = 0

    @property
    def config(self) -> RunConfig:
        """The honest devices, and attackers of another rank than any of them."""
        enrolled = *small_config().devices, *(Enrolled(mole, 3, EXAMPLES) for mole in MOLES)
        return small_config(devices=enrolled, rounds=2)

    def play(self, attacks: Sequence[Attack]) -> tuple[list[Outcome], str, str]:
        """A run under attacks, one by each attacker; those who have none are honest.

        Returns:
            Its rounds, the digest of its last state, and what ended it before its time; '' for nothing.
        """
        self.count += 1
        run = Run(self.folder / f"run-{self.count}", self.base, self.config)
        app = _Cast(self, {mole: attack.forge for mole, attack in zip(MOLES, attacks, strict=False) if attack.forge})
        nodes = [(name, name) for name in (*RANKS, *MOLES)] + [node for attack in attacks for node in attack.nodes]
        with _Grid(app.client(), nodes, any(attack.doubled for attack in attacks)) as grid:
            try:
                play(run, PromptGrid(grid))
                ended = ""
            except Exception as error:
                ended = repr(error)
        run.leave()
        return run.outcomes, run.outcomes[-1].checkpoint if run.outcomes else "", ended

    def work(self, order: Order, arrays: Arrays) -> Sent:
        """What an honest device answers."""
        key = order.device, order.number, content(arrays)
        if key not in self.known:
            if order.device not in self.devices:
                self.devices[order.device] = small_device(order.device, self.base, self.folder)
            answer, sent = self.devices[order.device].work(order, arrays)
            self.known[key] = answer, dict(sent)
        answer, sent = self.known[key]
        return answer.changed(run=order.run, nonce=order.nonce), dict(sent)

    def answer(self, name: str, number: int) -> Sent:
        """What a device has answered in a round."""
        return next(sent for (device, when, _), sent in self.known.items() if (device, when) == (name, number))


def refused() -> Attack:
    """Nothing but a failure: what a run comes to without the attacker."""
    failure = RecordDict({"facts": ConfigRecord({"failure": "no"})})
    return Attack("a failure", lambda known: Message(failure, reply_to=known.asked))


def truth() -> Attack:
    """The honest answer as an attacker sends it: it has to count, or attacks are refused for how they are sent."""
    return Attack("the truth", lambda known: known.reply(known.honest[0].to_json(), known.honest[1]))


class _Cast:
    """All devices of one run, the attackers among them, as one client app."""

    def __init__(self, stage: Stage, forges: Mapping[str, Forge]) -> None:
        self._stage, self._forges = stage, forges
        self._all: dict[tuple[str, int], Sent] = {}

    def client(self) -> ClientApp:
        """Flower's app; nodes that were given something else than a text as their name say just that."""
        honest, app = client_app(lambda name, _: _Heard(self._stage, self._all)), ClientApp()

        @app.query()
        def query(message: Message, context: Context) -> Message:
            given = context.node_config[DEVICE]
            if isinstance(given, str):
                return honest(message, context)
            return Message(RecordDict({"facts": ConfigRecord({"name": given})}), reply_to=message)

        @app.train()  # type: ignore[arg-type]
        def train(message: Message, context: Context) -> Message | Objects:
            reply = honest(message, context)
            order = Order.from_json(str(message.content.config_records["facts"]["order"]), "order")
            forge = self._forges.get(order.device)
            if forge is None or context.node_config[DEVICE] != order.device or order.number != ATTACKED:
                return reply
            return forge(Overheard(message, order, self._all[order.device, ATTACKED], self._all))

        return app


class _Heard:
    """A device that works honestly, and is overheard."""

    def __init__(self, stage: Stage, heard: dict[tuple[str, int], Sent]) -> None:
        self._stage, self._heard = stage, heard

    def work(self, order: Order, arrays: Arrays) -> tuple[Answer, Arrays]:
        """Answer an order."""
        self._heard[order.device, order.number] = self._stage.work(order, arrays)
        return self._heard[order.device, order.number]


class _Grid(LocalGrid):
    """Nodes that may give another name than they are registered under; replies that come twice, or are no messages."""

    def __init__(self, app: ClientApp, nodes: list[tuple[str, object]], doubled: bool) -> None:
        super().__init__(app, [given for _, given in nodes])  # type: ignore[misc]
        self._registered = dict(zip(self.get_node_ids(), (name for name, _ in nodes), strict=True))
        self._doubled = doubled

    def get_nodes(self) -> list[NodeInfo]:
        """With the names that their keys were registered with."""
        return [NodeInfo(node_id=node, name=name or None) for node, name in self._registered.items()]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready; raises what Flower does at one that it cannot read."""
        found = [reply.read() if isinstance(reply, Objects) else reply for reply in super().pull_messages(message_ids)]
        return found * (2 if self._doubled else 1)


def replays_to_a_device(base: Path, folder: Path) -> list[Json]:
    """Orders that a device gets again, or that are for another: whether what it remembers has changed."""
    device, run = small_device("press", base, folder), Run(folder / "run", base, small_config(rounds=2))
    asked = []
    for _ in range(2):
        orders = {order.device: (order, arrays) for order, arrays in run.orders()}
        asked.append(orders)
        run.take("press", run.number, *device.work(*orders["press"]))
        run.close({})
    run.leave()
    (first, first_arrays), (last, last_arrays) = (orders["press"] for orders in asked)
    again = {
        "the order of an earlier round": (first, first_arrays),
        "its last order": (last, last_arrays),
        "another device's order": asked[1]["fan"],
        "an order for another model": (last.changed(base="0" * 64, nonce="new"), last_arrays),
    }
    memory = folder / "press.safetensors"
    rows = []
    for name, (order, arrays) in again.items():
        before = memory.read_bytes()
        try:
            device.work(order, arrays)
        except IotlamError:
            pass
        rows.append({"part": "forged", "attack": f"to a device: {name}", "accepted": memory.read_bytes() != before})
    return rows
