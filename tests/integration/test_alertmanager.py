"""A real Alertmanager: does it take what we post as we mean it?

Runs where there is one: `alertmanager` or `prometheus-alertmanager` on PATH, or the file that
HEADGATE_TEST_ALERTMANAGER names.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.local import ports
from schemas.receivers import Notify
from schemas.records import Alert, DeadLetter
from streams.notify import alertmanager, webhook
from streams.notify.alertmanager import Posted, from_alertmanager
from tests.integration.office import Office, play
from tests.receiving import Server, alert, over, serving

BINARY = (
    os.environ.get("HEADGATE_TEST_ALERTMANAGER")
    or shutil.which("alertmanager")
    or shutil.which("prometheus-alertmanager")
)

pytestmark = pytest.mark.skipif(
    BINARY is None, reason="no alertmanager on PATH, and HEADGATE_TEST_ALERTMANAGER names none"
)

CONFIG = """
route: {{receiver: hook, group_by: [model], group_wait: 100ms, group_interval: 200ms}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}/hook"}}]}}]
"""


class Manager:
    """A running Alertmanager, and the webhook that it tells."""

    def __init__(self, folder: Path, hook: Server, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("ab")
        (folder / "am.yml").write_text(CONFIG.format(url=hook.url))
        self._process = subprocess.Popen(
            [
                str(BINARY),
                f"--config.file={folder / 'am.yml'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
                f"--storage.path={folder / f'data-{time.time_ns()}'}",
            ],
            stderr=self._log,
        )
        until(self._answers)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows, and has not seen the end of."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def _answers(self) -> bool:
        assert self._process.poll() is None, "it has ended; its log is beside its data"
        try:
            self.alerts()
        except OSError:
            return False
        return True


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "was waited for in vain"
        time.sleep(0.05)


def fired(**fields: Any) -> Alert:
    """A page that began some seconds ago; not at a round time, for Go writes no zeros at a second's end."""
    began = (time.time_ns() // 1_000_000_000 - 5) * 1_000 + 123
    return alert(**({"starts_at": began, "value": 231.5, "threshold": 200.0} | fields))


@pytest.fixture
def hook() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def manager(tmp_path: Path, hook: Server) -> Iterator[Manager]:
    running = Manager(tmp_path, hook, ports.free())
    yield running
    running.close()


def test_what_is_posted_is_what_it_knows_and_can_be_read_back(manager: Manager) -> None:
    async def scenario(office: Office) -> None:
        posted = fired(
            labels={"arm": "candidate", "team-a": "ü", "model": "own", "": "none"},
            annotations={"summary": "slow\n", "link": "http://grafana/d", "value": "much"},
        )
        office.comes(posted)
        await office.until(lambda: len(manager.alerts()) == 1)
        (known,) = manager.alerts()
        assert known["labels"] == alertmanager.labels(posted)
        assert known["fingerprint"] == alertmanager.fingerprint(known["labels"])
        assert known["generatorURL"] == "http://grafana/d"
        read = from_alertmanager(msgspec.convert(known, Posted))
        assert msgspec.structs.replace(read, status="firing", ends_at=None) == posted

    play(Notify(alertmanager=manager.url), scenario)


def test_it_tells_of_a_beginning_once_and_of_the_end(manager: Manager, hook: Server) -> None:
    async def scenario(office: Office) -> None:
        one = fired()
        office.comes(one)
        await office.until(lambda: len(hook.taken) == 1)
        await office.until(lambda: office.vital("posted_alerts_total") >= 5)  # again, and again
        assert len(hook.taken) == 1
        office.comes(over(one, office.now))
        await office.until(lambda: manager.alerts() == [])
        await office.until(lambda: len(hook.taken) == 2)
        assert [body["status"] for body in hook.bodies()] == ["firing", "resolved"]

    play(Notify(alertmanager=manager.url, resend=0.5), scenario)


def test_its_message_to_a_webhook_has_the_shape_of_ours(manager: Manager, hook: Server) -> None:
    async def scenario(office: Office) -> None:
        one = fired()
        office.comes(one)
        await office.until(lambda: len(hook.taken) == 1)
        (theirs,) = hook.bodies()
        ours = json.loads(webhook.body([one], (("model", "ranker"),)))
        own = {"receiver", "externalURL"}
        assert ours.keys() == theirs.keys()
        assert {name: ours[name] for name in ours.keys() - own} == {
            name: theirs[name] for name in theirs.keys() - own
        }

    play(Notify(alertmanager=manager.url), scenario)


def test_one_that_was_started_anew_is_told_again(manager: Manager, hook: Server, tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        office.comes(fired())
        await office.until(lambda: len(manager.alerts()) == 1)
        manager.close()
        again = Manager(tmp_path, hook, int(manager.url.rpartition(":")[2]))
        try:
            await office.until(lambda: len(again.alerts()) == 1)
        finally:
            again.close()

    play(Notify(alertmanager=manager.url, resend=0.5), scenario)


def test_what_it_is_no_longer_told_is_over_for_it_after_four_resend_periods(manager: Manager) -> None:
    async def scenario(office: Office) -> None:
        office.comes(fired())
        await office.until(lambda: len(manager.alerts()) == 1)

    play(Notify(alertmanager=manager.url, resend=0.5), scenario)
    until(lambda: manager.alerts() == [])


def test_an_alert_that_it_refuses_spoils_no_other(manager: Manager) -> None:
    async def scenario(office: Office) -> None:
        nothing = fired(rule="", model="", severity="", labels={})
        office.comes(fired(), nothing, fired(model="other"))
        letters: list[DeadLetter] = []
        while not letters:
            await office.until(lambda: len(manager.alerts()) == 2)
            letters = office.letters()
        assert "answered 400" in letters[0].reason
        assert {one["labels"]["model"] for one in manager.alerts()} == {"ranker", "other"}

    play(Notify(alertmanager=manager.url), scenario)
