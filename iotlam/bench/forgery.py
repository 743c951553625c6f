"""Messages that are not what a device should send, one attack each, and what comes of a run that gets them.

Attackers are devices of the run with keys and names of their own, which have overheard all others and may send whatever
they like. They are honest in round 0 and attack in round 1, each in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo

from iotlam.bench.fleet import EXAMPLES, RANKS, small_config, small_device
from iotlam.contracts import IotlamError, Json
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.flower import DEVICE, LocalGrid, client_app, play
from iotlam.federated.local import Local
from iotlam.federated.messages import Answer, Arrays, Order, content
from iotlam.federated.rounds import Outcome, Run

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
        record = ArrayRecord({name: Array(np.asarray(array, order="C")) for name, array in arrays.items()})
        return self.with_record(text, record)

    def with_record(self, text: object, record: ArrayRecord) -> Message:
        """The same, with arrays as they travel."""
        facts = ConfigRecord({"answer": text})  # type: ignore[dict-item]
        return Message(RecordDict({"facts": facts, "arrays": record}), reply_to=self.asked)


Forge = Callable[[Overheard], Message]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: what it is.
        forge: the attacker's reply in its round; None for an honest one.
        nodes: more nodes: the name that each is registered under ('' for none), and the one that it gives itself.
        doubled: whether each reply comes twice.
    """

    name: str
    forge: Forge | None = None
    nodes: tuple[tuple[str, object], ...] = ()
    doubled: bool = False

    @property
    def counts(self) -> bool:
        """Whether the attacker's own answer is honest and has to count, once."""
        return self.forge is None


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
                play(run, grid)
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

        @app.train()
        def train(message: Message, context: Context) -> Message:
            reply = honest(message, context)
            order = Order.from_json(str(message.content.config_records["facts"]["order"]), "order")
            forge = self._forges.get(order.device)
            if forge is None or context.node_config[DEVICE] != order.device or order.number != ATTACKED:
                return reply
            return forge(Overheard(message, order, self._all[order.device, ATTACKED], self._all))

        return app


class _Heard(Local):
    """A device that works honestly, and is overheard."""

    def __init__(self, stage: Stage, heard: dict[tuple[str, int], Sent]) -> None:
        self._stage, self._heard = stage, heard

    def work(self, order: Order, arrays: Arrays) -> tuple[Answer, Arrays]:
        """Answer an order."""
        self._heard[order.device, order.number] = self._stage.work(order, arrays)
        return self._heard[order.device, order.number]


