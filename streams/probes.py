"""Serves over HTTP, from a thread, how a process is: `/healthz` and `/readyz` answer 200 or 503 with a
sentence, `/metrics` in Prometheus' formats. Who knows the answers comes in: a stage (`health.py`,
`exposition.py`) or a serving worker.
"""

import http.server
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two attempts to listen where the address is taken."""

PATIENCE = 5.0
"""Seconds that a client has to say what it wants."""

ELSEWHERE = "HEADGATE_HEALTH, or health under [streams] in headgate.toml"
"""How to give a stage's process another address."""


class Answer(NamedTuple):
    """Yes or no, and why, in a sentence."""

    well: bool
    text: str


class Patient(Protocol):
    """Who is asked. Both may be called at any time, by several threads, and must be quick."""

    def healthy(self, now: float) -> Answer:
        """At monotonic time `now` (seconds): is there hope without a new start?"""
        ...

    def ready(self, now: float) -> Answer:
        """At monotonic time `now` (seconds): does it do all of its work?"""
        ...


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET on three paths; knows whom to ask by the server."""

    timeout = PATIENCE
    server: "_Server"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.server.registry), content_type)
        elif path in self.server.questions:
            well, text = self.server.questions[path](time.monotonic())
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, f"{text}\n".encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"expected /healthz, /readyz or /metrics\n")

    def _answer(
        self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's word)
        """Probes come every few seconds: nothing is logged."""


class _Server(socketserver.ThreadingTCPServer):
    """Listens at once. Not `http.server.HTTPServer`, which asks a name server for its own name."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, patient: Patient, collector: Collector) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = CollectorRegistry()
        self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        self.questions: Mapping[str, Callable[[float], Answer]] = {
            "/healthz": patient.healthy,
            "/readyz": patient.ready,
        }
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in mid-answer is nobody's business."""


def serve(
    patient: Patient, collector: Collector, address: tuple[str, int] | None, elsewhere: str = ELSEWHERE
) -> None:
    """Has a daemon thread answer at `address` (None: nowhere), for as long as the process lives. `elsewhere`
    says how to give a process another address.

    Where it cannot listen there, which a second worker on one machine cannot, it says so once and tries on:
    the process does its work all the same.
    """
    if address is not None:
        arguments = (patient, collector, address, elsewhere)
        threading.Thread(target=_serve, args=arguments, name="health", daemon=True).start()


def _serve(patient: Patient, collector: Collector, address: tuple[str, int], elsewhere: str) -> None:
    said = False
    while True:
        try:
            server = _Server(*address, patient, collector)
        except (OSError, OverflowError) as error:
            if not said:
                log.warning(
                    "health is not served, for now: %s:%d: %s; another worker's? Give each an address of its "
                    "own: %s",
                    *address,
                    error,
                    elsewhere,
                )
            said = True
            time.sleep(RETRY)
        else:
            at, number = server.server_address[:2]
            log.info("health is at http://%s:%s/healthz, metrics at /metrics", at, number)
            server.serve_forever()
