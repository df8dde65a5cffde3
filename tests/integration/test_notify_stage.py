"""The notify stage on a real Kafka: who is told, what survives a restart, `kill -9`, and receivers that are
away.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import infra.topics
from infra.local import ports
from infra.local.stack import LocalStack
from schemas.receivers import Notify
from schemas.records import Alert
from schemas.settings import Settings
from streams.notify import silencing
from streams.notify.alertmanager import milliseconds
from tests.conftest import isolated
from tests.integration.notifying import Log, Notifier, now, until
from tests.receiving import Answer, Server, Taken, alert, over, serving

MANAGER, HOOK = "/api/v2/alerts", "/hook"


def receivers(server: Server, **fields: Any) -> Notify:
    """An Alertmanager and a webhook, both the same server."""
    known: dict[str, Any] = {
        "alertmanager": server.url,
        "webhook": f"{server.url}{HOOK}",
        "group_wait": 0.3,
        "resend": 60.0,
    }
    return Notify(**(known | fields))


def told(server: Server, path: str, model: str) -> list[str]:
    """Status after status of what the receiver at `path` was told of a model."""
    found = []
    for body in server.bodies(path):
        for one in body if path == MANAGER else body["alerts"]:
            if one["labels"]["model"] == model:
                ends = one["endsAt"]
                found.append(
                    "firing" if ends.startswith("0001") or milliseconds(ends) > now() else "resolved"
                )
    return found


def firing(model: str, **fields: Any) -> Alert:
    return alert(model=model, alert_id=f"a-{model}", starts_at=now() - 1_000, **fields)


Start = Callable[..., Notifier]


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Topics of this test's own."""
    made = isolated(settings)
    infra.topics.create(made, forever=True)
    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that end with the test."""
    running: list[Notifier] = []

    def start(settings: Settings, notify: Notify) -> Notifier:
        running.append(Notifier(settings, notify, tmp_path / f"log-{len(running)}"))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="module")
def world(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Log, Server]]:
    """A stage that runs, and its receivers; each test has a model of its own."""
    infra.topics.create(settings, forever=True)
    with serving() as server:
        process = Notifier(settings, receivers(server, resend=1.0), tmp_path_factory.mktemp("notify") / "log")
        yield Log(settings), server
        assert process.end() == 0, process.log.read_text()


def test_a_page_and_its_end_are_told_to_everybody(world: tuple[Log, Server]) -> None:
    log, server = world
    log.write(firing("page"))
    server.until(lambda s: bool(told(s, MANAGER, "page")) and bool(told(s, HOOK, "page")))
    log.write(over(firing("page"), now()))
    server.until(lambda s: "resolved" in told(s, MANAGER, "page") and "resolved" in told(s, HOOK, "page"))
    assert told(server, HOOK, "page") == ["firing", "resolved"]


def test_an_alertmanager_is_told_again_and_a_webhook_is_not(world: tuple[Log, Server]) -> None:
    log, server = world
    log.write(firing("again"))
    server.until(lambda s: len(told(s, MANAGER, "again")) >= 3)
    assert told(server, HOOK, "again") == ["firing"]


def test_records_that_are_no_alerts_are_dead_letters_and_the_next_one_is_told(
    world: tuple[Log, Server],
) -> None:
    log, server = world
    for value in (
        b"{",
        b"[]",
        b'{"alert_id":7}',
        None,
        b"\xff",
        b'{"alert_id":"a","labels":{"a":"\\ud800"}}',
    ):
        log.write_raw(value)
    log.write(firing("next"))
    server.until(lambda s: bool(told(s, MANAGER, "next")))
    until(lambda: len(log.letters()) == 6)
    assert {(letter.stage, letter.topic) for letter in log.letters()} == {("notify", "alerts")}
    assert all("found" in letter.reason and "expected" in letter.reason for letter in log.letters())


def test_what_is_silenced_is_told_when_the_silence_ends(world: tuple[Log, Server]) -> None:
    log, server = world
    silence = log.silence("quiet", now() + 3_600_000)
    log.silence("soon", now() + 2_500)
    log.silence("half", now() + 3_600_000, rule="another")
    log.write(firing("half"))
    server.until(lambda s: bool(told(s, MANAGER, "half")))  # so the silences are known
    log.write(firing("quiet"), firing("soon"), firing("after"))
    server.until(lambda s: bool(told(s, HOOK, "after")))
    assert told(server, MANAGER, "quiet") == told(server, HOOK, "quiet") == []
    server.until(lambda s: bool(told(s, MANAGER, "soon")) and bool(told(s, HOOK, "soon")))
    assert told(server, MANAGER, "quiet") == []
    log.write_silence(silencing.ended(silence, "bob", now()))
    server.until(lambda s: bool(told(s, MANAGER, "quiet")) and bool(told(s, HOOK, "quiet")))


def test_an_alert_that_fires_holds_nothing_back(world: tuple[Log, Server]) -> None:
    log, server = world
    log.write(firing("old"), *(firing(f"m{i}") for i in range(20)))
    server.until(lambda s: bool(told(s, MANAGER, "m19")))
    until(lambda: log.lag() == 0)


def test_a_refused_alert_is_a_dead_letter_with_the_answer(own: Settings, start: Start) -> None:
    log = Log(own)

    def judge(taken: Taken) -> Answer:
        bad = any(one["labels"]["model"] == "bad" for one in taken.body)
        return Answer(400, text='"invalid label set"') if bad else Answer()

    with serving() as server:
        server.judge = judge
        start(own, Notify(alertmanager=server.url, resend=0.5))
        log.write(firing("good"), firing("bad"), firing("fine"))
        server.until(lambda s: len(told(s, MANAGER, "good")) > 3 and len(told(s, MANAGER, "fine")) > 3)
        until(lambda: len(log.letters()) > 0)
        (letter,) = log.letters()
        said = f'alertmanager {server.url} answered 400: "invalid label set"'
        assert (letter.stage, letter.topic, letter.offset, letter.reason) == ("notify", "alerts", 1, said)


def test_while_a_receiver_is_away_nothing_is_lost_and_the_other_is_told(own: Settings, start: Start) -> None:
    log = Log(own)
    port = ports.free()
    with serving() as manager:
        start(own, Notify(alertmanager=manager.url, webhook=f"http://127.0.0.1:{port}{HOOK}", group_wait=0.1))
        log.write(firing("stays"), firing("goes"))
        manager.until(lambda s: bool(told(s, MANAGER, "goes")))
        log.write(over(firing("goes"), now()), firing("comes"))
        manager.until(lambda s: bool(told(s, MANAGER, "comes")))
        with serving(port) as hook:
            hook.until(lambda s: bool(told(s, HOOK, "stays")) and bool(told(s, HOOK, "comes")))
            hook.until(lambda s: bool(told(s, HOOK, "goes")))
            assert told(hook, HOOK, "goes") == ["resolved"]


def test_a_successor_tells_an_alertmanager_again_a_webhook_only_what_is_new_and_drops_what_is_over(
    own: Settings, start: Start
) -> None:
    log = Log(own)
    with serving() as server:
        first = start(own, receivers(server, resend=1.0))
        log.write(firing("stays"), firing("ends"))
        server.until(lambda s: bool(told(s, HOOK, "stays")) and bool(told(s, HOOK, "ends")))
        assert first.end() == 0, first.log.read_text()
        assert log.lag() == 0
        log.write(over(firing("ends"), now()), firing("new"), firing("short"), over(firing("short"), now()))
        before = len(told(server, MANAGER, "stays"))
        start(own, receivers(server, resend=1.0))
        server.until(lambda s: "resolved" in told(s, HOOK, "ends") and bool(told(s, HOOK, "new")))
        server.until(lambda s: len(told(s, MANAGER, "stays")) > before)
        assert told(server, HOOK, "stays") == ["firing"]
        assert told(server, HOOK, "ends") == ["firing", "resolved"]
        assert told(server, HOOK, "short") == told(server, MANAGER, "short") == []


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_what_is_killed_between_post_and_commit_posts_again_and_nothing_is_lost(
    own: Settings, start: Start, kills: int
) -> None:
    log = Log(own)
    with serving() as server:
        running: list[Notifier] = []

        def judge(_: Taken) -> Answer:
            """The message is here, and the sender dies before it hears so."""
            if len(running) <= kills:
                os.kill(running[-1].process.pid, signal.SIGKILL)
            return Answer()

        server.judge = judge
        notify = Notify(webhook=f"{server.url}{HOOK}", group_wait=0.1)
        running.append(start(own, notify))
        log.write(firing("killed"))
        for _ in range(kills):
            running[-1].process.wait(60)
            running.append(start(own, notify))
        server.until(lambda s: len(told(s, HOOK, "killed")) == kills + 1)
        log.write(over(firing("killed"), now()), firing("next"))
        server.until(lambda s: "resolved" in told(s, HOOK, "killed") and bool(told(s, HOOK, "next")))
        assert told(server, HOOK, "killed") == (kills + 1) * ["firing"] + ["resolved"]
        until(lambda: log.lag() == 0)


def test_the_end_of_what_may_have_been_heard_is_told_by_a_successor(own: Settings, start: Start) -> None:
    """The sender was killed while it told the beginning, and the end came before it was back."""
    log = Log(own)
    with serving() as server:
        server.judge = lambda _: Answer(pause=5.0)
        first = start(own, Notify(webhook=f"{server.url}{HOOK}", group_wait=0.1))
        log.write(firing("ranker"))
        server.until(lambda s: bool(s.taken))
        first.end(signal.SIGKILL)
        log.write(over(firing("ranker"), now()))
        server.judge = lambda _: Answer()
        start(own, Notify(webhook=f"{server.url}{HOOK}", group_wait=0.1))
        server.until(lambda s: told(s, HOOK, "ranker") == ["firing", "resolved"])
        until(lambda: log.kept() == [])


def test_a_frozen_sender_that_comes_back_undoes_nothing(own: Settings, start: Start) -> None:
    log = Log(own)
    with serving() as server:
        notify = Notify(webhook=f"{server.url}{HOOK}", group_wait=0.1)
        frozen = start(own, notify)
        log.write(firing("ranker"))
        server.until(lambda s: told(s, HOOK, "ranker") == ["firing"])
        until(lambda: log.lag() == 0)
        frozen.process.send_signal(signal.SIGSTOP)
        start(own, notify)
        log.write(over(firing("ranker"), now()))
        server.until(lambda s: told(s, HOOK, "ranker") == ["firing", "resolved"])
        until(lambda: log.kept() == [])
        frozen.process.send_signal(signal.SIGCONT)
        log.write(firing("other"))
        server.until(lambda s: bool(told(s, HOOK, "other")))
        until(lambda: log.lag() == 0)
        assert len(log.kept()) == 1
        assert told(server, HOOK, "ranker") == ["firing", "resolved"]


@pytest.mark.soak
def test_while_the_broker_is_away_alertmanagers_are_told_on_and_afterwards_all_goes_on(
    own_stack: LocalStack, start: Start
) -> None:
    infra.topics.create(own_stack.settings, forever=True)
    log = Log(own_stack.settings)
    with serving() as server:
        start(own_stack.settings, Notify(alertmanager=server.url, resend=0.5))
        log.write(firing("ranker"))
        server.until(lambda s: bool(told(s, MANAGER, "ranker")))
        own_stack.kafka.stop()
        before = len(server.taken)
        server.until(lambda s: len(s.taken) > before + 10)
        own_stack.kafka.start()
        log.write(over(firing("ranker"), now()))
        server.until(lambda s: told(s, MANAGER, "ranker")[-1] == "resolved")
