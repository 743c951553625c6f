"""What carries messages: a broker over the network, or this process itself; whoever sends does not see which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """What arrives.

    Attributes:
        topic: levels separated by slashes.
        payload: the content.
        reply_to: topic on which the sender awaits answers; empty where it awaits none.
    """

    topic: str
    payload: bytes
    reply_to: str = ""


Handler = Callable[[Message], None]
Answer = Callable[[bool], None]


def unasked(heard: bool) -> None:
    """The answer of who asks for none."""


class Transport(Protocol):
    """Publish and subscribe by topic. Delivery is not assured: a broker may die with what it holds.

    What must arrive goes through `outbox.Outbox` and `inbox.Inbox`.
    """

    @property
    def connected(self) -> bool:
        """Whether messages can be sent at present."""

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hand messages of matching topics to a function, again after every reconnection; `+` and `#` as in MQTT."""

    def publish(self, topic: str, payload: bytes, reply_to: str = "", answered: Answer = unasked) -> bool:
        """Send a message; False where that is not possible at present.

        Args:
            topic: under which it goes.
            payload: the content.
            reply_to: topic on which answers are awaited.
            answered: is called once, in any thread, when the message has been handed over: with whether somebody
                listens. A broker may still die with it.
        """

    def on_connect(self, call: Callable[[], None]) -> None:
        """Call a function whenever a connection has come about."""

    def close(self) -> None:
        """End, tidily."""


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic falls under a pattern of MQTT: `+` stands for one level, `#` at the end for any number."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(one in ("+", level) for one, level in zip(wanted, levels, strict=True))
