from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from iotlam.bench.federated.sockets import SocketGrid


@pytest.fixture
def address() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "socket"


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connected(grid: SocketGrid, address: Path) -> tuple[Connection, int]:
    before = set(grid.get_node_ids())
    line = Client(str(address), "AF_UNIX")
    until(lambda: set(grid.get_node_ids()) - before)
    (node,) = set(grid.get_node_ids()) - before
    return line, node


def question(node: int) -> Message:
    return Message(RecordDict({"facts": ConfigRecord({"question": "?"})}), node, "query", ttl=10.0)


def answered(line: Connection, content: bytes) -> None:
    reply = Message(RecordDict(), reply_to=message_from_proto(ProtoMessage.FromString(content)))
    line.send_bytes(message_to_proto(reply).SerializeToString())


def test_a_reply_comes_back_once(address: Path) -> None:
    with SocketGrid(address) as grid:
        line, node = connected(grid, address)
        sent = grid.push_messages([question(node)])
        assert grid.pull_messages(sent) == []
        answered(line, line.recv_bytes())
        until(lambda: not grid._replies.empty())
        (reply,) = grid.pull_messages(sent)
        assert reply.metadata.reply_to_message_id == sent[0]
        assert grid.pull_messages(sent) == []


def test_a_node_that_hangs_up_is_gone_and_has_another_number_when_it_comes_back(address: Path) -> None:
    with SocketGrid(address) as grid:
        line, node = connected(grid, address)
        sent = grid.push_messages([question(node)])
        line.close()
        until(lambda: not grid.get_node_ids())
        (reply,) = grid.pull_messages(sent)
        assert reply.error.code == ErrorCode.NODE_UNAVAILABLE
        assert connected(grid, address)[1] != node


def test_a_node_does_not_answer_for_another(address: Path) -> None:
    with SocketGrid(address) as grid:
        line, node = connected(grid, address)
        other, _ = connected(grid, address)
        sent = grid.push_messages([question(node)])
        content = line.recv_bytes()
        answered(other, content)
        time.sleep(0.1)
        assert grid.pull_messages(sent) == []
        answered(line, content)
        until(lambda: grid.pull_messages(sent))


def test_a_node_that_does_not_read_holds_nobody_up(address: Path) -> None:
    with SocketGrid(address) as grid:
        _, node = connected(grid, address)
        start = time.monotonic()
        for _ in range(20):
            big = RecordDict({"facts": ConfigRecord({"text": "x" * 1_000_000})})
            grid.push_messages([Message(big, node, "query", ttl=10.0)])
        assert time.monotonic() - start < 5.0


def test_a_socket_that_a_killed_server_left_is_taken_over(address: Path) -> None:
    with SocketGrid(address):
        pass
    address.touch()
    with SocketGrid(address) as grid:
        connected(grid, address)
