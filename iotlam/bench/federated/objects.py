"""A reply as it lies at Flower's server: objects of bytes that name one another, as an attacker likes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

KINDS = [kind.__qualname__ for kind in (Message, RecordDict, ConfigRecord, ArrayRecord, Array, ArrayChunk)]
"""Of the objects that an answer is made of."""

Harm = Callable[[bytes], bytes | None]
"""What becomes of an object; None for nothing."""

DIVIDER = b"\x00"
"""Between an object's head (its kind, the objects it is made of, its length) and its body."""


@dataclass(frozen=True, slots=True)
class Objects:
    """A message in its objects.

    Attributes:
        first: id of the object that is the message.
        contents: the bytes of each object, by id.
    """

    first: str
    contents: dict[str, bytes]

    @classmethod
    def of(cls, message: Message) -> Objects:
        """What a node pushes to Flower's server for a message."""
        contents = {one: bytes(found.deflate()) for one, found in get_all_nested_objects(message).items()}
        return cls(list(contents)[-1], contents)  # what it is made of comes before it

    def read(self) -> Message:
        """The message, made as Flower's grid makes it.

        Raises:
            Exception: whatever Flower raises at objects that are no message.
        """
        message = inflate_object_from_contents(self.first, dict(self.contents))
        message.metadata.__dict__["_message_id"] = self.first  # type: ignore[attr-defined]
        return message  # type: ignore[return-value]

    def harmed(self, kind: str, harm: Harm) -> Objects:
        """The same with all objects of a kind changed, or left out where that gives None."""
        changed = {
            one: harm(text) if text.startswith(kind.encode() + b" ") else text for one, text in self.contents.items()
        }
        return Objects(self.first, {one: text for one, text in changed.items() if text is not None})


def _head(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    """An object whose head says something else."""

    def changed(text: bytes) -> bytes:
        head, body = text.split(DIVIDER, 1)
        return b" ".join(change(head.split(b" "))) + DIVIDER + body

    return changed


HARMS: dict[str, Harm] = {
    "missing": lambda text: None,
    "empty": lambda text: b"",
    "without a body or where it begins": lambda text: text.split(DIVIDER, 1)[0],
    "with a body of garbage": lambda text: text.split(DIVIDER, 1)[0] + DIVIDER + b"\xff" * 8,
    "with a head that is no text": lambda text: b"\xff" + text,
    "with a head of one word": _head(lambda head: head[:1]),
    "of a kind that there is not": _head(lambda head: [b"os.system", *head[1:]]),
    "made of what is not there": _head(lambda head: [head[0], b"0" * 64, *head[2:]]),
    "whose length is a word": _head(lambda head: [*head[:2], b"long"]),
}


def harms(kind: str) -> dict[str, Harm]:
    """What is done to an object of a kind; it may say that it is of any other."""
    others = (other for other in KINDS if other != kind)
    return HARMS | {f"that says it is {other}": _head(_called(other)) for other in others}


def _called(kind: str) -> Callable[[list[bytes]], list[bytes]]:
    return lambda head: [kind.encode(), *head[1:]]
