"""The example program for Triton and KServe, as a user runs it: from a command to the judge's word about the
worker, and answers by the version that is in force."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import infra.topics
from infra.commands.release_view import Status, View
from schemas import topics
from schemas.records import Alert, Prediction, Request
from schemas.settings import Settings
from streams.log import Output
from tests.conftest import SharedStack, isolated
from tests.judge_processes import POLICY, Bench, Log, now

LINES = 60

MOST = 1000
"""The largest item that the server knows."""


class V2(http.server.ThreadingHTTPServer):
    """What the example asks of the Open Inference Protocol and its model repository extension. It has the
    versions v1, which likes small ids best, and v2, which likes large ones, and no other."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for `V2`."""

    server: V2

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *_, kind, name, verb = self.path.split("/")
        if not name.endswith(("-v1", "-v2")):
            self.send_error(400, f"failed to load {name}")
        elif verb == "load":
            self.server.loaded.append(name)
            self.answer({})
        else:
            assert (kind, name in self.server.loaded) == ("models", True)
            (ids,) = body["inputs"]
            if max(ids["data"]) > MOST:
                self.send_error(400, f"unknown item {max(ids['data'])}")
                return
            sign = -1 if name.endswith("-v1") else 1
            self.answer({"outputs": [{"name": "score", "data": [sign * one / 1000 for one in ids["data"]]}]})

    def answer(self, body: object) -> None:
        value = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's word)
        """Nothing."""


class Shop:
    """A judge, the example, and a user who asks."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        infra.topics.create(settings, forever=True)
        self.bench = Bench(settings, folder, "ranker")
        self.bench.apply(POLICY)
        self.bench.start()
        self.server = V2()
        self._settings = settings
        self._output = Output(settings)
        self._answers = Log(settings, topics.PREDICTIONS, Prediction)
        config = folder / "headgate.toml"
        config.write_text(f'[topics]\nprefix = "{settings.topics.prefix}"\n')
        self.log = folder / "example.log"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "serving.examples.triton", self.server.url, "ranker"],
                cwd=self.log.parent,
                env=os.environ | {"HEADGATE_KAFKA": self._settings.kafka.brokers},
                stderr=log,
            )

    def restart(self, number: int) -> int:
        """Ends the example by a signal, and starts it again. Answers how it ended."""
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = self._start()
        return status

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.bench.close()
        self.server.shutdown()
        self.server.server_close()

    def ask(self, request_id: str, items: Sequence[int] = (3, 1, 2)) -> None:
        """As the user u1."""
        request = Request(request_id=request_id, ts=now(), model="ranker", items=[*items], user="u1")
        self.bench.send(topics.REQUESTS, request)

    def until_answered(self, request_id: str, items: Sequence[int] = (3, 1, 2)) -> Prediction:
        """Asks, and waits for the answer."""
        self.ask(request_id, items)
        return self.answer(request_id)

    def answer(self, request_id: str) -> Prediction:
        """Waits for it."""
        found: list[Prediction] = []

        def is_answered() -> bool:
            assert self._process.poll() is None, self.log.read_text()
            found[:] = [one for one in self._answers.read() if one.request_id == request_id]
            return found != []

        self.bench.until(is_answered)
        return found[0]

    def status(self) -> Status:
        """What `headgate release status` shows."""
        view = View(self._settings, "ranker")
        try:
            return view.status()
        finally:
            view.close()

    def missing(self) -> Alert | None:
        """The judge's last alert about a worker that does not follow."""
        return next((one for one in reversed(self.bench.alerts()) if one.rule == "ack_missing"), None)


@pytest.fixture(scope="module")
def shop(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(isolated(stack.settings), tmp_path_factory.mktemp("triton"))
    yield made
    made.close()


def test_the_example_is_short() -> None:
    program = Path(__file__).parents[2] / "serving" / "examples" / "triton.py"
    assert len(program.read_text().splitlines()) < LINES


def test_a_started_version_is_loaded_answers_and_is_acknowledged(shop: Shop) -> None:
    shop.bench.command("start", "v1")
    shop.bench.until(lambda: shop.bench.phase() == "stable")
    answer = shop.until_answered("r1")
    assert (answer.version, answer.generation, answer.items) == ("v1", 1, [1, 2, 3])
    assert shop.server.loaded == ["ranker-v1"]
    status = shop.status()
    assert (status.generation, status.settled) == (1, True)
    assert [worker.loaded for worker in status.workers] == [("v1",)]


def test_the_judge_tells_people_of_a_version_that_the_server_cannot_load(shop: Shop) -> None:
    shop.bench.command("start", "v9")
    shop.bench.until(lambda: (alert := shop.missing()) is not None and alert.status == "firing")
    alert = shop.missing()
    assert alert is not None
    assert "could not apply it: HTTP Error 400: failed to load ranker-v9" in alert.annotations["summary"]
    assert shop.until_answered("r2").version == "v1"
    shop.bench.command("abort")
    shop.bench.until(lambda: (alert := shop.missing()) is not None and alert.status == "resolved")
    assert shop.status().settled


def test_a_canary_is_answered_by_arm_once_the_server_has_it(shop: Shop) -> None:
    shop.bench.command("start", "v2")
    shop.bench.until(lambda: "ranker-v2" in shop.server.loaded)
    shop.bench.until(lambda: shop.status().settled)
    answer = shop.until_answered("r3")
    expected = {"stable": ("v1", [1, 2, 3]), "candidate": ("v2", [3, 2, 1])}
    assert (answer.version, answer.items) == expected[answer.arm]
    assert shop.status().phase == "canary"


def test_what_the_server_refuses_and_what_is_no_request_ends_nothing(shop: Shop) -> None:
    shop.bench.raw(topics.REQUESTS, b"{")
    refused = shop.until_answered("r4", [MOST + 1])
    assert refused.status == "error"
    assert (refused.error or "").endswith(f"HTTP Error 400: unknown item {MOST + 1}")
    assert shop.until_answered("r5").status == "ok"


def test_requests_that_come_while_it_is_away_are_answered_by_the_next(shop: Shop) -> None:
    assert shop.restart(signal.SIGTERM) == 0
    assert shop.until_answered("r6").status == "ok"
    shop.ask("r7")
    shop.restart(signal.SIGKILL)
    assert [shop.answer("r7").status, shop.until_answered("r8").status] == ["ok", "ok"]
