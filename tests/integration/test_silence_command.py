"""`headgate silence` as an operator uses it, with a notify stage that follows; `headgate check` on
receivers.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import infra.topics
from infra.local import ports
from schemas import topics
from schemas.records import DAY, ENCODER
from schemas.settings import Settings
from streams.log import Output
from tests.conftest import isolated
from tests.integration.headgate_command import Headgate
from tests.integration.notifying import Log, now
from tests.receiving import Answer, Server, Taken, alert, serving


@pytest.fixture(scope="module")
def headgate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Headgate:
    infra.topics.create(settings, forever=True)
    return Headgate(settings, tmp_path_factory.mktemp("headgate"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def receiving(headgate: Headgate, toml: str) -> None:
    """Puts a section [notify] below the settings."""
    file = headgate.folder / "headgate.toml"
    before = file.read_text().partition("[notify]")[0]
    file.write_text(f"{before}[notify]\n{toml}\n")


def test_a_silence_is_listed_with_who_until_when_and_why(headgate: Headgate) -> None:
    made = headgate(
        *("silence", "add", "ranker", "slow", "--label", "arm=candidate", "--label", "severity=page"),
        *("--for", "2h", "--reason", "index is rebuilt", "--actor", "ada", "--json"),
    )
    assert made.status == 0, made.err
    assert made.json["labels"] == {"arm": "candidate", "severity": "page"}
    assert made.json["ends_at"] - made.json["ts"] == 2 * 3_600_000
    (listed,) = headgate("silence", "list", "ranker", "--json").json
    assert listed == made.json
    shown = headgate("silence", "list").out
    for word in ("ada", "slow", "index is rebuilt", made.json["silence_id"], "UTC"):
        assert word in shown
    assert (
        headgate("silence", "end", made.json["silence_id"][:6], "--actor", "bob", "--json").json["ended_by"]
        == "bob"
    )
    assert headgate("silence", "list", "ranker").out == "nothing of ranker is silenced\n"


def test_without_receivers_adding_one_says_so(headgate: Headgate) -> None:
    done = headgate("silence", "add", "quiet", "--for", "1s", "--reason", "x")
    assert done.status == 0
    assert done.out.startswith("quiet, all rules: silenced until ")
    assert "no receiver of alerts is configured" in done.err


def test_a_model_that_nothing_is_known_of_is_pointed_out(headgate: Headgate) -> None:
    log = Log(headgate.settings)
    log.write(alert(model="shop-search", starts_at=now(), ends_at=now(), status="resolved"))
    done = headgate("silence", "add", "shop-serach", "--for", "1s", "--reason", "x")
    assert done.status == 0
    assert (
        "note: found model 'shop-serach', expected one with a policy, a release, or alerts of the last 7 d; "
        "did you mean shop-search?" in done.err
    )
    assert "expected one" not in headgate("silence", "add", "shop-search", "--for", "1s", "--reason", "x").err
    assert "expected one" not in headgate("silence", "add", "", "--for", "1s", "--reason", "x").err


def test_ending_what_is_not_there_or_several_says_so(headgate: Headgate) -> None:
    done = headgate("silence", "end", "zzz")
    assert done.status == 1
    assert done.err.startswith("found no silence 'zzz' that holds, expected one; ")
    log = Log(headgate.settings)
    ends = now() + 3_600_000
    log.silence("twin-a", ends)
    log.silence("twin-b", ends)
    done = headgate("silence", "end", "s-twin")
    assert (done.status, len(done.err.splitlines())) == (1, 1)
    assert "found 2 silences beginning with 's-twin': s-twin-a, s-twin-b" in done.err


def test_silences_that_ended_long_ago_leave_the_topic(headgate: Headgate) -> None:
    log = Log(headgate.settings)
    old = log.silence("long-ago", now() + 1_000)
    past = {"ts": now() - 20 * DAY, "ends_at": now() - 8 * DAY}
    value = json.dumps(json.loads(ENCODER.encode(old)) | past).encode()
    output = Output(headgate.settings)
    output.send(topics.SILENCES, "long-ago/s-long-ago", value)
    output.flush()
    assert headgate("silence", "add", "other", "--for", "1s", "--reason", "x").status == 0
    assert log.last(topics.SILENCES)[b"long-ago/s-long-ago"] is None


def test_a_silenced_alert_is_kept_and_told_when_the_operator_ends_the_silence(
    headgate: Headgate, server: Server
) -> None:
    receiving(headgate, f'alertmanager = "{server.url}"')
    log = Log(headgate.settings)
    id_ = headgate("silence", "add", "ranker", "--for", "1h", "--reason", "x", "--json").json["silence_id"]

    def models() -> set[str]:
        return {one["labels"]["model"] for body in server.bodies() for one in body}

    with headgate.running("streams", "notify"):
        log.write(alert(starts_at=now()), alert(model="loud", starts_at=now()))
        server.until(lambda _: "loud" in models())
        assert models() == {"loud"}
        assert headgate("silence", "end", id_).status == 0
        server.until(lambda _: "ranker" in models())


class TestCheck:
    """What `headgate check` says of receivers."""

    @pytest.fixture
    def checked(self, settings: Settings, tmp_path: Path) -> Headgate:
        made = isolated(settings)
        infra.topics.create(made, forever=True)
        return Headgate(made, tmp_path)

    def found(self, headgate: Headgate) -> dict[str, tuple[str, str]]:
        return {
            one["subject"]: (one["state"], one["text"])
            for one in headgate("check", "--json").json
            if one["subject"].startswith(("receiver", "stage notify", "topic"))
        }

    def test_none_is_a_note_and_the_stage_is_not_missed(self, checked: Headgate) -> None:
        Log(checked.settings).write(alert())
        found = self.found(checked)
        assert found["receivers"] == ("note", "none is configured, alerts stay in Headgate")
        assert "stage notify" not in found
        assert found[f"topic {checked.settings.topics.prefix}control.silences"][0] == "ok"

    def test_what_answers_is_well_and_what_does_not_or_lets_nobody_in_is_wrong(
        self, checked: Headgate, server: Server
    ) -> None:
        def judge(taken: Taken) -> Answer:
            if taken.path == "/prefix/api/v2/status":
                return Answer(text='{"versionInfo":{"version":"0.27.0"},"cluster":{}}')
            if taken.path.startswith("/closed"):
                return Answer(401)
            return Answer(405 if taken.method == "HEAD" else 404)

        server.judge = judge
        nowhere = f"http://127.0.0.1:{ports.free()}"
        managers = [f"{server.url}/prefix", server.url, f"{server.url}/closed", nowhere]
        receiving(checked, f'alertmanager = {json.dumps(managers)}\nwebhook = "{server.url}/T0/secret"')
        Log(checked.settings).write(alert())
        found = self.found(checked)
        managed = [found[f"receiver alertmanager {url}"] for url in managers]
        assert [state for state, _ in managed] == ["ok", "wrong", "wrong", "wrong"]
        assert managed[0][1] == "answers, version 0.27.0"
        assert managed[1][1].startswith("is no Alertmanager: found status 404")
        assert managed[2][1] == "does not let us in (status 401)"
        assert managed[3][1].startswith("does not answer: Cannot connect")
        assert found[f"receiver webhook {server.url}"][0] == "ok"
        assert found["stage notify"] == ("wrong", "is not running, and 1 records wait for it")
        assert [taken for taken in server.taken if taken.method == "POST"] == []
