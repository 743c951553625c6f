"""A transport within one process, for demos and for who needs no broker."""

from __future__ import annotations

from collections.abc import Callable

from iotlam.streams.transport import Answer, Handler, Message, matches, unasked


class LocalTransport:
    """Hands messages over at once, in the caller's thread."""

    def __init__(self) -> None:
        self._handlers: list[tuple[str, Handler]] = []

    @property
    def connected(self) -> bool:
        """Always."""
        return True

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hand messages of matching topics to a function."""
        self._handlers.append((pattern, handler))

    def publish(self, topic: str, payload: bytes, reply_to: str = "", answered: Answer = unasked) -> bool:
        """Hand a message to all who subscribed."""
        listening = [handler for pattern, handler in self._handlers if matches(pattern, topic)]
        for handler in listening:
            handler(Message(topic, payload, reply_to))
        answered(bool(listening))
        return True

    def on_connect(self, call: Callable[[], None]) -> None:
        """At once, for there is nothing to wait for."""
        call()

    def close(self) -> None:
        """Forget who subscribed."""
        self._handlers.clear()
