"""A publisher on this machine, which can break off, lie, and be asked to go on; a monitor's ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from iotlam_faults.monitor.ledger import Ledger


@dataclass
class Publisher:
    """What is served, and how.

    Attributes:
        files: content by path.
        breaks_after: bytes after which the connection ends, for each request in turn; none for all of it.
        asked: what was asked: path and header Range.
        resumes: whether it understands Range.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    breaks_after: list[int | None] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    resumes: bool = True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((handler.path, wanted := handler.headers.get("Range")))
        if handler.path not in self.files:
            handler.send_error(404)
            return
        whole = self.files[handler.path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.resumes else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(whole) - start))
        handler.end_headers()
        stop = self.breaks_after.pop(0) if self.breaks_after else None
        handler.wfile.write(whole[start:] if stop is None else whole[start : start + stop])


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    found = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(tmp_path / "monitor.sqlite")
    yield found
    found.close()
