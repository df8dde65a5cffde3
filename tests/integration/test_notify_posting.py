"""What is posted to a real HTTP server, how it is logged into, and what its answers mean."""

import asyncio
import base64
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local import ports
from schemas.errors import HeadgateError
from schemas.receivers import Notify
from schemas.records import Alert
from streams.notify import posting
from streams.notify.alertmanager import milliseconds
from streams.notify.book import Place
from streams.notify.plans import Message
from streams.notify.posting import Outcome, pause_after
from tests.receiving import NOW, Answer, Server, Taken, alert, over, server_tls, serving

ALERTS = "/api/v2/alerts"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def message(*alerts: Alert) -> Message:
    return Message((("model", "ranker"),), {Place(0, str(i)): one for i, one in enumerate(alerts)})


def post(notify: Notify, *alerts: Alert, now: int = NOW + 120_000) -> Outcome:
    """What becomes of a message to the one receiver that is configured."""
    (receiver,) = posting.configured(notify)

    async def scenario() -> Outcome:
        async with aiohttp.ClientSession() as session:
            return await receiver.post(session, message(*alerts), now)

    return asyncio.run(scenario())


def manager(server: Server, **fields: Any) -> Notify:
    return Notify(alertmanager=server.url, **fields)


def hook(server: Server, **fields: Any) -> Notify:
    return Notify(webhook=f"{server.url}/hook", **fields)


def test_an_alertmanager_is_told_that_what_fires_ends_in_four_resend_periods(server: Server) -> None:
    outcome = post(manager(server, resend=30.0), alert(), now=NOW + 5_000)
    assert len(outcome.taken) == 1
    (taken,) = server.taken
    assert (taken.method, taken.path, taken.headers["Content-Type"]) == ("POST", ALERTS, "application/json")
    (posted,) = taken.body
    assert milliseconds(posted["endsAt"]) == NOW + 5_000 + 4 * 30_000
    assert milliseconds(posted["startsAt"]) == NOW


def test_an_alertmanager_below_a_prefix_is_found(server: Server) -> None:
    post(Notify(alertmanager=f"{server.url}/prefix/"), alert())
    assert server.taken[0].path == f"/prefix{ALERTS}"


@pytest.mark.parametrize(
    ("ends", "told"), [(NOW + 60_000, NOW + 60_000), (NOW + 3_600_000, NOW + 120_000), (NOW - 1, NOW)]
)
def test_the_end_that_an_alertmanager_is_told_is_behind_and_not_before_the_start(
    server: Server, ends: int, told: int
) -> None:
    post(manager(server), over(alert(), ends))
    assert milliseconds(server.taken[0].body[0]["endsAt"]) == told


def test_a_webhook_is_posted_its_group(server: Server) -> None:
    post(hook(server), alert(), alert(rule="ctr"))
    (taken,) = server.taken
    assert taken.path == "/hook"
    assert (taken.body["version"], taken.body["groupLabels"]) == ("4", {"model": "ranker"})
    assert [one["labels"]["alertname"] for one in taken.body["alerts"]] == ["slow", "ctr"]


def test_a_bearer_token_is_shown_to_who_it_is_for(server: Server) -> None:
    post(manager(server, alertmanager_token="t-1", webhook_token="t-2"), alert())
    assert server.taken[0].headers["Authorization"] == "Bearer t-1"


def test_a_user_and_a_password_are_basic_authentication(server: Server) -> None:
    post(hook(server, webhook_user="gate", webhook_password="pä:ss"), alert())
    scheme, _, encoded = server.taken[0].headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "gate:pä:ss")


def test_without_credentials_none_are_shown(server: Server) -> None:
    post(hook(server), alert())
    assert "Authorization" not in server.taken[0].headers


@pytest.mark.parametrize("status", [500, 502, 503, 408, 425, 429, 401, 403, 407, 301, 302, 307, 308])
def test_a_message_is_to_be_posted_again_after(server: Server, status: int) -> None:
    """Faults of the receiver, or of the way there: none of them is the alert's."""
    server.judge = lambda _: Answer(status, {"Location": f"{server.url}/elsewhere"}, "why\nnot")
    outcome = post(hook(server), alert(), alert(rule="ctr"))
    assert outcome == Outcome(away=f"answered {status}: why not")
    assert len(server.taken) == 1


@pytest.mark.parametrize("status", [404, 405, 410, 415])
def test_a_refusal_of_everything_is_asked_for_once(server: Server, status: int) -> None:
    server.judge = lambda _: Answer(status, text="no")
    outcome = post(hook(server), alert(), alert(rule="ctr"))
    assert [reason for _, reason in outcome.refused.values()] == 2 * [f"answered {status}: no"]
    assert len(server.taken) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [0, 3, 6])