class _Grid(LocalGrid):
    """Nodes that may be registered under another name than they give, and replies that may come twice."""

    def __init__(self, app: ClientApp, nodes: list[tuple[str, object]], doubled: bool) -> None:
        super().__init__(app, [given for _, given in nodes])  # type: ignore[misc]
        self._registered = dict(zip(self.get_node_ids(), (name for name, _ in nodes), strict=True))
        self._doubled = doubled

    def get_nodes(self) -> list[NodeInfo]:
        """With the names that their keys were registered with."""
        return [NodeInfo(node_id=node, name=name or None) for node, name in self._registered.items()]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready."""
        return super().pull_messages(message_ids) * (2 if self._doubled else 1)


def attacks(honest: Sent, seed: int) -> list[Attack]:
    """All attacks.

    Args:
        honest: an answer of the attacker's, for the names of its arrays and the length of its text.
        seed: of what is drawn: which arrays are harmed in which way.
    """
    return [
        *_replays(),
        *_lies(),
        *_texts(len(honest[0].to_json())),
        *_arrays(honest[1], np.random.default_rng((seed, 71))),
        *_messages(),
        *_nodes(),
    ]


def _replays() -> Iterator[Attack]:
    def itself(known: Overheard) -> Message:
        answer, sent = known.all[known.order.device, 0]
        return known.reply(answer.to_json(), sent)

    yield Attack("replay of its own, round 0", itself)
    for name, number in ((name, number) for name in RANKS for number in (0, ATTACKED)):

        def old(known: Overheard, key: tuple[str, int] = (name, number)) -> Message:
            answer, sent = known.all[key]
            return known.reply(answer.to_json(), sent)

        def renamed(known: Overheard, key: tuple[str, int] = (name, number)) -> Message:
            answer, sent = known.all[key]
            mine = answer.changed(device=known.order.device, number=ATTACKED)
            return known.reply(mine.to_json(), sent)

        def arrays_of(known: Overheard, key: tuple[str, int] = (name, number)) -> Message:
            _, sent = known.all[key]
            return known.reply(known.honest[0].changed(content=content(sent)).to_json(), sent)

        yield Attack(f"replay of {name}, round {number}", old)
        yield Attack(f"replay of {name}, round {number}, in its own name", renamed)
        yield Attack(f"arrays of {name}, round {number}, as its own", arrays_of)
    yield Attack("all replies twice", doubled=True)


LIES: dict[str, tuple[object, ...]] = {
    "run": ("other", ""),
    "number": (0, 2, -1, 2**62),
    "device": (*RANKS, "stranger", ""),
    "nonce": ("0" * 16, "", "x" * 10_000),
    "base": ("0" * 64, ""),
    "examples": (0, -1, 25, 10**9, 2**62, -(2**62)),
    "score_before": (1.5, -0.5, 1e308, -1e308),
    "loss": (-0.5, -2.0, -1e308),
    "seconds": (-1.0, -1e308),
    "content": ("0" * 64, "", "x" * 10_000),
}
ODD_JSON = ("null", "NaN", "Infinity", "1e400", "1" + "0" * 400, "[]", "{}", '"text"', "true", "-0", "1.5", "[[[[]]]]")


def _lies() -> Iterator[Attack]:
    for name, values in LIES.items():
        for value in values:

            def lie(known: Overheard, name: str = name, value: object = value) -> Message:
                answer, sent = known.honest
                return known.reply(answer.changed(**{name: value}).to_json(), sent)

            yield Attack(f"{name} is {str(value)[:20]}", lie)


def _texts(length: int) -> Iterator[Attack]:
    """Answers that are no answers, as text."""
    for at in range(0, length, max(length // 25, 1)):
        yield Attack(f"JSON cut off at {at}", _text(lambda text, at=at: text[:at]))  # type: ignore[misc]
    for name in LIES:
        yield Attack(f"no {name}", _facts(lambda facts, name=name: facts.pop(name)))  # type: ignore[misc]
        for odd in ODD_JSON:
            if _fits(name, odd):
                continue

            def replaced(text: str, name: str = name, odd: str = odd) -> str:
                return json.dumps({**json.loads(text), name: "ODD"}).replace('"ODD"', odd)

            yield Attack(f"{name} is JSON {odd[:20]}", _text(replaced))
    for odd in ("", "[" * 100_000, '{"a":' * 100_000, "\x00", "\ud7ff", "x" * 1_000_000, *ODD_JSON):
        yield Attack(f"JSON is {odd[:12]!r}", _text(lambda _, odd=odd: odd))  # type: ignore[misc]


def _fits(name: str, odd: str) -> bool:
    """Whether a number is one that the attacker may truly say: how long it took, and how well it went."""
    return (name, odd) in {
        ("score_before", "-0"),
        ("loss", "-0"),
        ("loss", "1.5"),
        ("seconds", "-0"),
        ("seconds", "1.5"),
    }


def _text(change: Callable[[str], object]) -> Forge:
    return lambda known: known.reply(change(known.honest[0].to_json()), known.honest[1])


def _facts(change: Callable[[Json], object]) -> Forge:
    def forge(known: Overheard) -> Message:
        facts = json.loads(known.honest[0].to_json())
        change(facts)
        return known.reply(json.dumps(facts), known.honest[1])

    return forge


def _spoilt(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[int(np.abs(array).argmax())] = value
    return changed


Harms = dict[str, Callable[[dict[str, np.ndarray], str], dict[str, np.ndarray]]]
HARMS: Harms = {
    "NaN": lambda sent, name: {**sent, name: _spoilt(sent[name], np.nan)},
    "infinite": lambda sent, name: {**sent, name: _spoilt(sent[name], np.inf)},
    "huge": lambda sent, name: {**sent, name: _spoilt(sent[name], 1e30)},
    "minus huge": lambda sent, name: {**sent, name: _spoilt(sent[name], -1e30)},
    "shorter": lambda sent, name: {**sent, name: sent[name][:-1]},
    "longer": lambda sent, name: {**sent, name: np.concatenate([sent[name], sent[name]])},
    "one more dimension": lambda sent, name: {**sent, name: sent[name][None]},
    "scalar": lambda sent, name: {**sent, name: sent[name].sum().astype(sent[name].dtype)},
    "empty": lambda sent, name: {**sent, name: sent[name][:0]},
    "double": lambda sent, name: {**sent, name: sent[name].astype(np.float64)},
    "unsigned": lambda sent, name: {**sent, name: sent[name].astype(np.uint8)},
    "big-endian": lambda sent, name: {**sent, name: sent[name].astype(">i4")},
    "complex": lambda sent, name: {**sent, name: sent[name].astype(np.complex64)},
    "text": lambda sent, name: {**sent, name: np.full(sent[name].shape, "x")},
    "dates": lambda sent, name: {**sent, name: np.zeros(sent[name].shape, "datetime64[s]")},
    "missing": lambda sent, name: {key: value for key, value in sent.items() if key != name},
    "renamed": lambda sent, name: {(key if key != name else f"{key}x"): value for key, value in sent.items()},
    "one more": lambda sent, name: {**sent, f"adapter/other/{name}": sent[name]},
}
FLOATS_ONLY = ("NaN", "infinite", "huge", "minus huge")


def _arrays(sent: dict[str, np.ndarray], rng: np.random.Generator) -> Iterator[Attack]:
    """Arrays that are not what was asked for, under a digest that is right, and others under one that is not."""
    for harm, change in HARMS.items():
        fitting = [name for name in sorted(sent) if harm not in FLOATS_ONLY or _is_step_of_a_change(sent[name])]
        for name in rng.choice(fitting, size=4, replace=False).tolist():

            def harmed(known: Overheard, name: str = name, change: Callable[..., Arrays] = change) -> Message:
                arrays = change(known.honest[1], name)
                return known.reply(known.honest[0].changed(content=content(arrays)).to_json(), arrays)

            yield Attack(f"{name} {harm}", harmed)
    for name in rng.choice(sorted(sent), size=min(30, len(sent)), replace=False).tolist():

        def old_digest(known: Overheard, name: str = name) -> Message:
            answer, arrays = known.honest
            return known.reply(answer.to_json(), {**arrays, name: arrays[name] + np.ones((), arrays[name].dtype)})

        yield Attack(f"{name} changed, the digest not", old_digest)


def _is_step_of_a_change(array: np.ndarray) -> bool:
    """Nothing in steps of any size is nothing."""
    return array.dtype == np.float32 and bool(array.any())


def _messages() -> Iterator[Attack]:
    """Replies of another kind."""
    contents = {
        "no content": RecordDict(),
        "other facts": RecordDict({"facts": ConfigRecord({"something": "else"})}),
        "a number for an answer": RecordDict({"facts": ConfigRecord({"answer": 5})}),
        "bytes for an answer": RecordDict({"facts": ConfigRecord({"answer": b"\xff\xfe"})}),
        "a failure": RecordDict({"facts": ConfigRecord({"failure": "\x1b[31mno\nroom" * 1000})}),
        "a number for a failure": RecordDict({"facts": ConfigRecord({"failure": 5})}),
        "arrays alone": RecordDict({"arrays": ArrayRecord()}),
    }
    for name, given in contents.items():
        yield Attack(name, lambda known, given=given: Message(given, reply_to=known.asked))  # type: ignore[misc]
    for code in (0, 1, 6, 99, -1):
        yield Attack(f"error {code}", lambda known, code=code: Message(Error(code, None), reply_to=known.asked))  # type: ignore[misc]
    yield Attack("no arrays", lambda known: known.reply(known.honest[0].to_json(), {}))
    yield Attack("the order as its answer", lambda known: known.reply(known.order.to_json(), known.honest[1]))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '%s', 'fortran_order': False, 'shape': (%d,), }"
    raw = {
        "nothing": b"",
        "no header": b"garbage",
        "half a header": b"\x93NUMPY\x01\x00v\x00{'descr'",
        "a pickle": header % (b"|O", 1) + b" " * 50 + b"\n\x80\x04K\x05.",
        "a size that is a lie": header % (b"|i1", 2**40) + b" " * 50 + b"\n",
        "a type that is code": header % (b"__import__", 1) + b" " * 50 + b"\n",
    }
    for name, buffer in raw.items():

        def broken(known: Overheard, buffer: bytes = buffer, stype: str = "numpy.ndarray") -> Message:
            first = next(iter(known.honest[1]))
            record = ArrayRecord({key: Array(np.asarray(array)) for key, array in known.honest[1].items()})
            record[first] = Array("int8", (1,), stype, buffer)
            return known.with_record(known.honest[0].to_json(), record)

        yield Attack(f"array of {name}", broken)
    yield Attack("array of another library", lambda known: broken(known, b"", "torch.Tensor"))


def _nodes() -> Iterator[Attack]:
    """Nodes that are none of the devices, or say so."""
    for given in ("stranger", "", "fan\n", "fan ", "FAN", "../fan", "x" * 100_000, "\x1b[31m", 5, 1.5, True, b"fan"):
        yield Attack(f"a node that is {str(given)[:12]!r}", nodes=(("", given),))
        yield Attack(f"a node of the name {str(given)[:12]!r}, registered as a stranger", nodes=(("other", given),))
    for name in (*RANKS, MOLES[0]):
        yield Attack(f"a node without a key that says it is {name}", nodes=(("", name),))
        yield Attack(f"a node registered as a stranger that says it is {name}", nodes=(("other", name),))
        yield Attack(f"a second node registered as {name}", nodes=((name, name),))


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
