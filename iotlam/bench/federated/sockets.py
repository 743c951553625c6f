"""Flower's messages over a socket of this machine: server and devices are processes, without Flower's own servers.

A node is a process that has connected. It is gone when it hangs up, and has another number when it comes back, as on a
SuperLink without keys.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from iotlam.federated.grids import DEVICE, POLL_S, SERVER, OwnGrid, set_identity, work_on


class SocketGrid(OwnGrid):
    """Flower's grid on a socket; one that is left from a process that was killed is taken over.

    Args:
        address: the socket's file, of at most about a hundred characters.
    """

    def __init__(self, address: Path) -> None:
        super().__init__()
        address.unlink(missing_ok=True)
        self._address = address
        self._listener = Listener(str(address), "AF_UNIX", backlog=64)
        self._lines: dict[int, SimpleQueue[bytes]] = {}
        self._sent: dict[str, Message] = {}
        self._replies: SimpleQueue[Message] = SimpleQueue()
        self._ready: dict[str, Message] = {}
        self._closed = False
        self._accepting = Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> SocketGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        try:
            Client(str(self._address), "AF_UNIX").close()  # wakes who accepts
        except OSError:
            pass  # a node has done so
        self._accepting.join()

    def get_node_ids(self) -> list[int]:
        """Who is connected."""
        return sorted(self._lines)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages, without waiting for nodes that do not read."""
        found = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id  # as the SuperLink does
            self._sent[message.object_id] = message
            found.append(message.object_id)
            if (line := self._lines.get(message.metadata.dst_node_id)) is not None:
                line.put(message_to_proto(message).SerializeToString())
        return found

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that have come, each once; an error for each message whose node is gone."""
        there = set(self._lines)
        while not self._replies.empty():
            reply = self._replies.get()
            self._ready[reply.metadata.reply_to_message_id] = reply
        found = []
        for one in message_ids:
            if one in self._ready:
                found.append(self._ready.pop(one))
            elif one in self._sent and (node := self._sent[one].metadata.dst_node_id) not in there:
                error = Error(ErrorCode.NODE_UNAVAILABLE, f"node {node} has hung up")
                found.append(Message(error, reply_to=self._sent[one]))
        return found

    def _accept(self) -> None:
        while True:
            line = self._listener.accept()
            if self._closed:
                self._listener.close()
                return
            node = secrets.randbits(63)
            self._lines[node] = SimpleQueue()
            Thread(target=self._write, args=(line, self._lines[node]), daemon=True).start()
            Thread(target=self._read, args=(line, node), daemon=True).start()

    def _read(self, line: Connection, node: int) -> None:
        try:
            while True:
                reply = _message(line.recv_bytes())
                asked = self._sent.get(reply.metadata.reply_to_message_id)
                if asked is not None and asked.metadata.dst_node_id == node:
                    self._replies.put(reply)
        except (OSError, EOFError):
            del self._lines[node]

    @staticmethod
    def _write(line: Connection, waiting: SimpleQueue[bytes]) -> None:
        try:
            while True:
                line.send_bytes(waiting.get())
        except OSError:
            pass  # who reads from it sees that it is gone


def be_node(address: Path, app: ClientApp, name: str) -> None:
    """Work on what comes, for ever; connect anew when the server is gone.

    Args:
        address: the grid's.
        app: the client app.
        name: of the device.
    """
    set_identity()
    while True:
        try:
            with Client(str(address), "AF_UNIX") as line:
                while True:
                    message = _message(line.recv_bytes())
                    context = Context(SERVER, message.metadata.dst_node_id, {DEVICE: name}, RecordDict(), {})
                    line.send_bytes(message_to_proto(work_on(app, message, context)).SerializeToString())
        except (OSError, EOFError):
            time.sleep(POLL_S)


def _message(content: bytes) -> Message:
    return message_from_proto(ProtoMessage.FromString(content))