def test_of_a_refused_message_only_who_is_to_blame_is_refused(server: Server, status: int, bad: int) -> None:
    def judge(taken: Taken) -> Answer:
        rules = [one["labels"]["alertname"] for one in taken.body]
        return Answer(status, text=f"r{bad} is bad") if f"r{bad}" in rules else Answer()

    server.judge = judge
    outcome = post(manager(server), *(alert(rule=f"r{i}") for i in range(7)))
    assert {one.rule for one in outcome.taken.values()} == {f"r{i}" for i in range(7)} - {f"r{bad}"}
    ((refused, reason),) = outcome.refused.values()
    assert (refused.rule, reason) == (f"r{bad}", f"answered {status}: r{bad} is bad")
    assert outcome.away is None


def test_what_is_left_of_a_parted_message_when_the_receiver_goes_is_to_be_posted_again(
    server: Server,
) -> None:
    server.answers.extend([Answer(400), Answer(200), Answer(503)])
    outcome = post(manager(server), *(alert(rule=f"r{i}") for i in range(4)))
    assert [one.rule for one in outcome.taken.values()] == ["r0", "r1"]
    assert (outcome.refused, outcome.away) == ({}, "answered 503")


def test_an_answer_that_does_not_come_in_time_is_none(server: Server) -> None:
    server.answers.append(Answer(pause=2.0))
    began = time.monotonic()
    assert post(hook(server, timeout=0.3), alert()).away == "no answer within 0.3 s"
    assert time.monotonic() - began < 1.5


def test_nobody_there_is_said_in_a_line_without_the_path() -> None:
    outcome = post(Notify(webhook=f"http://127.0.0.1:{ports.free()}/T0/secret"), alert())
    assert outcome.away is not None
    assert outcome.away.startswith("Cannot connect to host 127.0.0.1:")
    assert "ssl" not in outcome.away
    assert "secret" not in outcome.away


@pytest.mark.parametrize(
    ("header", "pause"),
    [("7", 7.0), ("0", 0.0), ("-3", 0.0), (formatdate(0, usegmt=True), 0.0), ("soon", None)],
)
def test_a_receiver_may_say_for_how_long_to_wait(server: Server, header: str, pause: float | None) -> None:
    server.judge = lambda _: Answer(429, {"Retry-After": header})
    assert post(hook(server), alert()).pause == pause


def test_a_date_to_wait_for_is_a_time_from_now(server: Server) -> None:
    server.judge = lambda _: Answer(429, {"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    pause = post(hook(server), alert()).pause
    assert pause is not None
    assert 90 < pause <= 100


def test_pauses_double_up_to_half_a_minute_and_differ() -> None:
    for failures, longest in ((1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (1_000, 30.0)):
        pauses = {pause_after(failures, None) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert pause_after(1, 7.5) == 7.5
    assert pause_after(1, 1e9) == 600.0


def test_an_answer_without_end_is_read_so_far(server: Server) -> None:
    server.answers.append(Answer(500, text="x" * 1_000_000))
    away = post(hook(server), alert()).away
    assert away is not None
    assert len(away) < 400


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
class TestTls:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[Server]:
        """A server with a certificate of its own, `cert.pem`."""
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
        subprocess.run([*command, *names, *files], check=True, capture_output=True)
        with serving(tls=server_tls(tmp_path / "cert.pem", tmp_path / "key.pem")) as running:
            yield running

    def test_a_server_is_known_by_the_certificates_that_are_named(
        self, secure: Server, tmp_path: Path
    ) -> None:
        notify = manager(secure, ca=str(tmp_path / "cert.pem"), alertmanager_token="t")
        assert len(post(notify, alert()).taken) == 1
        assert secure.taken[0].headers["Authorization"] == "Bearer t"

    def test_a_server_that_nobody_vouches_for_is_told_nothing(self, secure: Server) -> None:
        outcome = post(manager(secure, alertmanager_token="t"), alert())
        assert outcome.away is not None
        assert "certificate verify failed" in outcome.away.lower()
        assert secure.taken == []


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(HeadgateError, match=r"\[notify\] ca in headgate.toml: found .*ca.pem.*PEM format"):
        posting.configured(Notify(webhook="https://a", ca=str(tmp_path / "ca.pem")))


def test_secrets_are_in_no_log_and_in_no_representation(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.judge = lambda _: Answer(500)
    notify = hook(server, webhook_token="s3cret")
    (receiver,) = posting.configured(notify)
    outcome = post(notify, alert())
    assert "s3cret" not in f"{caplog.text}{receiver!r}{outcome!r}"
