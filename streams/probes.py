"""Serves what `health.py` knows over HTTP, from a thread: `/healthz` and `/readyz` answer 200 or 503 with a
sentence, `/metrics` in Prometheus' formats.
"""

import http.server
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streams.health import VITALS, Answer, Health
from streams.stage import TopicPartition

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two attempts to listen where the address is taken."""

PATIENCE = 5.0
"""Seconds that a client has to say what it wants."""

Labels = tuple[tuple[str, str], ...]


class Exposition(Collector):
    """The last report of a process as Prometheus metrics, each with the label `stage`; nothing before the
    first."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """What a registry asks for."""
        report, health = self._health.report, self._health
        if report is None:
            return
        stage = {"stage": health.stage}
        yield _counter("headgate_records", "Records that were processed.", {
            (("topic", topic),): count for topic, count in report.records.items()
        }, stage)  # fmt: skip
        lag = {_place(partition): standing.lag for partition, standing in report.partitions.items()}
        yield _gauge("headgate_lag_records", "Offsets that are still to be read.", lag, stage)
        again = {_place(partition): standing.uncommitted for partition, standing in report.partitions.items()}
        yield _gauge(
            "headgate_uncommitted_records", "Offsets that a successor would read again.", again, stage
        )
        yield _gauge("headgate_partitions", "Partitions that this process has.", {(): len(lag)}, stage)
        yield _counter("headgate_commits", "Commits that the broker took.", {(): report.commits}, stage)
        yield _gauge(
            "headgate_commit_age_seconds",
            "For how long something is to be committed that the broker has not taken.",
            {(): report.commit_age},
            stage,
        )
        now = time.monotonic()
        for name, help_, well in (
            ("headgate_healthy", "1 where /healthz answers 200.", health.healthy(now).well),
            ("headgate_ready", "1 where /readyz answers 200.", health.ready(now).well),
        ):
            yield _gauge(name, help_, {(): float(well)}, stage)
        for name, value in report.vitals.items():
            make = _counter if name.endswith("_total") else _gauge
            yield make(f"headgate_{name.removesuffix('_total')}", VITALS.get(name, name), {(): value}, stage)


def _place(partition: TopicPartition) -> Labels:
    return (("topic", partition.topic), ("partition", str(partition.partition)))


def _gauge(name: str, help_: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    return _filled(GaugeMetricFamily(name, help_), name, values, stage)


def _counter(name: str, help_: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    return _filled(CounterMetricFamily(name, help_), f"{name}_total", values, stage)


def _filled(family: Metric, name: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    for labels, value in values.items():
        family.add_sample(name, {**stage, **dict(labels)}, value)
    return family


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET on three paths; knows its `Health` by the server."""

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

    def __init__(self, host: str, port: int, health: Health) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = CollectorRegistry()
        self.registry.register(Exposition(health))
        ProcessCollector(registry=self.registry)
        self.questions: Mapping[str, Callable[[float], Answer]] = {
            "/healthz": health.healthy,
            "/readyz": health.ready,
        }
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in mid-answer is nobody's business."""


def serve(health: Health, address: tuple[str, int] | None) -> None:
    """Has a daemon thread answer at `address` (None: nowhere), for as long as the process lives.

    Where it cannot listen there, which a second worker on one machine cannot, it says so once and tries on:
    the stage does its work all the same.
    """
    if address is not None:
        threading.Thread(target=_serve, args=(health, *address), name="health", daemon=True).start()


def _serve(health: Health, host: str, port: int) -> None:
    said = False
    while True:
        try:
            server = _Server(host, port, health)
        except (OSError, OverflowError) as error:
            if not said:
                log.warning(
                    "health is not served, for now: %s:%d: %s; another worker's? Give each an address of its "
                    "own: HEADGATE_HEALTH, or health under [streams] in headgate.toml",
                    host,
                    port,
                    error,
                )
            said = True
            time.sleep(RETRY)
        else:
            at, number = server.server_address[:2]
            log.info("health is at http://%s:%s/healthz, metrics at /metrics", at, number)
            server.serve_forever()
