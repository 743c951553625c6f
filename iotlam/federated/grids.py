"""What carries messages between a server and its nodes: Flower's own grids, and one that is all in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Protocol
from uuid import uuid4

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun
from flwr.supercore.task_identity import TaskIdentity
from httpx import HTTPError

POLL_S = 0.02
"""How long at least until replies are asked for again."""

DEVICE = "device"
"""Key of a device's name in its node's configuration."""

SERVER = 1
"""Number of the server's node where all is one process."""


class Carries(Protocol):
    """What carries messages between a server and its nodes: a grid, or part of one."""

    in_turn: bool
    """Whether nodes work one after another: a round's deadline counts from the last answer."""

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The nodes that are there."""
        ...

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str | None]:
        """Send messages; returns their ids, None of what could not be sent."""
        ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to messages that are here, each once."""
        ...

    def withdraw(self, message_ids: Iterable[str]) -> list[str]:
        """Have no work begun on messages any more; returns those on which none had begun, where that is known."""
        ...


class PromptGrid:
    """Flower's grid of its servers, whose replies are pulled by threads, one each, so that nobody waits for another.

    Within a pull Flower waits, for hours, for the rest of a reply that has begun to come.

    Args:
        grid: Flower's.
    """

    in_turn = False

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._pulling: set[str] = set()
        self._pulled: SimpleQueue[tuple[str, Sequence[Message] | Exception]] = SimpleQueue()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The nodes that are there."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str | None]:
        """Send messages; returns their ids, None of what could not be sent."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are here as a whole; of what is not, another pull is begun.

        Raises:
            HTTPError, OSError: that a pull has raised.
        """
        found: list[Message] = []
        while not self._pulled.empty():
            one, replies = self._pulled.get()
            self._pulling.discard(one)
            if isinstance(replies, Exception):
                raise replies
            found += replies
        for one in set(message_ids) - self._pulling - {reply.metadata.reply_to_message_id for reply in found}:
            self._pulling.add(one)
            Thread(target=self._pull, args=(one,), daemon=True).start()
        return found

    def withdraw(self, message_ids: Iterable[str]) -> list[str]:
        """Nothing to do: nodes drop what has outlived its time."""
        return []

    def _pull(self, one: str) -> None:
        try:
            found = list(self._grid.pull_messages([one]))
            for reply in found:  # whatever the node has written there
                reply.metadata.__dict__["_reply_to_message_id"] = one
            self._pulled.put((one, found))
        except (HTTPError, OSError) as error:  # the way to the nodes is gone; raised where replies are asked for
            self._pulled.put((one, error))
        except Exception as error:  # what a node sends may be anything
            self._pulled.put((one, [_unreadable(one, error)]))


def _unreadable(one: str, error: Exception) -> Message:
    """What stands for a reply to a message that cannot be read."""
    asked = Message(RecordDict(), SERVER, MessageType.TRAIN)
    asked.metadata.__dict__["_message_id"] = one
    return Message(Error(ErrorCode.UNKNOWN, f"no message: {error!r}"), reply_to=asked)


class OwnGrid(Grid):
    """What Flower's grids without its servers have in common: one run, and replies that are asked for."""

    in_turn = False

    def __init__(self) -> None:
        set_identity()
        self._run = FlowerRun.create_empty(SERVER)

    def set_run(self, run: FlowerRun) -> None:
        """Not used: there is one run."""
        self._run = run

    @property
    def run(self) -> FlowerRun:
        """Flower's own record of the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def withdraw(self, message_ids: Iterable[str]) -> list[str]:
        """None: no node has a queue."""
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages, and wait for the replies until the time is up; Flower's own strategies ask so."""
        waiting = set(self.push_messages(messages))
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        found: list[Message] = []
        while waiting and time.monotonic() < deadline:
            replies = list(self.pull_messages(list(waiting)))
            waiting -= {reply.metadata.reply_to_message_id for reply in replies}
            found += replies
            time.sleep(0.0 if replies else POLL_S)
        return found


Answering = Callable[[Message, Context], Message]
"""What a node does with a message: a client app, or what stands for one."""


def set_identity() -> None:
    """Tell Flower who writes the messages of this process, which its servers do otherwise."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, SERVER, SERVER


def work_on(app: Answering, message: Message, context: Context) -> Message:
    """What a node does with a message, as a SuperNode does: none that is too late, and no failure ends the node."""
    if time.time() > message.metadata.created_at + message.metadata.ttl:
        return Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "the round is over"), reply_to=message)
    try:
        return app(message, context)
    except Exception as error:  # as on a SuperNode: the others go on
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)


class LocalGrid(OwnGrid):
    """Flower's grid on one machine: nodes are threads of this process, and no message is sent over a network.

    Args:
        app: the client app, or what else gives its reply to a message.
        devices: names, one node each.
        workers: nodes that work at a time.
    """

    def __init__(self, app: Answering, devices: Iterable[str], workers: int = 1) -> None:
        super().__init__()
        self._app = app
        self._contexts = {
            node: Context(SERVER, node, {DEVICE: name}, RecordDict(), {})
            for node, name in enumerate(devices, SERVER + 1)
        }
        self._one_at_a_time = {node: Lock() for node in self._contexts}
        self._pool = ThreadPoolExecutor(workers)
        self.in_turn = workers < len(self._contexts)
        self._queued: dict[str, Future[None]] = {}
        self._replies: dict[str, Message] = {}

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)  # nobody writes after this

    def get_node_ids(self) -> list[int]:
        """All nodes; none of them ever leaves."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have the nodes work on messages, each in its turn."""
        found = []
        for message in messages:
            one = message.metadata.__dict__["_message_id"] = str(uuid4())
            self._queued[one] = self._pool.submit(self._work, one, message)
            found.append(one)
        return found

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready, each once."""
        ready = [one for one in message_ids if one in self._replies]
        return [self._replies.pop(one) for one in ready]

    def withdraw(self, message_ids: Iterable[str]) -> list[str]:
        """Take out of the queue what no node has begun."""
        queued = ((one, self._queued.pop(one, None)) for one in message_ids)  # a node may just have ended its work
        return [one for one, work in queued if work and work.cancel()]

    def _work(self, one: str, message: Message) -> None:
        node = message.metadata.dst_node_id
        with self._one_at_a_time[node]:
            self._replies[one] = work_on(self._app, message, self._contexts[node])
        self._queued.pop(one, None)
