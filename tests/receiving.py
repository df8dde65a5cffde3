"""A real HTTP server on loopback that takes alerts as an Alertmanager or a webhook would, and misbehaves when
told to.
"""

import http.server
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from schemas.records import Alert

NOW = 1_735_700_000_000


class Taken(NamedTuple):
    """A request: what was asked of which path, with which headers and JSON body; `at`: monotonic seconds."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    at: float


class Answer(NamedTuple):
    """How to answer: after `pause` seconds, with a status, headers and a text."""

    status: int = 200
    headers: Mapping[str, str] = {}
    text: str = ""
    pause: float = 0.0


Judge = Callable[[Taken], Answer]


class Server:
    """Answers what is in `answers`, one request after the other, then as `judge` says. `taken` are all
    requests that came.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.taken: list[Taken] = []
        self.answers: deque[Answer] = deque()
        self.judge: Judge = lambda _: Answer()
        self._http = _Http(("127.0.0.1", port), self)
        self.port = int(self._http.server_address[1])
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def bodies(self, path: str = "") -> list[Any]:
        """What was posted to a path."""
        return [taken.body for taken in list(self.taken) if taken.method == "POST" and path in taken.path]

    def until(self, holds: Callable[["Server"], bool], seconds: float = 60.0) -> None:
        """Returns once `holds` does."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < deadline, f"in vain; taken: {self.taken}"
            time.sleep(0.02)


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without asking a name server for our own name."""
        self.socket.setsockopt(1, 2, 1)  # SO_REUSEADDR: a server that comes back at the same port
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is what some tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._take()

    def do_GET(self) -> None:
        self._take()

    def do_HEAD(self) -> None:
        self._take()

    def _take(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        taken = Taken(self.command, urlsplit(self.path).path, dict(self.headers), body, time.monotonic())
        owner = self.server.owner
        owner.taken.append(taken)
        answer = owner.answers.popleft() if owner.answers else owner.judge(taken)
        time.sleep(answer.pause)
        text = b"" if self.command == "HEAD" else answer.text.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's word)
        """Quiet."""


@contextmanager
def serving(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server as long as the block lasts."""
    server = Server(port, tls)
    try:
        yield server
    finally:
        server.close()


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Of a server with that certificate (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def alert(**fields: object) -> Alert:
    """A firing page of `ranker`, but for what is named."""
    known: dict[str, Any] = {
        "alert_id": "a1",
        "model": "ranker",
        "rule": "slow",
        "status": "firing",
        "severity": "page",
        "starts_at": NOW,
        "labels": {"arm": "candidate"},
        "annotations": {"summary": "latency_p99_ms is above 200"},
    }
    return Alert(**(known | fields))


def over(alert_: Alert, at: int = NOW + 60_000) -> Alert:
    """The same alert's end."""
    known = {name: getattr(alert_, name) for name in alert_.__struct_fields__}
    return Alert(**(known | {"status": "resolved", "ends_at": at}))
