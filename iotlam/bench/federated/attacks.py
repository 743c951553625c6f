"""What attackers of federated rounds send: replays, lies, and whatever is no answer at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

from iotlam.bench.federated import objects
from iotlam.bench.federated.fleet import RANKS
from iotlam.bench.federated.forgery import ATTACKED, MOLES, Attack, Forge, Overheard, Sent
from iotlam.contracts import Json
from iotlam.federated.flower import FILE
from iotlam.federated.messages import Arrays, content, to_bytes


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
        *_objects(),
        *_labels(),
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
    "own_score": (1.5, -0.5, 1e308, -1e308),
    "loss": (),
    "seconds": (-1.0, -1e308),
    "content": ("0" * 64, "", "x" * 10_000),
}
"""What an answer says that is not so, by field; of losses any number may be true."""

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
        if name != "own_score":  # who has no own module has none
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
        ("own_score", "-0"),
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
        "nothing in it": RecordDict(),
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
    yield Attack(
        "an array of another name", lambda known: known.with_record(_honest(known), ArrayRecord({"x": _file(b"")}))
    )
    for name, change in FILES.items():

        def broken(known: Overheard, change: Callable[[bytes], bytes] = change) -> Message:
            file = change(to_bytes(known.honest[1]))
            return known.with_record(_honest(known), ArrayRecord({FILE: _file(file)}))

        yield Attack(f"a file {name}", broken)
    for kind, shape, library in (("float32", (1,), FILE), ("uint8", (2**40,), FILE), ("uint8", (8,), "numpy.ndarray")):

        def called(
            known: Overheard, kind: str = kind, shape: tuple[int, ...] = shape, library: str = library
        ) -> Message:
            record = ArrayRecord({FILE: Array(kind, shape, library, b"garbage!")})
            return known.with_record(_honest(known), record)

        yield Attack(f"a file that is said to be {kind} of {library}, {shape[0]} long", called)


def _objects() -> Iterator[Attack]:
    """Answers of which Flower cannot make a message, or makes another."""
    for kind in objects.KINDS:
        for harm, change in objects.harms(kind).items():

            def harmed(known: Overheard, kind: str = kind, change: objects.Harm = change) -> objects.Objects:
                return objects.Objects.of(known.reply(_honest(known), known.honest[1])).harmed(kind, change)

            yield Attack(f"its {kind} {harm}", harmed)


LABELS: dict[str, tuple[object, ...]] = {
    "run_id": (0, 2**40),
    "src_node_id": (0, 2, 3, 2**40),
    "dst_node_id": (0, 2, 2**40),
    "reply_to_message_id": ("", "x", "x" * 10_000),
    "group_id": ("", "0"),
    "created_at": (0.0, -1e308, 1e308, float("nan")),
    "ttl": (0.0, -1.0, 1e308, float("nan")),
    "message_type": ("query", "evaluate", "train.other"),
}


def _labels() -> Iterator[Attack]:
    """What is written on an honest answer's message: nobody may go by it."""
    for name, values in LABELS.items():
        for value in values:

            def labelled(known: Overheard, name: str = name, value: object = value) -> objects.Objects:
                reply = known.reply(_honest(known), known.honest[1])
                reply.metadata.__dict__[f"_{name}"] = value
                return objects.Objects.of(reply)

            yield Attack(f"its message's {name} is {str(value)[:20]!r}", labelled, honest=True)


def _honest(known: Overheard) -> str:
    return known.honest[0].to_json()


def _file(content: bytes) -> Array:
    return Array("uint8", (len(content),), FILE, content)


def _with_header(change: Callable[[Json], object]) -> Callable[[bytes], bytes]:
    """A safetensors file whose header has been changed."""

    def changed(file: bytes) -> bytes:
        size = int.from_bytes(file[:8], "little")
        header = json.loads(file[8 : 8 + size])
        change(next(value for name, value in header.items() if name != "__metadata__"))
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + file[8 + size :]

    return changed


FILES: dict[str, Callable[[bytes], bytes]] = {
    "of nothing": lambda file: b"",
    "of garbage": lambda file: b"garbage" * 100,
    "with half a header": lambda file: file[: 8 + int.from_bytes(file[:8], "little") // 2],
    "that is cut off": lambda file: file[:-1],
    "with more at its end": lambda file: file + b"x",
    "whose header is said to be huge": lambda file: (2**40).to_bytes(8, "little") + file[8:],
    "whose header is no JSON": lambda file: file[:8] + b"\xff" + file[9:],
    "of an array beyond its end": _with_header(lambda first: first.update(data_offsets=[0, 2**40])),
    "of an array before its beginning": _with_header(lambda first: first.update(data_offsets=[-4, 0])),
    "of an array whose shape is a lie": _with_header(lambda first: first.update(shape=[2**31, 2**31])),
    "of a kind that there is not": _with_header(lambda first: first.update(dtype="__import__")),
    "that is a pickle": lambda file: b"\x80\x04K\x05.",
}
"""What is done to the file in which arrays travel."""


def _nodes() -> Iterator[Attack]:
    """Nodes that are none of the devices, or say so."""
    for given in ("stranger", "", "fan\n", "fan ", "FAN", "../fan", "x" * 100_000, "\x1b[31m", 5, 1.5, True, b"fan"):
        yield Attack(f"a node that is {str(given)[:12]!r}", nodes=(("", given),))
        yield Attack(f"a node of the name {str(given)[:12]!r}, registered as a stranger", nodes=(("other", given),))
    for name in (*RANKS, MOLES[0]):
        yield Attack(f"a node without a key that says it is {name}", nodes=(("", name),))
        yield Attack(f"a node registered as a stranger that says it is {name}", nodes=(("other", name),))
        yield Attack(f"a second node registered as {name}", nodes=((name, name),))
